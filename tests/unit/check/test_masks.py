from __future__ import annotations

from typing import Any

import pytest

from lst_cli.annotations.problems import Problem
from lst_cli.annotations.read import Dataset
from lst_cli.check.masks import check_masks, examine_masks
from lst_cli.errors import LstError


def check(dataset: Dataset) -> list[Problem]:
    return check_masks(dataset, examine_masks(dataset))


@pytest.mark.parametrize(  # what is measured of other masks: test_segmentations.py
    ("segmentation", "kind", "severity"),
    [
        ([[0, 0, 8, 0, 8, 6]], None, ""),
        (None, "no-segmentation", "error"),
        ([1, 2, 3, 4, 5, 6], "unreadable-segmentation", "error"),
        ([[1, 2, 3, 4]], "short-polygon", "error"),
        ([[0, 0, 8, 0, 8, 6], [1, 2, 3, 4]], "some-short-polygons", "warning"),
        ([[0, 0, 4, 3, 8, 6]], "no-pixel", "warning"),
        ([[0, 0, 4, 3, 8, 6, 4, 3]], "no-pixel", "warning"),
        ({"size": [6, 8], "counts": [8, 30]}, "rle-counts", "error"),
    ],
)
def test_a_bad_mask_is_shown_with_its_annotation(read, two_classes, segmentation, kind, severity):
    two_classes["annotations"][1]["segmentation"] = segmentation
    dataset = read(two_classes)
    found = [(one.severity, one.kind, one.count, one.examples) for one in check(dataset)]
    assert found == ([(severity, kind, 1, ("annotation 12 of image 2",))] if kind else [])
    assert examine_masks(dataset).faults == ({kind: [1]} if kind else {})


def test_a_file_of_boxes_alone_is_recognised_and_skipping_is_not_offered(read, two_classes):
    for annotation in two_classes["annotations"]:
        del annotation["segmentation"]
    (problem,) = check(read(two_classes))
    assert (problem.severity, problem.kind) == ("error", "no-segmentation")
    assert problem.message.startswith("the file has boxes only; masks are needed")
    assert "skip" not in str(problem.hint)


def test_a_mask_far_outside_says_nothing_about_its_box(read, two_classes):
    for annotation in two_classes["annotations"]:
        annotation["segmentation"] = [[0, 0, 900, 0, 900, 900]]
    assert [one.kind for one in check(read(two_classes))] == ["far-polygon"]


def test_rows_are_those_of_the_file_and_errors_come_first(read, two_classes, monkeypatch):
    monkeypatch.setattr("lst_cli.annotations.json_stream.BLOCK_SIZE", 1000)
    good, bad, scrap = [[0, 0, 5, 0, 5, 5]], [[0, 0]], [[0, 0, 5, 0, 5, 5], [1, 1]]
    masks: list[Any] = ([good] * 3 + [bad] + [scrap]) * 20
    first = two_classes["annotations"][0]
    two_classes["annotations"] = [
        first | {"id": row, "segmentation": mask} for row, mask in enumerate(masks)
    ]
    calls: list[int] = []
    dataset = read(two_classes)
    found = examine_masks(dataset, progress=lambda *call: calls.append(call[1]))
    assert found.faults == {
        "short-polygon": list(range(3, 100, 5)),
        "some-short-polygons": list(range(4, 100, 5)),
    }
    assert calls[-1] == dataset.path.stat().st_size
    kinds = [problem.kind for problem in check_masks(dataset, found)]
    assert kinds == ["short-polygon", "some-short-polygons", "annotated-twice"]


@pytest.mark.parametrize("count", [2, 4])
def test_a_file_that_changed_since_is_refused(write, read, two_classes, count):
    dataset = read(two_classes)
    two_classes["annotations"] = (two_classes["annotations"] * 2)[:count]
    write(two_classes)
    with pytest.raises(LstError, match="changed while it was read"):
        check(dataset)
