"""From precision arrays to the numbers of one evaluation.

AP of any set of classes is lvis-api's mean: over every entry of the precision array of these
classes that is not -1. Classes without ground truth leave the mean; classes with ground truth
and no detection are in it with 0.

Letters: T IoU thresholds, R recall thresholds, K classes, A area ranges, the first of them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
_MEANS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR")


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


def mean_ap(
    precision: NDArray[np.float64], columns: Iterable[int], threshold: Threshold = "AP"
) -> float | None:
    """AP of a set of classes, as lvis-api would; None if none of them has ground truth."""
    entries = precision[_ROWS[threshold], :, :, 0]  # (T, R, K)
    entries = entries[:, :, np.fromiter(columns, dtype=np.intp)]
    entries = entries[entries > -1]
    return float(entries.mean()) if entries.size else None


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
    found = {name: result.summary[name] for name in _MEANS}
    means = {name: None if value < 0 else value for name, value in found.items()}
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
    """The numbers of a phase's model.

    Args:
        result: Of the seen classes, in any order.
        groups: The category_ids of each phase seen so far, base first; the last is new.
        by: Training instances and their bins.

    Raises:
        ValueError: If `result` is not over exactly the classes of `groups`.
    """
    old = {category_id for group in groups[:-1] for category_id in group}
    if sorted(result.category_ids) != sorted([*old, *groups[-1]]):
        raise ValueError("the AP arrays are not over the classes of the groups")
    by_phase = [_numbers(result, _columns(result, frozenset(group))) for group in groups]
    return IouMetrics(
        **dict(scores(result, by)),
        old=mean_ap(result.precision, _columns(result, old)),
        new=by_phase[-1]["AP"],
        all=mean_ap(result.precision, range(len(result.category_ids))),
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


def _columns(result: ApResult, category_ids: Collection[int]) -> list[int]:
    """The positions of classes on axis K, in the array's own order."""
    return [column for column, one in enumerate(result.category_ids) if one in category_ids]


def _interval(
    result: ApResult, columns: Iterable[int], ap: float | None
) -> tuple[float, float] | None:
    values = mean_over(result.resampled, columns)
    found = interval(values, ap) if tells(values) else None
    return None if found is None else (max(found[0], 0.0), min(found[1], 1.0))
