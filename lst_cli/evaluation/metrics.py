"""From precision arrays to the numbers of one evaluation (`metrics.json`).

AP of any set of classes is lvis-api's mean: over every entry of the precision array of these
classes that is not -1. Classes without ground truth leave the mean; classes with ground truth
and no detection are in it with 0.

Letters: T IoU thresholds, R recall thresholds, K classes, A area ranges, the first of them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lst_cli.phases.bins import DEFAULT_BINS, Bin

if TYPE_CHECKING:
    from lst_cli.evaluation.lvis_ap import ApResult

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Threshold = Literal["AP", "AP50", "AP75"]

_ROWS: dict[Threshold, slice] = {  # of axis T: 0.50, 0.55, ... 0.95
    "AP": slice(None),
    "AP50": slice(0, 1),
    "AP75": slice(5, 6),
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BinMetrics(_Record):
    """AP of the seen classes in one bin of training instances, [low, high).

    Attributes:
        bin: The bin's name.
        low: Fewest training instances inside.
        high: Fewest outside again; None for no bound.
        classes: Seen classes in the bin.
        with_ground_truth: Those of them that AP rests on.
        AP: Mean over IoU 0.50 to 0.95; None if no class has ground truth.
        AP50: At IoU 0.50.
        AP75: At IoU 0.75.
    """

    bin: str
    low: Count
    high: Count | None
    classes: Count
    with_ground_truth: Count
    AP: Fraction | None
    AP50: Fraction | None
    AP75: Fraction | None


class GroupMetrics(_Record):
    """AP of the classes that one phase brought.

    Attributes:
        phase: The phase that learned them first.
        classes: How many they are.
        with_ground_truth: Those of them that AP rests on.
        AP: Their AP now; None if none has ground truth.
    """

    phase: Count
    classes: Count
    with_ground_truth: Count
    AP: Fraction | None


class IouMetrics(_Record):
    """Every number for masks, or for boxes. None stands for no ground truth.

    Attributes:
        AP: Over all seen classes, IoU 0.50 to 0.95.
        AP50: At IoU 0.50.
        AP75: At IoU 0.75.
        APs: Objects below 32 x 32 pixels.
        APm: Objects between.
        APl: Objects above 96 x 96 pixels.
        APr: Rare classes, by training images.
        APc: Common classes.
        APf: Frequent classes.
        AR: Recall, mean over classes and IoU thresholds.
        old: AP of the classes of earlier phases; None in phase 0.
        new: AP of the classes of this phase.
        all: AP of both.
        bins: AP by training instances.
        groups: AP by the phase that brought the classes, from phase 0 to this one.
        per_class: AP by category_id, of the classes with ground truth.
    """

    AP: Fraction | None
    AP50: Fraction | None
    AP75: Fraction | None
    APs: Fraction | None
    APm: Fraction | None
    APl: Fraction | None
    APr: Fraction | None
    APc: Fraction | None
    APf: Fraction | None
    AR: Fraction | None
    old: Fraction | None
    new: Fraction | None
    all: Fraction | None
    bins: tuple[BinMetrics, ...]
    groups: tuple[GroupMetrics, ...]
    per_class: dict[int, Fraction]


class Metrics(_Record):
    """One evaluation: the content of `metrics.json` and what `lst eval --json` prints.

    Attributes:
        format: Version of this schema.
        phase: The phase whose model was evaluated.
        images: Validation images.
        detections: Detections on them.
        seconds: Wall-clock time of the evaluation.
        federated: Whether images are labelled for some classes only.
        segm: Numbers for masks.
        bbox: Numbers for boxes.
    """

    format: Literal[1] = 1
    phase: Count
    images: Count
    detections: Count
    seconds: float = Field(ge=0)
    federated: bool
    segm: IouMetrics
    bbox: IouMetrics


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
    result: ApResult, train_instances: Mapping[int, int], bins: Sequence[Bin] = DEFAULT_BINS
) -> tuple[BinMetrics, ...]:
    """Give AP by the number of training instances.

    Args:
        result: Arrays over the seen classes.
        train_instances: Training instances of each of them.
        bins: Half-open ranges, which may overlap.

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


def iou_metrics(
    result: ApResult,
    groups: Sequence[Sequence[int]],
    train_instances: Mapping[int, int],
    bins: Sequence[Bin] = DEFAULT_BINS,
) -> IouMetrics:
    """Give every number for masks, or for boxes.

    Args:
        result: Arrays over the seen classes, in any order.
        groups: The category_ids of each phase seen so far, base first.
        train_instances: Training instances of each seen class.
        bins: Half-open ranges of training instances.

    Raises:
        ValueError: If `result` is not over exactly the classes of `groups`.
    """
    seen = sorted(category_id for group in groups for category_id in group)
    if sorted(result.category_ids) != seen:
        raise ValueError("the AP arrays are not over the classes of the groups")
    old, new, both = old_new_all(result, groups)
    return IouMetrics(
        AP=_stated(result, "AP"),
        AP50=_stated(result, "AP50"),
        AP75=_stated(result, "AP75"),
        APs=_stated(result, "APs"),
        APm=_stated(result, "APm"),
        APl=_stated(result, "APl"),
        APr=_stated(result, "APr"),
        APc=_stated(result, "APc"),
        APf=_stated(result, "APf"),
        AR=_stated(result, "AR"),
        old=old,
        new=new,
        all=both,
        bins=bin_metrics(result, train_instances, bins),
        groups=group_metrics(result, groups),
        per_class={
            category_id: float(ap)
            for category_id, ap in zip(
                result.category_ids, per_class_ap(result.precision), strict=True
            )
            if not np.isnan(ap)
        },
    )


def build_metrics(
    *,
    phase: int,
    segm: ApResult,
    bbox: ApResult,
    groups: Sequence[Sequence[int]],
    train_instances: Mapping[int, int],
    bins: Sequence[Bin] = DEFAULT_BINS,
    images: int,
    detections: int,
    seconds: float,
    federated: bool,
) -> Metrics:
    """Give the record of one evaluation.

    Args:
        phase: The phase whose model was evaluated.
        segm: Arrays for masks, over the classes seen in this phase.
        bbox: Arrays for boxes, over the same classes.
        groups: The category_ids of each phase of the split, base first; those of later
            phases are not looked at.
        train_instances: Training instances of each seen class.
        bins: Half-open ranges of training instances.
        images: Validation images.
        detections: Detections on them.
        seconds: Wall-clock time of the evaluation.
        federated: Whether images are labelled for some classes only.

    Raises:
        ValueError: If an array is not over exactly the classes seen in this phase, or the
            split has no such phase.
    """
    if not 0 <= phase < len(groups):
        raise ValueError(f"the split has no phase {phase}")
    seen = groups[: phase + 1]
    return Metrics(
        phase=phase,
        images=images,
        detections=detections,
        seconds=seconds,
        federated=federated,
        segm=iou_metrics(segm, seen, train_instances, bins),
        bbox=iou_metrics(bbox, seen, train_instances, bins),
    )


def forgetting(
    history: Sequence[Metrics], iou_type: Literal["segm", "bbox"] = "segm"
) -> dict[int, float]:
    """Tell how much AP each phase's classes have lost since they were learned.

    Args:
        history: Evaluations of several phases of one split, in any order.
        iou_type: Masks or boxes.

    Returns:
        By phase: AP of its classes right after that phase, minus their AP in the last phase
        of the history. Below 0 if they gained. Phases that were not evaluated, whose classes
        have no ground truth, or that have only just been learned, are left out.
    """
    if not history:
        return {}
    by_phase = {metrics.phase: getattr(metrics, iou_type) for metrics in history}
    newest = max(by_phase)
    lost = {}
    for phase in sorted(by_phase):
        learned, now = by_phase[phase].groups[phase].AP, by_phase[newest].groups[phase].AP
        if phase < newest and learned is not None and now is not None:
            lost[phase] = learned - now
    return lost


def _rows(result: ApResult, category_ids: Sequence[int]) -> list[int]:
    """Give the positions of classes on axis K, in the array's own order."""
    wanted = frozenset(category_ids)
    return [row for row, category_id in enumerate(result.category_ids) if category_id in wanted]


def _stated(result: ApResult, name: str) -> float | None:
    """Give one of lvis-api's means, None where it says -1."""
    value = result.summary[name]
    return None if value < 0 else value
