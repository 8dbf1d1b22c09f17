"""Tables as Markdown, CSV and LaTeX: plain text with each format's escapes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from lst_cli.display.tables import MISSING, Cell, Column, Table
from lst_cli.text import printable, printable_lines

_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "≥": r"$\geq$",
    "\N{MINUS SIGN}": r"$-$",
    "²": r"\textsuperscript{2}",
    MISSING: "--",
}

# GitHub makes links of addresses and of names behind an @.
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$@]|:(?=//)|(?<=www)\.)")

# A spreadsheet runs what begins so, also behind spaces; numbers with a sign are numbers.
_FORMULA = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def escape_markdown(text: str) -> str:
    """Make text show as it is in Markdown, in a table cell too.

    Line ends become spaces: a cell, a heading and a list item are one line.
    """
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(printable(text).split())).replace("&", "&amp;")


def escape_latex(text: str) -> str:
    r"""Make text show as it is in LaTeX's text mode.

    A quotation mark becomes two apostrophes: the real one needs another font
    encoding than LaTeX has by default.

    Example:
        >>> escape_latex("R&D 100%_a")
        'R\\&D 100\\%\\_a'
    """
    return "".join(
        _LATEX_SPECIAL.get(letter, letter) for letter in " ".join(printable(text).split())
    )


def render_markdown(table: Table) -> str:
    """Render a table as GitHub-flavoured Markdown, the line of classes in italics."""
    rows = [[escape_markdown(text) for text in line] for line in table.texts()]
    if table.counts_classes:
        rows.insert(0, [f"*{text}*" if text else "" for text in table.class_line()])
    head = [escape_markdown(column.heading) for column in table.columns]
    rule = [":---" if column.is_text else "---:" for column in table.columns]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *rows])


def render_csv(table: Table) -> str:
    """Render a table as CSV for programs.

    AP is times 100 as in the other tables, but not rounded to one decimal; what
    is missing is an empty cell. A column that rests on its own number of classes
    is followed by that number. Headings are the rows' keys.
    """
    keys: list[tuple[str, Column | None]] = []
    for column in table.columns:
        keys.append((column.key, column))
        if column.classes_key is not None:
            keys.append((column.classes_key, None))
    rows = ([_csv_value(column, row.get(key)) for key, column in keys] for row in table.rows)
    return write_csv([key for key, _ in keys], rows)


def write_csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write lines of CSV in which no cell is a formula; every CSV file goes through here."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([escape_csv(cell) for cell in line] for line in (head, *rows))
    return file.getvalue()


def escape_csv(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula.

    Whoever needs the text itself removes an apostrophe that =, +, - or @ follows.

    Example:
        >>> escape_csv("=1+1"), escape_csv("-1.5"), escape_csv("a=b")
        ("'=1+1", '-1.5', 'a=b')
    """
    text = printable_lines(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _csv_value(column: Column | None, value: Cell) -> str:
    if value is None:
        return ""
    if column is not None and column.kind in ("ap", "change") and not isinstance(value, str):
        return f"{100 * value:.4f}"
    return str(value)


def render_latex(table: Table, label: str) -> str:
    """Render a table as a LaTeX float over both columns in booktabs style.

    Args:
        table: What to render.
        label: The label to refer to it by, in plain letters.
    """
    lines = [
        r"\begin{table*}[t]",
        r"  \centering",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}",
        f"  \\caption{{{escape_latex(table.title)}. {escape_latex(table.remark)}}}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{{''.join('l' if c.is_text else 'r' for c in table.columns)}}}",
        r"    \toprule",
        "    " + " & ".join(escape_latex(column.heading) for column in table.columns) + r" \\",
    ]
    if table.counts_classes:
        cells = [f"\\textit{{{escape_latex(text)}}}" if text else "" for text in table.class_line()]
        lines.append("    " + " & ".join(cells) + r" \\")
    lines.append(r"    \midrule")
    for index, row in enumerate(table.texts()):
        cells = [escape_latex(text) for text in row]
        if table.marks(index):
            cells = [f"\\textbf{{{text}}}" for text in cells]
        lines.append("    " + " & ".join(cells) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table*}"]
    return "\n".join(lines) + "\n"
