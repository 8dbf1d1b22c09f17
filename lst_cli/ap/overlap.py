"""Pairs of detections and annotations that overlap enough to be worth a thought."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.detections import Detections
from lst_cli.ap.ground_truth import GroundTruth


def find_overlaps(
    truth: GroundTruth,
    detections: Detections,
    groups: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]],
    least: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Intersection over union of detections and annotations of one group each.

    Args:
        truth: The annotations.
        detections: The detections.
        groups: Rows of detections and rows of annotations that are held against each other.
        least: Lowest IoU that is kept.

    Returns:
        Detection, annotation and IoU of each pair with that IoU or more, shape (E,) each, group
        after group, detection after detection, the annotations ascending.
    """
    iou = _iou_of(truth, detections)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for mine, theirs in groups:
        ious = iou(mine, theirs)
        row, column = np.nonzero(ious >= least)
        if len(row):
            found.append((mine[row], theirs[column], ious[row, column]))
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0)
    first, second, third = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(third)


def same_class_groups(
    truth: GroundTruth, detections: Detections
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Detections and annotations of the same class in the same image, class after class.

    Annotations without an area are left out, as lvis-api does.
    """
    order = np.lexsort((truth.image, truth.category))
    order = order[truth.counts[order]]
    n = len(truth.image_ids)
    mine = detections.category * n + detections.image  # ascending
    theirs = truth.category[order] * n + truth.image[order]
    pairs = np.intersect1d(mine, theirs)
    begins, ends = np.searchsorted(mine, pairs), np.searchsorted(mine, pairs, side="right")
    lows, highs = np.searchsorted(theirs, pairs), np.searchsorted(theirs, pairs, side="right")
    for begin, end, low, high in zip(
        begins.tolist(), ends.tolist(), lows.tolist(), highs.tolist(), strict=True
    ):
        yield np.arange(begin, end), order[low:high]


def _iou_of(
    truth: GroundTruth, detections: Detections
) -> Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]:
    from pycocotools import mask

    if detections.boxes is not None:
        boxes = detections.boxes

        def of_boxes(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.float64]:
            ious: NDArray[np.float64] = mask.iou(
                boxes[mine], truth.boxes[theirs], np.zeros(len(theirs), dtype=np.uint8)
            )
            return ious

        return of_boxes

    counts, rles = detections.counts, truth.rles
    assert counts is not None
    assert rles is not None

    def of_masks(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.float64]:
        size = truth.sizes[detections.image[mine[0]]].tolist()
        shapes: list[Any] = [{"size": size, "counts": counts[row]} for row in mine.tolist()]
        ious: NDArray[np.float64] = mask.iou(
            shapes, [rles[row] for row in theirs.tolist()], np.zeros(len(theirs), dtype=np.uint8)
        )
        return ious

    return of_masks
