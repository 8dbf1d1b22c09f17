"""Which detection is right: lvis-api's matching, all images and thresholds at once.

In lvis-api each detection, the best first, takes the free annotation of its class that it overlaps
most; among equals the later one; an annotation that does not count only if no other is left. The
detections of one pair of image and class depend on each other, those of different pairs do not.

Letters: D detections, M annotations, E overlapping pairs, H detections that overlap anything,
T IoU thresholds, A area ranges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.detections import FOREGROUND, Detections, Overlaps
from lst_cli.ap.ground_truth import GroundTruth, Ints

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)  # shape (T,)

# All, small, medium and large, in square pixels, both ends included.
AREA_RANGES = ((0.0, 1e5**2), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e5**2))

MISSED, HIT, IGNORED = 0, 1, 2
"""Outcome of a detection: it matched nothing, an annotation, or one that does not count."""

_PAIRS_AT_ONCE = 100_000  # overlapping pairs; memory is T * A times as many numbers


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of every detection."""

    truth: GroundTruth
    detections: Detections
    # Detections that overlap an annotation of their class at the lowest threshold, ascending,
    # shape (H,); all others missed.
    rows: Ints
    outcome: NDArray[np.int8]  # `MISSED`, `HIT` or `IGNORED`, shape (A, T, H)
    # What each of `rows` matched at the lowest threshold, all areas; -1 for nothing, shape (H,).
    annotation: NDArray[np.int64]
    # Whether a miss is not wrong: not every instance is outlined in the image, shape (D,).
    excused: NDArray[np.bool_]
    ignore: NDArray[np.bool_]  # annotations that do not count, by area range, shape (A, M)

    def right_and_wrong(
        self, area: int, thresholds: slice, rows: slice, known: slice
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether some detections are right and whether wrong, by IoU threshold and detection.

        The detections are those of a class, or all, as `by_class` gives them.
        """
        low, high = AREA_RANGES[area]
        areas = self.detections.areas[rows]
        # A miss outside the range says nothing about it.
        counts = ~(self.excused[rows] | (areas < low) | (areas > high))
        hits = self.outcome[area, thresholds, known]
        outcome = np.full((len(hits), len(areas)), MISSED, dtype=np.int8)
        outcome[:, self.rows[known] - (rows.start or 0)] = hits
        return outcome == HIT, (outcome == MISSED) & counts

    def by_class(self) -> Iterator[tuple[slice, slice]]:
        """The detections of each class, and which of `rows` are among them."""
        k = len(self.truth.category_ids)
        begins = np.searchsorted(self.detections.category, np.arange(k + 1))
        overlapping = np.searchsorted(self.rows, begins).tolist()
        yield from zip(
            map(slice, begins.tolist(), begins[1:].tolist()),
            map(slice, overlapping, overlapping[1:]),
            strict=False,
        )


def match_detections(truth: GroundTruth, detections: Detections) -> Matches:
    """Match detections to annotations."""
    areas = truth.areas
    ignore = np.stack(
        [truth.ignore | (areas < low) | (areas > high) for low, high in AREA_RANGES]
    )  # (A, M)
    ignore[:, ~truth.counts] = True
    overlaps = detections.overlaps
    if detections.any_class:
        same = truth.category[overlaps.annotation] == detections.category[overlaps.detection]
        overlaps = overlaps.at(same & (overlaps.iou >= FOREGROUND))
    # The last annotation of a detection that may be taken is the one lvis-api takes.
    overlaps = overlaps.at(np.lexsort((overlaps.annotation, overlaps.iou, overlaps.detection)))
    rows = np.unique(overlaps.detection)
    outcome = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), len(rows)), dtype=np.int8)
    annotation = np.full(len(rows), -1, dtype=np.int64)
    pair = truth.pair_keys(detections.image, detections.category)
    for part in _blocks(pair[overlaps.detection]):
        block = overlaps.at(part)
        first, last = np.searchsorted(rows, block.detection[[0, -1]])
        mine = slice(first, last + 1)
        outcome[:, :, mine], annotation[mine] = _match_block(block, pair[rows[mine]], ignore)
    excused = np.isin(pair, truth.partial)
    return Matches(truth, detections, rows, outcome, annotation, excused, ignore)


def _blocks(pair: NDArray[np.int64]) -> Iterator[slice]:
    """Ranges of overlaps, with all those of a pair of image and class in one, of a limited size."""
    begins = _begins(pair)
    cuts = begins[_begins(begins // _PAIRS_AT_ONCE)].tolist()
    yield from map(slice, cuts, [*cuts[1:], len(pair)])


def _begins(values: Ints) -> NDArray[np.int64]:
    """Positions where a value differs from the one before, the first included."""
    return np.flatnonzero(np.concatenate((np.ones(len(values[:1]), bool), np.diff(values) != 0)))


def _match_block(
    overlaps: Overlaps, pair: NDArray[np.int64], ignore: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Outcome and annotation of the detections of some pairs of image and class, see `Matches`.

    Overlaps are by detection and rising IoU; `pair` is that of each detection, shape (H,).
    """
    _, annotation, iou = overlaps
    known, local = np.unique(annotation, return_inverse=True)
    starts = _begins(overlaps.detection)  # the first overlap of each detection
    lengths = np.diff(np.append(starts, len(annotation)))
    # The first detections of all pairs are matched together, then the second ones, ...
    turn = _places(np.diff(np.append(_begins(pair), len(pair))))
    passes = iou >= IOU_THRESHOLDS[:, None]  # (T, E)
    spare = ignore[:, annotation]  # (A, E)
    outcome = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), len(pair)), dtype=np.int8)
    matched = np.full(len(pair), -1, dtype=np.int64)
    taken = np.zeros((*outcome.shape[:2], len(known)), dtype=np.bool_)  # (A, T, annotations)
    for now in range(int(turn.max()) + 1):
        mine = np.flatnonzero(turn == now)
        edges = np.repeat(starts[mine], lengths[mine]) + _places(lengths[mine])
        count = len(edges)
        free = passes[None, :, edges] & ~taken[:, :, local[edges]]  # (A, T, edges)
        # Among what is free: one that counts before one that does not, then the later edge.
        value = np.where(spare[:, edges], 0, count) + np.arange(1, count + 1)  # (A, edges)
        begins = np.cumsum(lengths[mine]) - lengths[mine]
        best = np.maximum.reduceat(free * value[:, None], begins, axis=2)  # (A, T, mine)
        area, threshold, place = np.nonzero(best)
        value_of_best = best[area, threshold, place]
        chosen = edges[(value_of_best - 1) % count]
        taken[area, threshold, local[chosen]] = True
        outcome[area, threshold, mine[place]] = np.where(value_of_best > count, HIT, IGNORED)
        first = (area == 0) & (threshold == 0)
        matched[mine[place[first]]] = annotation[chosen[first]]
    return outcome, matched


def _places(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... of each length, one after the other."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
