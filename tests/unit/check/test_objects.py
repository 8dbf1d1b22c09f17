from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.annotations.read import Dataset
from lst_cli.check.objects import (
    check_doubles,
    find_doubles,
    find_unmatchable,
    tell_unmatchable,
)

Read = Callable[..., Dataset]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "annotated-twice"),
        ({"bbox": [1.2, 2.0, 3.0, 4.0]}, "annotated-twice"),
        ({"area": 12.1}, "annotated-twice"),
        ({"segmentation": {"size": [6, 8], "counts": [8, 30, 10]}}, "annotated-twice"),
        ({"category_id": 5}, "two-classes"),
        ({"bbox": [1.0, 2.0, 4.0, 4.0]}, None),
        ({"area": 6.0}, None),
        ({"image_id": 1}, None),
        ({"iscrowd": 1}, None),
    ],
)
def test_an_object_annotated_again_is_found(
    read: Read, two_classes: Any, change: dict[str, Any], kind: str | None
) -> None:
    assert check_doubles(read(two_classes)) == []
    two_classes["annotations"].append({**two_classes["annotations"][0], "id": 99, **change})
    found = check_doubles(read(two_classes))
    assert [problem.kind for problem in found] == ([kind] if kind else [])
    if kind:
        assert found[0].severity == ("warning" if kind == "annotated-twice" else "info")
        assert found[0].examples[0].startswith("annotation 99 of image 2 is annotation 11: [")


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_doubles_are_those_that_comparing_all_with_all_finds(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, count)
    boxes = random.integers(0, 3, (count, 4)) * 0.4
    areas = random.integers(1, 3, count).astype(np.float64)
    expected = {}
    for row in range(count):
        for first in range(row):
            near = np.abs(boxes[row] - boxes[first]).max() <= 0.5
            if near and groups[row] == groups[first] and areas[row] == areas[first]:
                expected[row] = first
                break
    assert find_doubles(groups, boxes, areas) == expected


def test_what_no_detection_can_match_is_counted_once_under_its_first_kind() -> None:
    boxes = np.array(
        [
            [10, 10, 20, 20],
            [10, 10, 20, 20],  # the same again
            [40, 40, 5, 5],  # without a pixel
            [-15, 0, 20, 20],  # three quarters outside
            [60, 60, 0.4, 9],  # thin
            [-15, 0, 20, 20],  # outside, but does not count
            [90, 0, 20, 20],  # half inside
            [-4, 0, 20, 20],
        ],
        dtype=np.float64,
    )
    areas = np.array([400, 400, 25, 400, 4, 0, 400, 400], dtype=np.float64)
    empty = np.arange(8) == 2
    sizes = np.full((8, 2), 100.0)
    found = find_unmatchable(np.zeros(8, dtype=np.int64), boxes, areas, sizes, empty)
    assert {kind: rows.tolist() for kind, rows in found.items()} == {
        "no-pixel": [2],
        "mostly-outside": [3, 6],
        "below-a-pixel": [4],
        "annotated-twice": [1],
    }
    assert tell_unmatchable(found, 8).startswith(
        "5 of 8 annotations count as missed whatever is detected: 1 with a mask without a pixel, "
    )


def test_boxes_with_infinity_do_not_stop_the_count() -> None:
    boxes = np.array([[0, 0, np.inf, 1], [np.nan, 0, 1, 1]])
    one = np.ones(2)
    found = find_unmatchable(
        np.zeros(2, dtype=np.int64), boxes, one, np.full((2, 2), 9.0), np.zeros(2, dtype=np.bool_)
    )
    assert found["mostly-outside"].tolist() == [0, 1]
