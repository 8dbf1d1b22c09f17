"""Federated average precision: lvis-api's numbers to the last bit, from matched detections.

Letters: T IoU thresholds (0.50, 0.55, ... 0.95), R recall thresholds (0, 0.01, ... 1),
K classes, A area ranges (all, small, medium, large), D detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.matching import AREA_RANGES, HIT, IOU_THRESHOLDS, Matches
from lst_cli.progress import Progress, silent

RECALL_THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)  # shape (R,)

_EPS = np.spacing(1)
_FREQUENCIES = "rcf"


@dataclass(frozen=True, eq=False)
class ApResult:
    """What lvis-api computes, as it computes it; -1 stands for no ground truth."""

    precision: NDArray[np.float64]  # at each recall threshold, shape (T, R, K, A)
    recall: NDArray[np.float64]  # the largest, shape (T, K, A)
    category_ids: tuple[int, ...]  # the K classes, in the order they were asked for
    # lvis-api's means, fractions: `AP`, `AP50`, `AP75`, `APs`, `APm`, `APl`, `APr`, `APc`, `APf`,
    # `AR`, `ARs`, `ARm`, `ARl`.
    summary: Mapping[str, float]
    # AP of each class in B resamples, shape (B, K), nan for none; without rows if not computed.
    resampled: NDArray[np.float64]


def average_precision(matches: Matches, *, progress: Progress = silent) -> ApResult:
    """Score matched detections as LVIS does.

    A detection counts only in images that are labelled for its class: those with an instance of
    it and those that list it in `neg_category_ids`. Where the class is in
    `not_exhaustive_category_ids`, a detection that matches nothing is neither right nor wrong.
    `progress` gets the number of classes done and of all classes.
    """
    truth = matches.truth
    t, r, k, a = len(IOU_THRESHOLDS), len(RECALL_THRESHOLDS), len(truth.category_ids), 4
    precision, recall = np.full((t, r, k, a), -1.0), np.full((t, k, a), -1.0)
    instances = np.stack(
        [np.bincount(truth.category[~ignored], minlength=k) for ignored in matches.ignore]
    )  # (A, K)
    for column, (rows, known) in enumerate(matches.by_class()):
        areas_with_any = np.flatnonzero(instances[:, column]).tolist()
        if areas_with_any:
            # Of equal scores the image with the lower id comes first, as in lvis-api.
            order = np.argsort(-matches.detections.scores[rows], kind="stable")
            for area in areas_with_any:
                precision[:, :, column, area], recall[:, column, area] = precision_recall_curve(
                    *_right_and_wrong(matches, area, rows, known, order),
                    int(instances[area, column]),
                )
        progress("classes", column + 1, k)
    summary = _summarize(precision, recall, truth.frequencies)
    return ApResult(precision, recall, truth.category_ids, summary, np.zeros((0, k)))


def _right_and_wrong(
    matches: Matches, area: int, rows: slice, known: slice, order: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections of a class are right and which wrong, best first, shape (T, D) each."""
    low, high = AREA_RANGES[area]
    areas = matches.detections.areas[rows]
    # A miss outside the range says nothing about it.
    counts = ~(matches.excused[rows] | (areas < low) | (areas > high))  # (D,)
    outcome = np.zeros((len(IOU_THRESHOLDS), len(areas)), dtype=np.int8)
    outcome[:, matches.rows[known] - rows.start] = matches.outcome[area, :, known]
    right = outcome == HIT
    wrong = (outcome == 0) & counts
    return right[:, order], wrong[:, order]


def precision_recall_curve(
    right: NDArray[np.bool_], wrong: NDArray[np.bool_], instances: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision at each recall threshold, shape (T, R), and the largest recall, shape (T,).

    Args:
        right: Whether each detection of a class is right, the best first, shape (T, D).
        wrong: Whether it is wrong; some are neither.
        instances: Annotations that count.
    """
    precision = np.zeros((len(right), len(RECALL_THRESHOLDS)))
    if not right.any():
        return precision, np.zeros(len(right))
    tp, fp = np.cumsum(right, axis=1), np.cumsum(wrong, axis=1)  # (T, D)
    recall = tp / instances
    raw = tp / (fp + tp + _EPS)
    # The best precision at this recall or any higher one.
    best = np.maximum.accumulate(raw[:, ::-1], axis=1)[:, ::-1]
    for row in range(len(right)):
        at = np.searchsorted(recall[row], RECALL_THRESHOLDS, side="left")
        reached = at < right.shape[1]
        precision[row, reached] = best[row, at[reached]]
    return precision, recall[:, -1]


def _summarize(
    precision: NDArray[np.float64], recall: NDArray[np.float64], frequencies: Sequence[str]
) -> dict[str, float]:
    """lvis-api's means: over every entry that is not -1."""

    def mean(entries: NDArray[np.float64]) -> float:
        entries = entries[entries > -1]
        return float(entries.mean()) if entries.size else -1.0

    summary = {
        "AP": mean(precision[..., 0]),
        "AP50": mean(precision[0:1, ..., 0]),
        "AP75": mean(precision[5:6, ..., 0]),
    }
    for area, letter in enumerate("sml", start=1):
        summary[f"AP{letter}"] = mean(precision[..., area])
    for letter in _FREQUENCIES:
        columns = [column for column, one in enumerate(frequencies) if one == letter]
        summary[f"AP{letter}"] = mean(precision[:, :, columns, 0])
    summary["AR"] = mean(recall[..., 0])
    for area, letter in enumerate("sml", start=1):
        summary[f"AR{letter}"] = mean(recall[..., area])
    return summary
