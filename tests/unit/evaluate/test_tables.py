from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from lst_cli.ap.metrics import KINDS, ErrorAnalysis
from lst_cli.errors import LstError
from lst_cli.evaluate.tables import errors_table, plot_errors, write_errors
from tests.fixtures.reports import read_csv


def shares(count: int, price: float | None, **more: Any) -> dict[str, Any]:
    return {
        "classes": 3,
        "with_ground_truth": 0 if price is None else 2,
        "AP50": None if price is None else 0.5,
        "counts": {kind: count + place for place, kind in enumerate(KINDS)},
        "dAP50": dict.fromkeys(KINDS, price),
        **more,
    }


@pytest.fixture
def analysis() -> ErrorAnalysis:
    return ErrorAnalysis.model_validate(
        {
            "iou_type": "segm",
            "images": 5,
            "annotations": 20,
            "right": 1234,
            "all": shares(1000, 0.123),
            "bins": [
                shares(10, 0.25, bin="=1", low=1, high=2),
                shares(0, None, bin=">=1000", low=1000, high=None),
            ],
        }
    )


def test_a_row_a_kind_and_ap50_below(analysis):
    table = errors_table(analysis)
    assert table.title == "Where AP50 of masks is lost"
    assert [row["kind"] for row in table.rows] == [*KINDS, "AP50"]
    texts = table.texts()
    assert [texts[0][0], *texts[0][2:]] == ["classification", "1,000", "12.3", "25.0", "–"]  # noqa: RUF001
    assert [texts[-1][0], *texts[-1][2:]] == ["AP50", "1,234", "50.0", "50.0", "–"]  # noqa: RUF001
    assert table.class_line() == ["classes", "", "", "2", "2", "0"]


def test_three_files_are_written_and_the_csv_has_the_counts_of_every_bin(analysis, tmp_path):
    paths = write_errors(analysis, tmp_path / "errors")
    assert [path.name for path in paths] == ["errors.json", "errors.csv", "errors.png"]
    assert ErrorAnalysis.model_validate(json.loads(paths[0].read_text())) == analysis
    rows = read_csv(paths[1])
    assert list(rows[0]) == [
        "kind", "count", "dAP50", "dAP50(=1)", "dAP50(>=1000)", "count(=1)", "count(>=1000)",
    ]  # fmt: skip
    assert list(rows[5].values()) == ["missed", "1005", "12.3000", "25.0000", "", "15", "5"]
    with Image.open(paths[2]) as picture:
        assert picture.size == (2 * 1080, 2 * (150 + 2 * 26))  # a bar for all, one for a bin
    assert paths[2].read_bytes() == plot_errors(analysis)


def test_a_place_that_cannot_be_written_is_named(analysis, tmp_path):
    (tmp_path / "errors").touch()
    with pytest.raises(LstError, match=r"cannot write .*errors"):
        write_errors(analysis, tmp_path / "errors")


def test_a_picture_without_anything_to_show_is_still_one(analysis):
    empty = {"all": shares(0, None), "bins": []}
    nothing = ErrorAnalysis.model_validate({**analysis.model_dump(), **empty})
    assert plot_errors(nothing).startswith(b"\x89PNG")
