from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.display.markup import (
    escape_latex,
    escape_markdown,
    render_csv,
    render_latex,
    render_markdown,
)
from lst_cli.display.tables import Column, Table, class_table
from tests.fixtures.reports import read_csv

DASH = "\N{EN DASH}"


def _table(name):
    columns = (Column("name", "class", "text"), Column("AP", "AP", classes=3))
    return Table(
        "R&D", columns, ({"name": name, "AP": 0.5}, {"name": "x", "AP": None}), "100% of it"
    )


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_no_name_breaks_a_markdown_table_apart(name):
    lines = render_markdown(_table(name)).split("\n")
    assert len(lines) == 6
    for line in lines[:-1]:
        bare = line.replace("\\\\", "").replace("\\|", "")
        assert bare.count("|") == 3


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"), ("<b>", r"\<b\>"), ("&lt;", "&amp;lt;"),
        ("[x](http://y)", r"\[x\](http\://y)"), ("two\nlines", "two lines"),
        ("snow_man*", r"snow\_man\*"),
    ],
)  # fmt: skip
def test_markdown_shows_names_as_they_are(text, escaped):
    assert escape_markdown(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50% & more", r"50\% \& more"), ("a_b#c$d", r"a\_b\#c\$d"), ("{x}", r"\{x\}"),
        ("\\", r"\textbackslash{}"), ("^~", r"\textasciicircum{}\textasciitilde{}"),
        ("<5", r"\textless{}5"), ("≥1000", r"$\geq$1000"), (f"10{DASH}99", "10--99"),
        ('"x"', "''x''"), ("", ""),
    ],
)  # fmt: skip
def test_latex_specials_are_escaped_once(text, escaped):
    assert escape_latex(text) == escaped


def test_latex_is_a_booktabs_table_with_classes_and_a_bold_result():
    text = render_latex(replace(_table("a_b"), result=True), "tab:x")
    assert r"\caption{R\&D. 100\% of it}" in text
    assert r"\begin{tabular}{lr}" in text
    assert "    class & AP \\\\\n    \\textit{classes} & \\textit{3} \\\\\n    \\midrule\n" in text
    assert r"    a\_b & 50.0 \\" in text
    assert r"    \textbf{x} & \textbf{--} \\" in text
    assert text.count("{") == text.count("}")
    alone = replace(_table("a_b"), rows=({"name": "x"},), result=True)
    assert "textbf" not in render_latex(alone, "t")  # of one row


def test_csv_quotes_names_so_that_they_come_back(make_data):
    data = make_data()
    names = ['a,b "c"', "two\nlines", "plain", "", "é", "|"]
    classes = [
        type(c)(c.category_id, n, 1, 1, c.phase) for c, n in zip(data.classes, names, strict=True)
    ]
    text = render_csv(class_table(classes, data.metrics))
    assert [row["class"] for row in read_csv(text)] == names
