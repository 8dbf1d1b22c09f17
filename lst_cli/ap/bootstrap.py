"""How sure an AP is: the same evaluation over images resampled with replacement.

Matching is done once. A resample only weighs images, and with them detections and annotations,
so that two hundred evaluations cost as much as one.

Letters: B resamples, N images, K classes, D detections of a class, H those of them that match
anything at any threshold, T IoU thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.matching import HIT, IOU_THRESHOLDS, MISSED, Matches
from lst_cli.progress import Progress, silent

RESAMPLES = 200
DEVIATIONS = 1.96  # to each side hold 95 % of a normal distribution

_SAME = 1e-6  # sums of single precision
_NUMBERS_AT_ONCE = 4_000_000  # B times D; memory is a few times as many floats
_RECALLS = 100  # recall thresholds above 0


def draw_resamples(images: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """Draw N images with replacement, B times: how often each is drawn, shape (N, B).

    Equal arguments give equal images, so that two sets of detections are compared on the same ones.
    """
    generator = np.random.default_rng(seed)
    drawn = np.zeros((images, resamples), dtype=np.float32)
    for resample in range(resamples):
        rows = generator.integers(0, max(images, 1), images)
        drawn[:, resample] = np.bincount(rows, minlength=images)
    return drawn


def resampled_class_ap(
    matches: Matches, resamples: NDArray[np.float32], *, progress: Progress = silent
) -> NDArray[np.float64]:
    """AP of every class in every resample (B, K), objects of all sizes, IoU 0.50 to 0.95.

    It is nan where a resample has no ground truth of the class. `progress` counts classes.
    """
    truth = matches.truth
    k = len(truth.category_ids)
    ap = np.full((resamples.shape[1], k), np.nan)
    counted = np.flatnonzero(~matches.ignore[0])
    by_class = counted[np.argsort(truth.category[counted], kind="stable")]
    known = np.searchsorted(truth.category[by_class], np.arange(k + 1))
    for column, (rows, hits) in enumerate(matches.by_class()):
        images = truth.image[by_class[known[column] : known[column + 1]]]
        if len(images):
            step = max(1, _NUMBERS_AT_ONCE // max(rows.stop - rows.start, len(images)))
            for start in range(0, resamples.shape[1], step):
                part = slice(start, start + step)
                ap[part, column] = _class_ap(matches, rows, hits, images, resamples[:, part])
        progress("classes", column + 1, k)
    return ap


def mean_over(class_ap: NDArray[np.float64], columns: Iterable[int]) -> NDArray[np.float64]:
    """AP of a set of classes in every resample, of that of each class (B, K); nan for no truth."""
    chosen = class_ap[:, np.fromiter(columns, dtype=np.intp)]
    known = ~np.isnan(chosen)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan, as it should be
        means: NDArray[np.float64] = np.where(known, chosen, 0).sum(axis=1) / known.sum(axis=1)
    return means


def interval(
    values: NDArray[np.float64], center: float | None, lowest: float = 0.0
) -> tuple[float, float] | None:
    """The 95 % interval around a value: 1.96 standard deviations of the resamples to each side.

    Not their quantiles: the mean of the resamples is not the real AP. A class whose few wrong
    detections lie in other images than its objects loses some of them in most resamples, which are
    then better. For the spread 200 resamples suffice.

    It is cut below `lowest` and above 1. `values` are nan where a resample has none; without two
    there is no interval. See `tells` for whether it means anything.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2 or center is None:
        return None
    reach = DEVIATIONS * float(known.std(ddof=1))
    return max(round(center - reach, 12), lowest), min(round(center + reach, 12), 1.0)


def tells(values: NDArray[np.float64]) -> bool:
    """Whether resamples say how sure a value is: not where too few images matter and all agree."""
    known = values[~np.isnan(values)]
    return len(known) > 1 and float(np.ptp(known)) > _SAME


def _class_ap(
    matches: Matches,
    rows: slice,
    hits: slice,
    images: NDArray[np.int64],
    resamples: NDArray[np.float32],
) -> NDArray[np.float64]:
    """AP of one class (B,) from its rows, see `Matches.by_class`, and its annotations' images."""
    detections = matches.detections
    instances = resamples[images].sum(axis=0)  # (B,)
    ap = np.where(instances > 0, 0.0, np.nan)
    outcome = matches.outcome[0, :, hits]  # (T, overlapping)
    moving = (outcome != MISSED).any(axis=0)
    own, outcome = matches.rows[hits][moving], outcome[:, moving]
    if not (outcome == HIT).any():
        return ap
    order = np.argsort(-detections.scores[rows], kind="stable") + rows.start  # (D,)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order - rows.start] = np.arange(len(order))
    place = rank[own - rows.start]
    by_rank = np.argsort(place)
    own, place, outcome = own[by_rank], place[by_rank], outcome[:, by_rank]

    # All others are wrong at every threshold: only how many stand above each of these matters.
    order = order[: place[-1] + 1]
    still = ~matches.excused[order]
    still[place] = False
    segment = np.searchsorted(place, np.flatnonzero(still))  # the first of `place` behind each
    wrong = order[still]
    begins = np.flatnonzero(np.diff(segment, prepend=-1))
    above = np.zeros((len(place), resamples.shape[1]), dtype=np.float32)
    if len(wrong):
        weight = resamples[detections.image[wrong]]
        above[segment[begins]] = np.add.reduceat(weight, begins, axis=0)
        np.cumsum(above, axis=0, out=above)

    weight = resamples[detections.image[own]]  # (H, B)
    counts = ~matches.excused[own]
    for now in outcome:  # of one threshold
        right = now == HIT
        taken = np.flatnonzero(right)
        if not len(taken):
            continue
        tp = np.cumsum(weight[taken], axis=0)  # (hits, B)
        missed = np.flatnonzero((now == MISSED) & counts)
        total = tp + above[taken]
        if len(missed):
            more = np.cumsum(weight[missed], axis=0)
            behind = np.searchsorted(missed, taken)  # how many of the missed stand above each hit
            total[behind > 0] += more[behind[behind > 0] - 1]
        np.maximum(total, 1e-9, out=total)
        best = np.maximum.accumulate((tp / total)[::-1], axis=0)[::-1]
        reached = np.floor(tp * (_RECALLS / np.maximum(instances, 1)) + 1e-3) + (tp > 0)
        reached[1:] -= reached[:-1].copy()  # recall thresholds that each hit is the first to reach
        ap += np.einsum("hb,hb->b", reached, best) / (_RECALLS + 1) / len(IOU_THRESHOLDS)
    return ap
