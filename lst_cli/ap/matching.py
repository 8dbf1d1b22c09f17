"""Which detection is right: lvis-api's matching, all images and thresholds at once.

In lvis-api each detection, the best first, takes the annotation of its class that it overlaps
most and nobody has taken; among equals the later one; an annotation that does not count only if
no other is left. The detections of one pair of image and class depend on each other, those of
different pairs do not: the first of every pair is matched together, then every second one.

Letters: D detections, M annotations, E overlapping pairs, H detections that overlap anything,
T IoU thresholds, A area ranges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.detections import Detections
from lst_cli.ap.ground_truth import GroundTruth, Ints, contains
from lst_cli.ap.overlap import FOREGROUND

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)  # shape (T,)

AREA_RANGES = (
    (0.0, 1e5**2),
    (0.0, 32.0**2),
    (32.0**2, 96.0**2),
    (96.0**2, 1e5**2),
)
"""All, small, medium and large, in square pixels, both ends included."""

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
    # Whether a miss is not counted as wrong, since not every instance of its class is outlined in
    # its image, shape (D,).
    excused: NDArray[np.bool_]
    ignore: NDArray[np.bool_]  # annotations that do not count, by area range, shape (A, M)

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
    detection, annotation, iou = overlaps
    # The last pair of a detection that may be taken is the one lvis-api takes.
    order = np.lexsort((annotation, iou, detection))
    detection, annotation, iou = detection[order], annotation[order], iou[order]
    rows, starts = np.unique(detection, return_index=True)
    outcome = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), len(rows)), dtype=np.int8)
    matched = np.full(len(rows), -1, dtype=np.int64)
    pair = truth.pair_keys(detections.image, detections.category)
    for low, high in _blocks(pair[rows], starts, len(detection)):
        edges = slice(starts[low], starts[high] if high < len(rows) else len(detection))
        _match_block(
            starts[low:high] - starts[low],
            _round_in_pair(pair[rows[low:high]]),
            annotation[edges],
            iou[edges],
            ignore,
            outcome[:, :, low:high],
            matched[low:high],
        )
    return Matches(truth, detections, rows, outcome, matched, contains(truth.partial, pair), ignore)


def _blocks(
    pair: NDArray[np.int64], starts: NDArray[np.int64], edges: int
) -> list[tuple[int, int]]:
    """Ranges of detections with whole pairs in each, not many more edges than wanted."""
    if not len(pair):
        return []
    begins = np.flatnonzero(np.diff(pair, prepend=pair[0] - 1))  # the first of each pair
    block = starts[begins] // _PAIRS_AT_ONCE
    cuts = begins[np.flatnonzero(np.diff(block, prepend=-1))]
    return list(zip(cuts.tolist(), [*cuts[1:].tolist(), len(pair)], strict=True))


def _round_in_pair(pair: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each detection among those of its pair of image and class; pairs stand together."""
    begins = np.flatnonzero(np.diff(pair, prepend=pair[0] - 1))
    return _places(np.diff(np.append(begins, len(pair))))


def _match_block(
    starts: NDArray[np.int64],
    turn: NDArray[np.int64],
    annotation: Ints,
    iou: NDArray[np.float64],
    ignore: NDArray[np.bool_],
    outcome: NDArray[np.int8],
    matched: NDArray[np.int64],
) -> None:
    """Match the detections of some pairs, turn by turn, into `outcome` and `matched`.

    Args:
        starts: First overlap of each detection, shape (H,).
        turn: When each detection has its turn, shape (H,).
        annotation: Of each overlap, shape (E,).
        iou: Of each overlap, ascending within a detection.
        ignore: Shape (A, M).
        outcome: Shape (A, T, H).
        matched: Shape (H,).
    """
    known, local = np.unique(annotation, return_inverse=True)
    lengths = np.diff(np.append(starts, len(annotation)))
    passes = iou >= IOU_THRESHOLDS[:, None]  # (T, E)
    spare = ignore[:, annotation]  # (A, E)
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


def _places(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... of each length, one after the other."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
