"""Federated average precision: lvis-api's numbers to the last bit, from matched detections.

AP of any set of classes is lvis-api's mean: over every entry of the precision array of these
classes that is not -1. Classes without ground truth leave the mean; classes with ground truth
and no detection are in it with 0.

Letters: T IoU thresholds (0.50, 0.55, ... 0.95), R recall thresholds (0, 0.01, ... 1),
K classes, A area ranges (all, small, medium, large), D detections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.bootstrap import interval, mean_over, tells
from lst_cli.ap.matching import IOU_THRESHOLDS, Matches
from lst_cli.ap.metrics import BinMetrics, GroupMetrics, IouMetrics, Scores
from lst_cli.phases.bins import DEFAULT_BINS, Bin
from lst_cli.progress import Progress, silent

Threshold = Literal["AP", "AP50", "AP75"]

RECALL_THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)  # shape (R,)

_EPS = np.spacing(1)
_ROWS: dict[Threshold, slice] = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}


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
    """Score matched detections as LVIS does; `progress` counts classes.

    A detection counts only in images that are labelled for its class: those with an instance of
    it and those that list it in `neg_category_ids`. Where the class is in
    `not_exhaustive_category_ids`, a detection that matches nothing is neither right nor wrong.
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
                right, wrong = matches.right_and_wrong(area, slice(None), rows, known)
                precision[:, :, column, area], recall[:, column, area] = precision_recall_curve(
                    right[:, order], wrong[:, order], int(instances[area, column])
                )
        progress("classes", column + 1, k)
    summary = _summarize(precision, recall, truth.frequencies)
    return ApResult(precision, recall, truth.category_ids, summary, np.zeros((0, k)))


def precision_recall_curve(
    right: NDArray[np.bool_], wrong: NDArray[np.bool_], instances: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision at each recall threshold, shape (T, R), and the largest recall, shape (T,).

    `right` and `wrong` are of the detections of a class, the best first, shape (T, D); some are
    neither. `instances` is the number of annotations that count.
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
    """lvis-api's means, by its names."""
    areas, of_class = list(enumerate("sml", start=1)), np.array(frequencies)
    return {
        **{name: _mean(precision[rows, ..., 0]) for name, rows in _ROWS.items()},
        **{f"AP{letter}": _mean(precision[..., area]) for area, letter in areas},
        **{f"AP{letter}": _mean(precision[:, :, of_class == letter, 0]) for letter in "rcf"},
        "AR": _mean(recall[..., 0]),
        **{f"AR{letter}": _mean(recall[..., area]) for area, letter in areas},
    }


def _mean(entries: NDArray[np.float64]) -> float:
    """lvis-api's mean: over every entry that is not -1; -1 if there is none."""
    entries = entries[entries > -1]
    return float(entries.mean()) if entries.size else -1.0


def mean_ap(
    precision: NDArray[np.float64], columns: Iterable[int], threshold: Threshold = "AP"
) -> float | None:
    """AP of a set of classes; None if none of them has ground truth."""
    entries = precision[_ROWS[threshold], :, :, 0]  # (T, R, K)
    mean = _mean(entries[:, :, np.fromiter(columns, dtype=np.intp)])
    return None if mean < 0 else mean


def per_class_ap(
    precision: NDArray[np.float64], threshold: Threshold = "AP"
) -> NDArray[np.float64]:
    """AP of each class, shape (K,); nan for a class without ground truth."""
    entries = precision[_ROWS[threshold], :, :, 0]  # (T, R, K)
    entries = np.where(entries > -1, entries, np.nan)
    known = ~np.isnan(entries).all(axis=(0, 1))  # (K,)
    ap = np.full(entries.shape[2], np.nan)
    ap[known] = np.nanmean(entries[:, :, known], axis=(0, 1))
    return ap


@dataclass(frozen=True)
class TrainBins:
    """Training instances of each class, and bins of them, which may overlap."""

    instances: Mapping[int, int]  # by category_id; a class that is not here has none
    bins: Sequence[Bin] = DEFAULT_BINS

    def columns(self, category_ids: Sequence[int]) -> Iterator[tuple[Bin, list[int]]]:
        """The columns of the classes in each bin."""
        counts = [self.instances.get(category_id, 0) for category_id in category_ids]
        for each in self.bins:
            yield each, [column for column, count in enumerate(counts) if each.contains(count)]


NO_BINS = TrainBins({}, ())


def scores(result: ApResult, by: TrainBins = NO_BINS) -> Scores:
    """The numbers of any detections."""
    known = {name: value for name, value in result.summary.items() if name in Scores.model_fields}
    means = {name: None if value < 0 else value for name, value in known.items()}
    class_ap = zip(result.category_ids, per_class_ap(result.precision).tolist(), strict=True)
    return Scores(
        **means,
        interval=_interval(result, range(len(result.category_ids)), means["AP"]),
        bins=tuple(_bin(result, *one) for one in by.columns(result.category_ids)),
        per_class={one: ap for one, ap in class_ap if not np.isnan(ap)},
    )


def iou_metrics(
    result: ApResult, groups: Sequence[Sequence[int]], by: TrainBins = NO_BINS
) -> IouMetrics:
    """The numbers of a phase's model, whose classes are the `groups` of the phases so far.

    Raises a `ValueError` if the result is not over exactly these classes, in any order.
    """
    column_of = {category_id: column for column, category_id in enumerate(result.category_ids)}
    if sorted(column_of) != sorted(category_id for group in groups for category_id in group):
        raise ValueError("the AP arrays are not over the classes of the groups")
    # In the order of the array, on which the last bits of means depend.
    columns = [sorted(column_of[category_id] for category_id in group) for group in groups]
    by_phase = [_numbers(result, one) for one in columns]
    return IouMetrics(
        **dict(scores(result, by)),
        old=mean_ap(result.precision, sorted(column for one in columns[:-1] for column in one)),
        new=by_phase[-1]["AP"],
        all=mean_ap(result.precision, range(len(column_of))),
        groups=tuple(GroupMetrics(phase=phase, **one) for phase, one in enumerate(by_phase)),
    )


def _bin(result: ApResult, each: Bin, columns: Sequence[int]) -> BinMetrics:
    numbers = _numbers(result, columns)
    return BinMetrics(
        bin=each.name,
        low=each.low,
        high=each.high,
        **numbers,
        AP50=mean_ap(result.precision, columns, "AP50"),
        AP75=mean_ap(result.precision, columns, "AP75"),
        interval=_interval(result, columns, numbers["AP"]),
    )


def _numbers(result: ApResult, columns: Sequence[int]) -> dict[str, Any]:
    known = (result.precision[:, :, list(columns), 0] > -1).any(axis=(0, 1))
    return {
        "classes": len(columns),
        "with_ground_truth": int(known.sum()),
        "AP": mean_ap(result.precision, columns),
    }


def _interval(
    result: ApResult, columns: Iterable[int], ap: float | None
) -> tuple[float, float] | None:
    values = mean_over(result.resampled, columns)
    return interval(values, ap) if tells(values) else None
