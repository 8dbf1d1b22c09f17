"""Pairs of detections and annotations that overlap, found while detections are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.ground_truth import GroundTruth, Ints, contains

FOREGROUND = 0.5
"""The lowest IoU at which a detection matches an annotation of its class."""

BACKGROUND = 0.1
"""The IoU below which a detection has nothing to do with an annotation."""


class Overlaps(NamedTuple):
    """Row of the detection, row of the annotation and IoU of each pair, shape (E,) each."""

    detection: NDArray[np.int32]
    annotation: NDArray[np.int32]
    iou: NDArray[np.float64]

    def at(self, pairs: NDArray[Any]) -> Overlaps:
        """Some of the pairs."""
        return Overlaps(*(column[pairs] for column in self))


class OverlapFinder:
    """Compares detections with the annotations of their image.

    These are the annotations of the same class with an IoU of `FOREGROUND` or more, or, for an
    analysis of errors, those of any class with `BACKGROUND` or more. Annotations without an area
    are left out, as lvis-api does.
    """

    def __init__(self, truth: GroundTruth, any_class: bool) -> None:
        self._truth, self._any_class = truth, any_class
        counted = np.flatnonzero(truth.counts)
        keys = self._group_keys(truth.image[counted], truth.category[counted])
        order = np.argsort(keys, kind="stable")
        self._annotations, self._keys = counted[order].astype(np.int32), keys[order]

    def _group_keys(self, image: Ints, category: Ints) -> Ints:
        return image if self._any_class else self._truth.pair_keys(image, category)

    def find(
        self, image: Ints, category: Ints, shapes: NDArray[np.float64] | Sequence[bytes]
    ) -> Overlaps:
        """The overlapping pairs of some detections.

        Args:
            image: Row of the image of each, shape (D,).
            category: Column of the class of each, shape (D,).
            shapes: Boxes, shape (D, 4), or compressed run lengths of masks.
        """
        from pycocotools import mask

        truth, least = self._truth, BACKGROUND if self._any_class else FOREGROUND
        keys = self._group_keys(image, category)
        rows = np.flatnonzero(contains(self._keys, keys)).astype(np.int32)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        groups = np.unique(keys[rows])
        bounds = [
            np.searchsorted(sides, groups, side).tolist()
            for sides in (keys[rows], self._keys)
            for side in ("left", "right")
        ]
        nothing = np.zeros(0, dtype=np.int32)
        found = [Overlaps(nothing, nothing, np.zeros(0))]
        for begin, end, low, high in zip(*bounds, strict=True):
            mine, theirs = rows[begin:end], self._annotations[low:high]
            detected: Any
            annotated: Any
            if isinstance(shapes, np.ndarray):
                detected, annotated = shapes[mine], truth.boxes[theirs]
            else:
                assert truth.rles is not None
                size = truth.sizes[image[mine[0]]].tolist()
                detected = [{"size": size, "counts": shapes[row]} for row in mine.tolist()]
                annotated = [truth.rles[row] for row in theirs.tolist()]
            ious = mask.iou(detected, annotated, np.zeros(len(theirs), dtype=np.uint8))
            row, column = np.nonzero(ious >= least)
            found.append(Overlaps(mine[row], theirs[column], ious[row, column]))
        return Overlaps(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
