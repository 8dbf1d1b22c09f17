"""From precision arrays to the numbers of one evaluation.

AP of any set of classes is lvis-api's mean: over every entry of the precision array of these
classes that is not -1. Classes without ground truth leave the mean; classes with ground truth
and no detection are in it with 0.

Letters: T IoU thresholds, R recall thresholds, K classes, A area ranges, the first of them all,
B resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.bootstrap import interval, mean_over, tells
from lst_cli.ap.lvis_ap import ApResult
from lst_cli.ap.metrics import BinMetrics, GroupMetrics, IouMetrics, Scores
from lst_cli.phases.bins import DEFAULT_BINS, Bin

Threshold = Literal["AP", "AP50", "AP75"]

_ROWS: dict[Threshold, slice] = {  # of axis T: 0.50, 0.55, ... 0.95
    "AP": slice(None),
    "AP50": slice(0, 1),
    "AP75": slice(5, 6),
}


def per_class_ap(
    precision: NDArray[np.float64], threshold: Threshold = "AP"
) -> NDArray[np.float64]:
    """Give the AP of each class.

    Args:
        precision: Shape (T, R, K, A), -1 where a class has no ground truth.
        threshold: Which IoU thresholds take part.

    Returns:
        AP, shape (K,); nan for a class without ground truth.
    """
    entries = precision[_ROWS[threshold], :, :, 0]  # (T, R, K)
    entries = np.where(entries > -1, entries, np.nan)
    known = ~np.isnan(entries).all(axis=(0, 1))  # (K,)
    ap = np.full(entries.shape[2], np.nan)
    ap[known] = np.nanmean(entries[:, :, known], axis=(0, 1))
    return ap


def mean_ap(
    precision: NDArray[np.float64],
    rows: Iterable[int] | None = None,
    threshold: Threshold = "AP",
) -> float | None:
    """Give the AP of a set of classes, as lvis-api would.

    Args:
        precision: Shape (T, R, K, A), -1 where a class has no ground truth.
        rows: Positions on axis K; None for all.
        threshold: Which IoU thresholds take part.

    Returns:
        The mean, or None if no class of the set has ground truth.
    """
    entries = precision[_ROWS[threshold], :, :, 0]  # (T, R, K)
    if rows is not None:
        entries = entries[:, :, np.fromiter(rows, dtype=np.intp)]
    entries = entries[entries > -1]
    return float(entries.mean()) if entries.size else None


def count_with_ground_truth(precision: NDArray[np.float64], rows: Sequence[int]) -> int:
    """Count the classes of a set that AP rests on."""
    return int((precision[:, :, list(rows), 0] > -1).any(axis=(0, 1)).sum())


def bin_metrics(
    result: ApResult,
    train_instances: Mapping[int, int],
    bins: Sequence[Bin] = DEFAULT_BINS,
    resampled: NDArray[np.float64] | None = None,
) -> tuple[BinMetrics, ...]:
    """Give AP by the number of training instances.

    Args:
        result: Arrays over the seen classes.
        train_instances: Training instances of each of them.
        bins: Half-open ranges, which may overlap.
        resampled: AP of each class in each resample, shape (B, K), for the intervals.

    Returns:
        One record a bin, also for bins without classes.
    """
    records = []
    for each in bins:
        rows = [
            row
            for row, category_id in enumerate(result.category_ids)
            if each.contains(train_instances[category_id])
        ]
        records.append(
            BinMetrics(
                bin=each.name,
                low=each.low,
                high=each.high,
                classes=len(rows),
                with_ground_truth=count_with_ground_truth(result.precision, rows),
                AP=mean_ap(result.precision, rows),
                AP50=mean_ap(result.precision, rows, "AP50"),
                AP75=mean_ap(result.precision, rows, "AP75"),
                interval=_interval(resampled, rows, mean_ap(result.precision, rows)),
            )
        )
    return tuple(records)


def group_metrics(result: ApResult, groups: Sequence[Sequence[int]]) -> tuple[GroupMetrics, ...]:
    """Give AP by the phase that brought the classes.

    Args:
        result: Arrays over the seen classes.
        groups: The category_ids of each phase seen so far, base first.

    Returns:
        One record a phase.
    """
    records = []
    for phase, group in enumerate(groups):
        rows = _rows(result, group)
        records.append(
            GroupMetrics(
                phase=phase,
                classes=len(rows),
                with_ground_truth=count_with_ground_truth(result.precision, rows),
                AP=mean_ap(result.precision, rows),
            )
        )
    return tuple(records)


def old_new_all(
    result: ApResult, groups: Sequence[Sequence[int]]
) -> tuple[float | None, float | None, float | None]:
    """Give AP of the old classes, of the new ones, and of both.

    Args:
        result: Arrays over the seen classes.
        groups: The category_ids of each phase seen so far, base first; the last is new.

    Returns:
        Old (None in phase 0, which has none), new, all.
    """
    old = [category_id for group in groups[:-1] for category_id in group]
    return (
        mean_ap(result.precision, _rows(result, old)),
        mean_ap(result.precision, _rows(result, groups[-1])),
        mean_ap(result.precision, _rows(result, [*old, *groups[-1]])),
    )


def scores(
    result: ApResult,
    train_instances: Mapping[int, int] | None = None,
    bins: Sequence[Bin] = DEFAULT_BINS,
    resampled: NDArray[np.float64] | None = None,
) -> Scores:
    """Give the numbers of any detections.

    Args:
        result: Arrays over the classes.
        train_instances: Training instances of each class; None if they are not known, and there
            are no bins.
        bins: Half-open ranges of training instances.
        resampled: AP of each class in each resample, shape (B, K), for the intervals.
    """
    return Scores(**_common(result, train_instances, bins, resampled))


def iou_metrics(
    result: ApResult,
    groups: Sequence[Sequence[int]],
    train_instances: Mapping[int, int],
    bins: Sequence[Bin] = DEFAULT_BINS,
    resampled: NDArray[np.float64] | None = None,
) -> IouMetrics:
    """Give the numbers of a phase's model.

    Args:
        result: Arrays over the seen classes, in any order.
        groups: The category_ids of each phase seen so far, base first.
        train_instances: Training instances of each seen class.
        bins: Half-open ranges of training instances.
        resampled: AP of each class in each resample, shape (B, K), for the intervals.

    Raises:
        ValueError: If `result` is not over exactly the classes of `groups`.
    """
    seen = sorted(category_id for group in groups for category_id in group)
    if sorted(result.category_ids) != seen:
        raise ValueError("the AP arrays are not over the classes of the groups")
    old, new, both = old_new_all(result, groups)
    return IouMetrics(
        **_common(result, train_instances, bins, resampled),
        old=old,
        new=new,
        all=both,
        groups=group_metrics(result, groups),
    )


def _common(
    result: ApResult,
    train_instances: Mapping[int, int] | None,
    bins: Sequence[Bin],
    resampled: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """The fields of `Scores`."""
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR")
    return {
        **{name: _stated(result, name) for name in names},
        "interval": _interval(resampled, range(len(result.category_ids)), _stated(result, "AP")),
        "bins": (
            () if train_instances is None else bin_metrics(result, train_instances, bins, resampled)
        ),
        "per_class": {
            category_id: float(ap)
            for category_id, ap in zip(
                result.category_ids, per_class_ap(result.precision), strict=True
            )
            if not np.isnan(ap)
        },
    }


def _interval(
    resampled: NDArray[np.float64] | None, rows: Iterable[int], ap: float | None
) -> tuple[float, float] | None:
    if resampled is None or not tells(values := mean_over(resampled, rows)):
        return None
    found = interval(values, ap)
    return None if found is None else (max(found[0], 0.0), min(found[1], 1.0))


def _rows(result: ApResult, category_ids: Sequence[int]) -> list[int]:
    """Give the positions of classes on axis K, in the array's own order."""
    wanted = frozenset(category_ids)
    return [row for row, category_id in enumerate(result.category_ids) if category_id in wanted]


def _stated(result: ApResult, name: str) -> float | None:
    """Give one of lvis-api's means, None where it says -1."""
    value = result.summary[name]
    return None if value < 0 else value
