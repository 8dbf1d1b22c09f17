"""Several sets of detections on the same images: what differs, and how surely.

All are scored on the same validation images and over the same classes. Images are drawn anew,
the same ones for every set, so that what makes an image easy or hard for all of them cancels in
the difference: its interval is much narrower than two intervals side by side let one think.

Letters: B resamples, K classes, R sets of detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lst_cli.ap.bootstrap import interval, mean_over, tells
from lst_cli.ap.detections import IouType
from lst_cli.ap.matching import IOU_THRESHOLDS, MISSED, Matches
from lst_cli.ap.metrics import Count, Fraction, Interval
from lst_cli.phases.bins import Bin

Change = Annotated[float, Field(ge=-1, le=1)]
Threshold = Literal["AP", "AP50"]
THRESHOLDS: tuple[Threshold, ...] = get_args(Threshold)
What = Literal["all", "bin", "frequency", "phase"]

_FREQUENCIES = {"r": "APr", "c": "APc", "f": "APf"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Record):
    """AP of one set of detections over some classes.

    Attributes:
        AP: The mean; None if no class has ground truth.
        interval: Its 95 % interval over resampled images.
    """

    AP: Fraction | None
    interval: Interval | None


class Difference(_Record):
    """AP of one set of detections minus that of the first, over some classes.

    Attributes:
        AP: The difference; None if no class has ground truth.
        interval: Its 95 % interval over the same resampled images.
        clear: Whether the interval leaves 0 out.
    """

    AP: Change | None
    interval: tuple[Change, Change] | None
    clear: bool


class ComparedRow(_Record):
    """One set of classes.

    Attributes:
        name: What tables call it; of a bin, the bin's name.
        what: By what the classes are chosen.
        threshold: AP over IoU 0.50 to 0.95, or at 0.50.
        classes: How many they are.
        with_ground_truth: Those of them that AP rests on.
        estimates: One for each set of detections.
        differences: One for each set of detections after the first.
    """

    name: str
    what: What
    threshold: Threshold
    classes: Count
    with_ground_truth: Count
    estimates: tuple[Estimate, ...]
    differences: tuple[Difference, ...]


class Setting(_Record):
    """A setting that differs from the first run's.

    Attributes:
        key: Dotted, as `--set` takes it; or a plain word for what is no setting.
        first: What it is in the first run.
        this: What it is in this run.
    """

    key: str
    first: str
    this: str

    def __str__(self) -> str:
        """Tell it in a few words, as tables and sentences do."""
        return f"{self.key} {self.first} -> {self.this}"


class ComparedRun(_Record):
    """Where a set of detections came from.

    Attributes:
        name: What tables call it; no two are the same.
        source: The workspace or the results file.
        phase: The phase whose model found them; None for a results file.
        classes: Classes that had been seen; None for a results file, which does not say.
        detections: Detections given.
        image_passes: Images that training showed, over all phases up to this one; None if not
            known.
        differs: In what the run differs from the first, where both are known.
    """

    name: str
    source: str
    phase: Count | None
    classes: Count | None
    detections: Count
    image_passes: Count | None
    differs: tuple[Setting, ...] = ()


class Comparison(_Record):
    """Everything about a comparison: what `lst compare --json` prints.

    Attributes:
        format: Version of this schema.
        iou_type: `segm` for masks, `bbox` for boxes.
        annotations: The validation file.
        images: Its images.
        classes: Classes that all runs have seen.
        resamples: How often images were resampled for the intervals.
        runs: What is compared; differences are against the first.
        rows: The numbers.
        notes: What a reader should know.
    """

    format: Literal[1] = 1
    iou_type: IouType
    annotations: str
    images: Count
    classes: Count
    resamples: Count
    runs: tuple[ComparedRun, ...]
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ClassAp:
    """AP of every class for one set of detections.

    Attributes:
        ap: By threshold, shape (K,); nan for no ground truth.
        resampled: By threshold, on resampled images, shape (B, K).
    """

    ap: Mapping[Threshold, NDArray[np.float64]]
    resampled: Mapping[Threshold, NDArray[np.float64]]


@dataclass(frozen=True)
class ClassSet:
    """Classes whose mean is compared.

    Attributes:
        name: See `ComparedRow`.
        what: See `ComparedRow`.
        columns: The classes.
        threshold: See `ComparedRow`.
    """

    name: str
    what: What
    columns: tuple[int, ...]
    threshold: Threshold = "AP"


def at_lowest_iou(matches: Matches) -> Matches:
    """Leave of all hits those at IoU 0.50, so that any AP becomes a tenth of AP50.

    The bootstrap averages over ten thresholds; nine of them then give 0, at no cost.
    """
    outcome = matches.outcome.copy()
    outcome[:, 1:] = MISSED
    return replace(matches, outcome=outcome)


AP50_FACTOR = len(IOU_THRESHOLDS)
"""What `at_lowest_iou` divides AP50 by."""


def choose_class_sets(
    category_ids: Sequence[int],
    frequencies: Sequence[str],
    train_instances: Mapping[int, int] | None,
    bins: Sequence[Bin],
    groups: Mapping[str, frozenset[int]] | None = None,
) -> list[ClassSet]:
    """The rows of a comparison.

    Args:
        category_ids: The K classes.
        frequencies: "r", "c", "f", or "" of each.
        train_instances: Training instances by category_id; None if they are not known, and there
            are no bins.
        bins: Half-open ranges of them.
        groups: Further sets of classes by name, as old and new.

    Returns:
        All classes, their AP50, the bins, LVIS's frequencies if any class has one, the groups.
    """
    everything = tuple(range(len(category_ids)))
    sets = [ClassSet("AP", "all", everything), ClassSet("AP50", "all", everything, "AP50")]
    for each in bins if train_instances is not None else ():
        inside = [
            column
            for column, one in enumerate(category_ids)
            if each.contains((train_instances or {}).get(one, 0))
        ]
        sets.append(ClassSet(each.name, "bin", tuple(inside)))
    for letter, name in _FREQUENCIES.items() if any(frequencies) else ():
        inside = [column for column, one in enumerate(frequencies) if one == letter]
        sets.append(ClassSet(name, "frequency", tuple(inside)))
    for name, members in (groups or {}).items():
        inside = [column for column, one in enumerate(category_ids) if one in members]
        sets.append(ClassSet(name, "phase", tuple(inside)))
    return sets


def compare_class_ap(found: Sequence[ClassAp], sets: Sequence[ClassSet]) -> tuple[ComparedRow, ...]:
    """Compare sets of detections over sets of classes.

    Args:
        found: AP of each class for R sets of detections, on the same resamples.
        sets: Which classes, see `choose_class_sets`.
    """
    rows = []
    for one in sets:
        columns, threshold = list(one.columns), one.threshold
        means = [_mean(each.ap[threshold][columns]) for each in found]
        resampled = [mean_over(each.resampled[threshold], columns) for each in found]
        rows.append(
            ComparedRow(
                name=one.name,
                what=one.what,
                threshold=threshold,
                classes=len(columns),
                with_ground_truth=int((~np.isnan(found[0].ap[threshold][columns])).sum()),
                estimates=tuple(
                    _estimate(mean, values) for mean, values in zip(means, resampled, strict=True)
                ),
                differences=tuple(
                    _difference(means[0], mean, resampled[0], values)
                    for mean, values in zip(means[1:], resampled[1:], strict=True)
                ),
            )
        )
    return tuple(rows)


def _estimate(ap: float | None, resampled: NDArray[np.float64]) -> Estimate:
    bounds = interval(resampled, ap) if tells(resampled) else None
    return Estimate(AP=ap, interval=_within(bounds, 0.0, 1.0))


def _difference(
    first: float | None,
    this: float | None,
    of_first: NDArray[np.float64],
    of_this: NDArray[np.float64],
) -> Difference:
    difference = None if first is None or this is None else this - first
    known = tells(of_first) or tells(of_this)
    bounds = interval(of_this - of_first, difference) if known else None
    bounds = _within(bounds, -1.0, 1.0)
    return Difference(
        AP=difference,
        interval=bounds,
        clear=bounds is not None and (bounds[0] > 0 or bounds[1] < 0),
    )


def _within(
    bounds: tuple[float, float] | None, lowest: float, highest: float
) -> tuple[float, float] | None:
    """Bounds where a value can be: an interval around one near the end may reach beyond."""
    return None if bounds is None else (max(bounds[0], lowest), min(bounds[1], highest))


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
