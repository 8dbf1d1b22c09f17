from __future__ import annotations

import ast
import csv
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest

import lst_cli
from lst_cli.cli.console import note, print_json, print_rows, say, show_error, warn
from lst_cli.display.markup import (
    escape_latex,
    escape_markdown,
    render_csv,
    render_latex,
    render_markdown,
)  # fmt: skip
from lst_cli.display.tables import Column, Table
from lst_cli.report.write import render_table
from lst_cli.settings.nested import parse_override, toml_value
from lst_cli.text import escape_unseen, printable, printable_lines

HOSTILE = {
    "clear the screen": "\x1b[2J",
    "title of the window": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\",
    "one byte escape": "\x9b31m",
    "backspace": "cat\b\b\bdog",
    "null": "a\0b",
    "delete": "a\x7fb",
    "right to left": "a\u202eb",
    "isolate": "a\u2066b\u2069",
    "mark": "a\u200fb",
    "arabic mark": "a\u061cb",
    "zero width": "a\u200bb",
    "joiner of words": "a\u2060b",
    "byte order mark": "\ufeffa",
    "soft hyphen": "a\xadb",
    "tags": "a\U000e0041b",
    "half a character": "a\ud800b",
    "byte that is no UTF-8": "a\udcffb",
    "annotation": "a\ufff9b",
}
BREAKS = ["a\nb", "a\r\nb", "a\tb", "a\vb", "a\x85b", "a\u2028b", "a\u2029b"]
WHOLE = [
    "cat", "été", "猫", "😀", "\N{MAN}\u200d\N{WOMAN}", "\u0645\u06cc\u200c\u062e", "=1+1",
    "[red]x[/]",
]  # fmt: skip


def hidden(text: str) -> list[str]:
    bad = {"Cc", "Cs", "Zl", "Zp"}
    shown = text.replace("\n", "")
    return [c for c in shown if unicodedata.category(c) in bad or c in "\u200b\u202e"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_seen_is_escaped_wherever_text_is_shown(text, capsys):
    table = Table(
        text, (Column("a", text, "text"), Column(text, "b", "text")), ({"a": text},), text
    )
    for show in (note, warn, say):
        show(text)
    show_error(text, text)
    print_rows(text, ["a", text], [[text, text]])
    pieces = [render_csv(table), render_markdown(table), render_latex(table, "x")]
    for piece in (*capsys.readouterr(), *pieces, render_table(table)):
        assert not hidden(piece)
        assert piece.encode("utf-8")


def test_line_ends_become_spaces_and_what_can_be_seen_stays():
    assert [printable(text) for text in BREAKS] == ["a b"] * len(BREAKS)
    assert [printable(text) for text in WHOLE] == WHOLE


def test_every_control_and_format_character_but_the_joiners_is_escaped():
    every = map(chr, range(sys.maxunicode + 1))
    control = [c for c in every if unicodedata.category(c) in {"Cc", "Cs"}]
    assert [c for c in control if len(printable(c)) == 1 and printable(c) != " "] == []
    kinds = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    bidi = [c for c in map(chr, range(0x3000)) if unicodedata.bidirectional(c) in kinds]
    assert bidi
    assert all(len(printable(c)) > 1 for c in bidi)


@pytest.mark.parametrize("text", [*HOSTILE.values(), *BREAKS, *WHOLE])
def test_json_and_toml_keep_the_text_itself(text, capsys):
    print_json({"name": text})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": text}
    assert not hidden(escape_unseen(json.dumps(text, ensure_ascii=False)))
    if not any("\ud800" <= c <= "\udfff" for c in text):  # TOML has none of these
        assert parse_override(f"a={toml_value(text)}") == (["a"], text)


FORMULAS = [
    '=HYPERLINK("http://x","y")', "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", " =1", "\n=1",
    "=cmd|' /C calc'!A0", "\uff1d1+1", "\uff0b1", "-", "+", "'=1", "-1e5x", "=2\n=3",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula_and_the_text_can_be_read_back(text):
    columns = (Column(text, "x", "text"), Column("AP", "AP"))
    written = render_csv(Table("", columns, ({text: text, "AP": -0.5},)))
    for name, number in csv.reader(io.StringIO(written)):
        assert name == "'" + printable_lines(text)
        assert number in ("AP", "-50.0000")


@pytest.mark.parametrize("text", ["-1.5", "+5", "-.5", "-1e-05", "2", "a=b", "cat", "", "'tis"])
def test_numbers_and_other_text_stay_as_they_are_in_csv(text):
    assert render_csv(Table("", (Column(text, ""),), ())) in (f"{text}\n", '""\n')


def test_names_do_not_become_links_in_markdown():
    assert escape_markdown("http://x www.x a@x") == r"http\://x www\.x a\@x"
    assert escape_markdown("![x](y) <b> `c` | &amp;") == (r"!\[x\](y) \<b\> \`c\` \| &amp;amp;")
    assert escape_latex("\\input{x}") == r"\textbackslash{}input\{x\}"


def test_only_the_console_writes_to_the_terminal():
    # Elsewhere text would come to the terminal with its control characters.
    root = Path(lst_cli.__file__).parent
    allowed = {"cli/console.py", "cli/main.py", "cli/commands/split.py"}
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in {"click.echo", "print"} and (root / "demo") not in path.parents:
                found.add(path.relative_to(root).as_posix())
            if called == "csv.writer":
                assert path.name == "markup.py"
    assert found <= allowed
