from __future__ import annotations

import numpy as np
import pytest

from lst_cli.ap import matching
from lst_cli.ap.detections import gather_detections
from lst_cli.ap.matching import HIT, IGNORED, MISSED, match_detections

BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 40.0, 40.0]


@pytest.fixture
def match_boxes(draw, match):
    """Boxes of class 1 in image 5 against detections of it, best first."""

    def match_boxes(annotations, found, iou_type="bbox", ignore=()):
        content = {
            "images": [draw.image(5, [1], [])],
            "annotations": [
                draw.annotation(row, 5, 1, box) | {"ignore": int(row in ignore)}
                for row, box in enumerate(annotations)
            ],
            "categories": [{"id": 1, "frequency": "r"}],
        }
        records = [draw.detection(5, 1, 0.9 - row / 100, box) for row, box in enumerate(found)]
        return match(content, records, iou_type)

    return match_boxes


def first_columns(box, share):
    """The left part of a box, whose IoU with it is `share`."""
    return [box[0], box[1], box[2] * share, box[3]]


def outcome_of(matches, detection):
    """Outcome of a detection at each threshold, all areas."""
    if detection not in matches.rows:
        return [MISSED] * 10
    return matches.outcome[0, :, matches.rows.tolist().index(detection)].tolist()


def test_an_annotation_is_taken_once_by_the_best_detection(match_boxes):
    matches = match_boxes([BOX], [first_columns(BOX, 0.6), BOX, BOX])
    assert outcome_of(matches, 0) == [HIT] * 3 + [MISSED] * 7  # the best score, not the best IoU
    assert outcome_of(matches, 1) == [MISSED] * 3 + [HIT] * 7
    assert outcome_of(matches, 2) == [MISSED] * 10
    assert matches.annotation.tolist() == [0, -1, -1]
    assert matches.rows.tolist() == [0, 1, 2]


def test_of_equal_overlaps_the_later_annotation_is_taken(match_boxes):
    assert match_boxes([BOX, FAR, BOX, BOX], [BOX, BOX]).annotation.tolist() == [3, 2]
    left, right = [0.0, 0.0, 10.0, 20.0], [10.0, 0.0, 10.0, 20.0]
    assert match_boxes([right, left], [BOX]).annotation.tolist() == [1]
    assert match_boxes([left, right], [BOX]).annotation.tolist() == [1]


def test_one_that_is_ignored_is_taken_only_if_no_other_is_left(match_boxes):
    partly = first_columns(BOX, 0.6)
    matches = match_boxes([partly, BOX], [BOX, BOX, BOX], ignore=(1,))
    assert outcome_of(matches, 0) == [HIT] * 3 + [IGNORED] * 7
    assert outcome_of(matches, 1) == [IGNORED] * 3 + [MISSED] * 7
    assert outcome_of(matches, 2) == [MISSED] * 10
    assert matches.annotation.tolist() == [0, 1, -1]
    assert matches.ignore[0].tolist() == [False, True]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("pairs", [1, 7, 60])
def test_the_result_does_not_depend_on_how_many_pairs_are_matched_at_once(
    draw, build, save, monkeypatch, iou_type, pairs
):
    content, found = draw.federated_set(40)
    truth = build(content)
    detections = gather_detections(truth, save(found), iou_type)
    whole = match_detections(truth, detections)
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", pairs)
    parts = match_detections(truth, detections)
    assert len(whole.rows) > 60
    for name in ("rows", "outcome", "annotation", "excused", "ignore"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


# --- overlaps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_overlaps_are_of_one_class_in_one_image_and_large_enough(draw, build, save, iou_type):
    content = {
        "images": [draw.image(5, [1, 2], []), draw.image(3, [1, 2], [])],
        "annotations": [
            draw.annotation(1, 5, 2, BOX),
            draw.annotation(2, 3, 1, FAR),
            draw.annotation(3, 5, 2, first_columns(BOX, 0.5)),
            draw.annotation(4, 5, 1, BOX),
            draw.annotation(5, 5, 2, BOX) | {"area": 0.0},
        ],
        "categories": [{"id": 1}, {"id": 2}],
    }
    found = [
        draw.detection(5, 2, 0.9, BOX),
        draw.detection(5, 2, 0.8, first_columns(BOX, 0.25)),
        draw.detection(3, 1, 0.7, FAR),
        draw.detection(3, 2, 0.7, FAR),
    ]
    truth = build(content)
    overlaps = gather_detections(truth, save(found), iou_type).overlaps
    order = np.lexsort((overlaps.annotation, overlaps.detection))
    assert [column.tolist() for column in overlaps.at(order)] == [
        [0, 2, 2, 3], [1, 0, 2, 2], [1.0, 1.0, 0.5, 0.5],
    ]  # fmt: skip
    every = gather_detections(truth, save(found), iou_type, any_class=True).overlaps
    order = np.lexsort((every.annotation, every.detection))
    # The second detection of class 1 in image 5 is none; class 2 also meets class 1's annotation.
    assert [column.tolist() for column in every.at(order)] == [
        [0, 1, 2, 2, 2, 3, 3, 3], [1, 1, 0, 2, 3, 0, 2, 3],
        [1.0, 1.0, 1.0, 0.5, 1.0, 0.25, 0.5, 0.25],
    ]  # fmt: skip
