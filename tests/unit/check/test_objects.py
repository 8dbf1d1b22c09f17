from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.check.masks import check_masks, examine_masks
from lst_cli.check.objects import check_objects, find_doubles, find_unmatchable


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"bbox": [1.2, 2.0, 3.0, 4.0]}, "annotated-twice"),
        ({"area": 6.0, "segmentation": None}, "annotated-twice"),
        ({"ignore": 1}, "annotated-twice"),
        ({"category_id": 5}, "two-classes"),
        ({"bbox": [1.0, 2.0, 4.0, 4.0]}, None),
        ({"image_id": 1}, None),
        ({"iscrowd": 1}, None),
    ],
)
def test_an_object_annotated_again_is_found(read, two_classes, change, kind):
    for training in (True, False):
        assert check_objects(read(two_classes), training=training) == []
    two_classes["annotations"].append({**two_classes["annotations"][0], "id": 99, **change})
    found = check_objects(read(two_classes), training=True)
    assert [problem.kind for problem in found] == ([kind] if kind else [])
    if kind:
        assert found[0].severity == ("warning" if kind == "annotated-twice" else "info")
        assert found[0].examples[0].startswith("annotation 99 of image 2 is annotation 11: [")
    if kind == "annotated-twice":
        assert found[0].message.endswith("class and box, and counts again in training")
        missed = check_objects(read(two_classes), training=False)
        assert [problem.kind for problem in missed] == ["unmatchable"] * ("ignore" not in change)
        for problem in missed:
            assert problem.message.endswith(": 1 with the same object as another")
            assert problem.hint == "remove the second of each that is annotated twice"


@pytest.mark.parametrize(
    ("side", "shift", "same"),
    [(5, 0.5, True), (5, 1, False), (10, 1, True), (40, 1, True), (40, 1.5, False), (400, 8, True),
     (400, 9, False)],
)  # fmt: skip
def test_a_copy_may_be_off_by_a_pixel_or_a_fiftieth_but_not_by_much_of_a_small_box(
    side, shift, same
):
    box = np.array([3, 3, side, side], dtype=np.float64)
    for column in range(4):
        moved = box + shift * (np.arange(4) == column)
        found = find_doubles(np.zeros(2, dtype=np.int64), np.stack((box, moved)))
        assert found == ({1: 0} if same else {})


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_doubles_are_those_that_comparing_all_with_all_finds(seed, count):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, count)
    boxes = random.integers(0, 3, (count, 4)) * 0.4 + np.array([0, 0, 0.8, 0.8])
    expected = {}
    for row in range(count):
        for first in range(row):
            near = np.abs(boxes[row] - boxes[first]).max() <= 0.5
            wide = min(boxes[row, 2:].min(), boxes[first, 2:].min()) >= 1
            if near and wide and groups[row] == groups[first]:
                expected[row] = first
                break
    assert find_doubles(groups, boxes) == expected


@pytest.mark.parametrize("training", [True, False])
def test_where_boxes_are_wrong_nothing_is_said_to_repeat_another_or_to_be_lost(
    read, two_classes, training
):
    first = two_classes["annotations"][0] | {"bbox": [1, 1, 1, 1]}
    two_classes["annotations"] = [
        first | {"id": n, "category_id": 5 + 2 * (n % 2)} for n in range(6)
    ]
    dataset = read(two_classes)
    (problem,) = check_masks(dataset, examine_masks(dataset), training=training)
    assert (problem.severity, problem.kind) == ("error", "box-not-of-mask")


def test_what_is_lost_in_a_validation_file_is_told_once(read, two_classes):
    first = two_classes["annotations"][0]
    thin = {"bbox": [1, 1, 0.5, 1], "segmentation": [[1.2, 1.2, 1.4, 1.2, 1.4, 1.4]], "area": 1}
    two_classes["annotations"] += [
        {**first, "id": 20},
        {**first, **thin, "id": 21},
        {**first, **thin, "id": 22},  # not the same object: nothing can be told of such boxes
        {**first, **thin, "id": 23, "ignore": 1},
        {**first, **thin, "id": 24, "area": 0},
    ]
    dataset = read(two_classes)
    (problem,) = check_masks(dataset, examine_masks(dataset), training=False)
    assert (problem.kind, problem.count) == ("unmatchable", 3)
    assert problem.message == (
        "3 of 6 annotations count as missed whatever is detected: 2 with a mask without a pixel, "
        "1 with the same object as another"
    )


def test_what_no_detection_can_match_is_counted_once_under_its_first_kind():
    boxes = np.array([
        [10, 10, 20, 20],
        [10, 10, 20, 20],  # the same again
        [40, 40, 5, 5],  # without a pixel
        [-15, 0, 20, 20],  # three quarters outside
        [60, 60, 0.4, 9],  # thin
        [90, 0, 20, 20],  # half inside
        [-4, 0, 20, 20],
        [0, 0, np.inf, 1],
    ])  # fmt: skip
    empty = np.arange(8) == 2
    sizes = np.full((8, 2), 100.0)
    found = find_unmatchable(np.zeros(8, dtype=np.int64), boxes, sizes, empty)
    assert {kind: rows.tolist() for kind, rows in found.items()} == {
        "no-pixel": [2],
        "below-a-pixel": [4],
        "mostly-outside": [3, 5, 7],
        "annotated-twice": [1],
    }
