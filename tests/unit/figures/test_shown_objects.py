from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError
from lst_cli.figures.shown_objects import find_in


def detection(image_id: int, score: float, segmentation: Any) -> dict[str, Any]:
    return {
        "image_id": image_id, "category_id": 7, "bbox": [1, 2, 3, 4.5], "score": score,
        "segmentation": segmentation,
    }  # fmt: skip


def results(tmp_path: Path, rows: list[dict[str, Any]]) -> ResultsFile:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    return ResultsFile(path)


def test_only_detections_of_the_wanted_images_are_kept(tmp_path):
    rle = {"size": [4, 5], "counts": "0d0", "more": "x" * 99}
    rows = [detection(row % 3, row / 1e4, rle) for row in range(9000)]
    found = find_in(results(tmp_path, rows), {1, 5}, {7: "owl"})
    assert found[5] == []
    assert [one.score for one in found[1]] == [row / 1e4 for row in range(1, 9000, 3)]
    assert {(one.label, one.category_id, one.box) for one in found[1]} == {
        ("owl", 7, (1, 2, 3, 4.5))
    }
    assert all(one.segmentation == {"size": (4, 5), "counts": "0d0"} for one in found[1])


def test_a_wanted_detection_without_a_mask_is_refused(tmp_path):
    rows = [detection(1, 0.5, [[0, 0, 1, 0, 1, 1]])]
    assert find_in(results(tmp_path, rows), {2}, {}) == {2: []}
    with pytest.raises(LstError, match=r"results\.json: detection 0 .* not a compressed RLE"):
        find_in(results(tmp_path, rows), {1}, {})
