from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest

from lst_cli.compare import tables
from lst_cli.compare.paired import Comparison
from lst_cli.compare.tables import (
    compare_table,
    comparison_tables,
    differences_table,
    layout_table,
    plot_comparison,
    render_comparison_markdown,
)
from lst_cli.display.markup import render_csv
from tests.fixtures.reports import read_csv


def row(name: str, what: str, aps: Sequence[float | None], *, clear: bool) -> dict[str, Any]:
    known = [ap for ap in aps if ap is not None]
    return {
        "name": name, "what": what, "threshold": "AP",
        "classes": 4, "with_ground_truth": 3 if known else 0,
        "estimates": [
            {"AP": ap, "interval": None if ap is None else (ap - 0.01, ap + 0.01)} for ap in aps
        ],
        "differences": [
            {
                "AP": None if ap is None or aps[0] is None else ap - aps[0],
                "interval": (-0.004, 0.0421) if known else None,
                "clear": clear,
            }
            for ap in aps[1:]
        ],
    }  # fmt: skip


def comparison(runs: int = 2) -> Comparison:
    return Comparison.model_validate(
        {
            "iou_type": "segm", "annotations": "val.json",
            "images": 1200, "classes": 4, "resamples": 500,
            "runs": [
                {
                    "name": f"run$ {place}", "source": f"dir/{place}", "phase": place,
                    "classes": 4, "detections": 3000,
                    "image_passes": 12_440 if place else None,
                }
                for place in range(runs)
            ],
            "rows": [
                row("AP", "all", [0.3, 0.34, 0.2][:runs], clear=True),
                row("=1", "bin", [0.1, 0.1, 0.1][:runs], clear=False),
                row(">=1000", "bin", [None] * runs, clear=False),
            ],
        }
    )  # fmt: skip


def test_the_table_shows_both_runs_the_difference_and_its_interval():
    table = compare_table(comparison())
    assert table.title == "Mask AP of the same 4 classes in the same 1,200 images"
    assert [column.heading for column in table.columns] == [
        "classes", "number", "with ground truth", "run$ 0", "run$ 1", "difference", "from", "to",
        "",
    ]  # fmt: skip
    minus = "\N{MINUS SIGN}"
    assert table.texts()[0] == ["AP", "4", "3", "30.0", "34.0", "+4.0", f"{minus}0.4", "+4.2", "*"]
    assert table.texts()[1] == ["instances =1", "4", "3", "10.0", "10.0", "0.0", f"{minus}0.4",
                                "+4.2", ""]  # fmt: skip
    assert set(table.texts()[2][3:8]) == {"\N{EN DASH}"}
    headings = [column.heading for column in compare_table(comparison(3)).columns]
    assert [one for one in headings if "minus" in one] == [
        "run$ 1 minus run$ 0", "run$ 2 minus run$ 0",
    ]  # fmt: skip


def test_the_csv_can_be_read_and_holds_no_formula():
    text = render_csv(compare_table(comparison()))
    rows = read_csv(text)
    assert rows[0]["difference(run$ 1)"] == "4.0000"
    assert rows[0]["high(run$ 1)"] == "4.2100"
    assert [one["clear(run$ 1)"] for one in rows] == ["*", "", ""]
    assert not any(cell.startswith("=") for line in csv.reader(io.StringIO(text)) for cell in line)


def test_three_runs_have_a_row_each_and_all_classes_come_last():
    table = layout_table(comparison(3))
    assert [column.heading for column in table.columns] == [
        "run", "=1", "≥1000", "AP", "image passes",
    ]  # fmt: skip
    assert table.class_line() == ["classes", "3", "0", "3", ""]
    none = "\N{EN DASH}"
    assert table.texts() == [
        ["run$ 0", "10.0", none, "30.0", none],
        ["run$ 1", "10.0", none, "34.0", "12,440"],
        ["run$ 2", "10.0", none, "20.0", "12,440"],
    ]


def test_differences_of_three_runs_stand_with_their_intervals():
    table = differences_table(comparison(3))
    assert table.title == "Mask AP minus that of run$ 0"
    assert [column.heading for column in table.columns] == ["classes", "run$ 1", "run$ 2"]
    minus, none = "\N{MINUS SIGN}", "\N{EN DASH}"
    interval = f"({minus}0.4 to +4.2)"
    assert table.texts() == [
        ["AP", f"+4.0 {interval}*", f"{minus}10.0 {interval}*"],
        ["instances =1", f"0.0 {interval}", f"0.0 {interval}"],
        ["instances ≥1000", none, none],
    ]


def test_two_runs_stand_side_by_side_and_more_below_each_other():
    runs, *others = comparison_tables(comparison(2))
    assert runs.texts()[0] == ["run$ 0", "base", "4", "3,000", "\N{EN DASH}", "dir/0"]
    assert others == [compare_table(comparison(2))]
    three = comparison(3)
    assert comparison_tables(three)[1:] == [layout_table(three), differences_table(three)]
    page = render_comparison_markdown(three.model_copy(update={"notes": ("a | remark",)}))
    assert page.count("\n## ") == 3
    assert r"| run\$ 1 | 10.0 |" in page
    assert r"- a \| remark" in page


def test_the_picture_has_a_row_for_what_has_ground_truth_and_every_name_in_its_legend(monkeypatch):
    shown = comparison()
    hidden = shown.runs[0].model_copy(update={"name": "_base"})
    drawn: list[Any] = []
    monkeypatch.setattr(tables, "render", lambda figure: drawn.append(figure) or b"")
    for rows, labels in ((shown.rows, 2), (shown.rows[:2], 2), (shown.rows[1:], 1)):
        runs = (hidden, *shown.runs[1:])
        plot_comparison(shown.model_copy(update={"runs": runs, "rows": rows}), scale=1)
        figure = drawn[-1]
        assert len(figure.axes[0].get_yticks()) == labels
        assert figure.get_size_inches().tolist() == pytest.approx([10.8, 1.5 + 0.38 * labels])
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["_base", "run$ 1"]
