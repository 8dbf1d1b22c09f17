from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from lst_cli.display.objects import Panel
from lst_cli.display.tables import Column, Table
from lst_cli.errors import LstError
from lst_cli.report import write
from lst_cli.report.data import ReportData
from lst_cli.report.plots import Artwork
from lst_cli.report.write import render_html, render_table, write_report
from tests.fixtures.reports import read_csv

DASH = "\N{EN DASH}"

NO_ART = Artwork((), ())
VOID = {"meta", "img", "source", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page, and fails where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def full(make_data, panel, balance) -> ReportData:
    return make_data(
        panels=[panel],
        replay=[balance],
        demo=True,
        federated=False,
        panel_note="scores of 0.3 and more",
        environment={"device": "cpu"},
    )


def test_a_report_is_five_files_and_its_pictures_and_twice_the_same_bytes(full, tmp_path):
    calls = []
    files = write_report(full, tmp_path / "report", lambda *counts: calls.append(counts))
    assert calls == [("pictures", number, 6) for number in range(1, 7)]
    names = {key: str(path.relative_to(tmp_path / "report")) for key, path in files.items()}
    plots = ("ap_by_bin", "old_new", "class_ap", "class_counts", "replay_balance")
    assert names == {
        "markdown": "report.md",
        "csv": "report.csv",
        "json": "report.json",
        "latex": "report.tex",
        "html": "report.html",
        "panel:1": "panels/01.jpg",
        **{f"plot:{plot}": f"plots/{plot}.png" for plot in plots},
    }
    found = {path for path in (tmp_path / "report").rglob("*") if path.is_file()}
    assert found == set(files.values())
    again = write_report(full, tmp_path / "again")
    assert all(again[key].read_bytes() == path.read_bytes() for key, path in files.items())

    text = files["html"].read_text(encoding="utf-8")
    assert not any(word in text for word in ("http", "url(", "@import"))
    page = Page(text)
    assert page.references
    assert all(one.startswith("data:image/") for one in page.references)
    assert page.tags.count("img") == 6
    assert not {"script", "link", "iframe", "object"} & set(page.tags)

    markdown = files["markdown"].read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]*)\)", markdown):
        assert (tmp_path / "report" / target).is_file()
    assert "This is a demo" in markdown
    assert "no federated labels" in markdown

    assert len(read_csv(files["csv"])) == 3
    content = json.loads(files["json"].read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content["forgetting"] == {"AP": pytest.approx(0.015), "with_ground_truth": 4}
    assert content["rows"][2]["AP(>=100)"] == pytest.approx(0.38)
    assert content["rows"][2]["classes(>=100)"] == 2
    assert content["rows"][2]["AP(=1)"] is None
    # Fields that came up since the metrics were written have their defaults.
    assert content["metrics"] == [metrics.model_dump(mode="json") for metrics in full.metrics]
    assert r"\toprule" in files["latex"].read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_report_plots")
def test_pictures_of_an_earlier_report_go_and_nothing_else(make_data, tmp_path):
    names = ("plots/replay_balance.png", "plots/attention.png", "panels/02.jpg")
    stale = [tmp_path / name for name in names]
    others = [tmp_path / "plots" / "mine.png", tmp_path / "panels" / "mine.jpg"]
    for path in [*stale, *others]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"there before")
    write_report(make_data(phases=(0,)), tmp_path)
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in others)


@pytest.mark.usefixtures("no_report_plots")
def test_an_unreadable_image_leaves_the_older_report_as_it_is(full, make_data, tmp_path):
    (tmp_path / "report.md").write_text("older", encoding="utf-8")
    broken = make_data(panels=[Panel(tmp_path / "gone.jpg", "gone.jpg")])
    with pytest.raises(LstError, match=r"gone\.jpg"):
        write_report(broken, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "older"


@pytest.mark.usefixtures("no_report_plots")
def test_a_report_that_cannot_be_written_names_the_path(make_data, tmp_path):
    (tmp_path / "report").write_text("a file", encoding="utf-8")
    with pytest.raises(LstError, match="cannot write"):
        write_report(make_data(phases=(0,)), tmp_path / "report")


def test_a_table_on_the_page_says_how_many_classes_its_numbers_rest_on():
    columns = (
        Column("a", "class", "text"),
        Column("AP", "<5", classes=28, row_classes=Column("n", "")),
    )
    rows: tuple[dict[str, Any], ...] = (
        {"a": "x", "AP": 0.141, "n": 4},
        {"AP": 0.113, "n": 28},
        {"AP": None, "n": 0},
    )
    page = render_table(Table("t", columns, rows))
    assert '<tr class="classes"><th class="text">classes</th><th>28</th>' in page
    for cell in ("<td>14.1<small>(4)</small>", "<td>11.3", f'<td class="missing">{DASH}'):
        assert f"{cell}</td>" in page


@settings(deadline=None, max_examples=30)
@given(text=st.text(st.characters(exclude_categories=["C"]), min_size=1))
def test_no_text_of_the_user_becomes_markup(text):
    table = Table(text, (Column("a", text, "text", description=text),), ({"a": text},))
    page = Page(render_table(table))
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert "".join(page.words).count(text) >= 2


def test_names_titles_notes_and_settings_are_escaped_on_the_page(make_data):
    evil = '<img src="http://x/y" onerror=a()>&"\''
    classes = [type(c)(c.category_id, evil, 1, 1, c.phase) for c in make_data().classes]
    page = render_html(
        make_data(title=evil, classes=classes, notes=[evil], settings={evil: evil}), NO_ART
    )
    parsed = Page(page)
    assert "img" not in parsed.tags
    assert parsed.references == []
    assert "".join(parsed.words).count(evil) == len(classes) + 5


def test_a_name_that_a_template_misspells_is_an_error():
    with pytest.raises(UndefinedError, match="misspelt"):
        write._templates().from_string("{{ misspelt }}").render()


def test_writing_a_report_needs_neither_torch_nor_pyplot():
    code = (
        "import sys\n"
        "import lst_cli.cli.commands.report, lst_cli.report.write\n"
        "late = {'matplotlib', 'PIL', 'pycocotools', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not late, late\n"
        "import lst_cli.display.class_plots as plots\n"
        "from lst_cli.display.tables import ReportClass\n"
        "plots.plot_class_counts([ReportClass(1, 'a', 5, 4, 0)], scale=1)\n"
        "heavy = [m for m in ('torch', 'detectron2', 'matplotlib.pyplot') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("no_report_plots")
def test_names_from_elsewhere_show_as_they_are_in_every_file_of_a_report(
    make_data, panel, tmp_path
):
    names = ["\x1b[31m=1+1", "=1+1\u202e", "$x^{", "<b>|`[a](http://x)", "\x9b1"]
    name, data = " ".join(names), make_data((0, 1))
    data = replace(
        data,
        title=name,
        settings={name: name},
        classes=[replace(c, name=n) for c, n in zip(data.classes, [*names, ""], strict=True)],
        panels=[replace(panel, title=name)],
        panel_note=name,
    )
    written = write_report(data, tmp_path)
    for key in ("markdown", "csv", "latex", "html", "json"):
        text = written[key].read_text(encoding="utf-8")
        assert not set(text) & {"\x1b", "\x9b", "\u202e"}
    assert json.loads(written["json"].read_text(encoding="utf-8"))["title"] == name
    assert "<b>|" not in written["html"].read_text(encoding="utf-8")
