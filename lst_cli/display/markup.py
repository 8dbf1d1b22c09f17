"""Tables as Markdown, CSV and LaTeX: plain text with each format's escapes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from lst_cli.display.tables import MISSING, Cell, Column, Table
from lst_cli.text import printable, printable_lines

_LATEX_SPECIAL = str.maketrans(
    {letter: f"\\{letter}" for letter in "{}$&#%_"}
    | {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",  # the real one needs another font encoding than LaTeX's default
        "≥": r"$\geq$",
        "\N{MINUS SIGN}": r"$-$",
        "²": r"\textsuperscript{2}",
        MISSING: "--",
    }
)

# GitHub makes links of addresses and of names behind an @.
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$@]|:(?=//)|(?<=www)\.)")

# A spreadsheet runs what begins so, also behind spaces; numbers with a sign are numbers.
_FORMULA = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def escape_markdown(text: str) -> str:
    """Make text show as it is in Markdown, on one line: a cell, a heading, a list item."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(printable(text).split())).replace("&", "&amp;")


def escape_latex(text: str) -> str:
    r"""Make text show as it is in LaTeX's text mode.

    Example:
        >>> escape_latex("R&D 100%_a")
        'R\\&D 100\\%\\_a'
    """
    return " ".join(printable(text).split()).translate(_LATEX_SPECIAL)


def render_markdown(table: Table) -> str:
    """Render a table as GitHub-flavoured Markdown, the line of classes in italics."""
    rows = [[escape_markdown(text) for text in line] for line in table.texts()]
    if counts := table.class_line():
        rows.insert(0, [f"*{text}*" if text else "" for text in counts])
    head = [escape_markdown(column.heading) for column in table.columns]
    rule = [":---" if column.is_text else "---:" for column in table.columns]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *rows])


def render_csv(table: Table) -> str:
    """Render a table as CSV for programs; headings are the rows' keys.

    AP is times 100 as in the other tables, but not rounded to one decimal; what is missing is an
    empty cell. A column with its own number of classes is followed by that number.
    """

    def value(column: Column, cell: Cell) -> str:
        if column.kind in ("ap", "change") and isinstance(cell, (int, float)):
            return f"{100 * cell:.4f}"
        return "" if cell is None else str(cell)

    pairs = ((column, column.row_classes) for column in table.columns)
    columns = [column for pair in pairs for column in pair if column is not None]
    rows = ([value(one, row.get(one.key)) for one in columns] for row in table.rows)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for line in ([one.key for one in columns], *rows):
        writer.writerow(map(escape_csv, line))
    return file.getvalue()


def escape_csv(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula.

    To get the text back, remove an apostrophe that is followed by =, +, - or @.

    Example:
        >>> escape_csv("=1+1"), escape_csv("-1.5"), escape_csv("a=b")
        ("'=1+1", '-1.5', 'a=b')
    """
    text = printable_lines(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def render_latex(table: Table, label: str) -> str:
    """Render a table as a LaTeX float over both columns in booktabs style."""

    def line(cells: Iterable[str], command: str = "") -> str:
        shown = [escape_latex(cell) for cell in cells]
        if command:
            shown = [f"\\{command}{{{cell}}}" if cell else "" for cell in shown]
        return "    " + " & ".join(shown) + r" \\"

    lines = [
        r"\begin{table*}[t]",
        r"  \centering",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}",
        f"  \\caption{{{escape_latex(table.title)}. {escape_latex(table.remark)}}}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{{''.join('l' if c.is_text else 'r' for c in table.columns)}}}",
        r"    \toprule",
        line(column.heading for column in table.columns),
    ]
    if counts := table.class_line():
        lines.append(line(counts, "textit"))
    lines.append(r"    \midrule")
    for place, row in enumerate(table.texts()):
        lines.append(line(row, "textbf" if table.marks(place) else ""))
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table*}"]
    return "\n".join(lines) + "\n"
