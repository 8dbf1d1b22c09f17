"""Several sets of detections on the same images: their differences, with paired intervals.

All are scored over the same classes. The same images are resampled for every set, so that what
makes an image easy or hard for all of them cancels in the difference: its interval is much
narrower than two intervals side by side suggest.

Letters: B resamples, K classes, R sets of detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lst_cli.ap.bootstrap import interval, mean_over, tells
from lst_cli.ap.lvis_ap import Threshold, TrainBins
from lst_cli.ap.matching import IOU_THRESHOLDS, MISSED, Matches
from lst_cli.ap.metrics import Count, Fraction, Interval, IouType, Record

Change = Annotated[float, Field(ge=-1, le=1)]
What = Literal["all", "bin", "frequency", "phase"]  # by what classes are chosen


class Estimate(Record):
    """AP of one set of detections over some classes, with its 95 % interval."""

    AP: Fraction | None  # None if no class has ground truth
    interval: Interval | None


class Difference(Record):
    """AP of one set of detections minus that of the first, with its 95 % interval."""

    AP: Change | None  # None if no class has ground truth
    interval: tuple[Change, Change] | None
    clear: bool  # whether the interval excludes 0


class ComparedRow(Record):
    """One set of classes."""

    name: str  # in tables; of a bin, the bin's name
    what: What
    threshold: Threshold
    classes: Count
    with_ground_truth: Count
    estimates: tuple[Estimate, ...]  # one for each set of detections
    differences: tuple[Difference, ...]  # one for each set of detections after the first


class Setting(Record):
    """A setting that differs from the first run's; the key may be a plain word for no setting."""

    key: str
    first: str
    this: str

    def __str__(self) -> str:
        """Show it in a few words, as tables and sentences do."""
        return f"{self.key} {self.first} -> {self.this}"


class ComparedRun(Record):
    """Where a set of detections came from: a workspace, or a results file, where None stands."""

    name: str  # in tables; no two are the same
    source: str  # the workspace or the results file
    phase: Count | None
    classes: Count | None  # that had been seen
    detections: Count
    image_passes: Count | None  # of all phases up to this one
    differs: tuple[Setting, ...] = ()  # from the first run, where both are known


class Comparison(Record):
    """Everything about a comparison: what `lst compare --json` prints."""

    format: Literal[1] = 1
    iou_type: IouType
    annotations: str
    images: Count
    classes: Count  # that all runs have seen
    resamples: Count
    runs: tuple[ComparedRun, ...]
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ClassAp:
    """AP of every class for one set of detections; nan for no ground truth."""

    ap: Mapping[Threshold, NDArray[np.float64]]  # (K,)
    resampled: Mapping[Threshold, NDArray[np.float64]]  # (B, K)


@dataclass(frozen=True)
class ClassSet:
    """Columns of the classes whose mean is compared; see `ComparedRow`."""

    name: str
    what: What
    columns: Sequence[int]
    threshold: Threshold = "AP"


AP50_FACTOR = len(IOU_THRESHOLDS)  # what `at_lowest_iou` divides AP50 by


def at_lowest_iou(matches: Matches) -> Matches:
    """Keep only the hits at IoU 0.50, so that any AP becomes a tenth of AP50.

    The bootstrap averages over ten thresholds; nine of them then give 0, at no cost.
    """
    outcome = matches.outcome.copy()
    outcome[:, 1:] = MISSED
    return replace(matches, outcome=outcome)


def choose_class_sets(
    category_ids: Sequence[int],
    frequencies: Sequence[str],
    by: TrainBins,
    groups: Mapping[str, frozenset[int]],
) -> list[ClassSet]:
    """Choose the rows of a comparison of K classes.

    These are: all classes, their AP50, the bins, LVIS's frequencies ("r", "c", "f" or "" of each
    class) if any class has one, and further `groups` by name.
    """
    every = range(len(category_ids))
    sets = [ClassSet("AP", "all", every), ClassSet("AP50", "all", every, "AP50")]
    sets += [ClassSet(one.name, "bin", some) for one, some in by.columns(category_ids)]
    if any(frequencies):
        for letter in "rcf":
            some = [column for column in every if frequencies[column] == letter]
            sets.append(ClassSet(f"AP{letter}", "frequency", some))
    for name, members in groups.items():
        some = [column for column in every if category_ids[column] in members]
        sets.append(ClassSet(name, "phase", some))
    return sets


def compare_class_ap(found: Sequence[ClassAp], classes: ClassSet) -> ComparedRow:
    """Compare R sets of detections, scored on the same resamples, over some classes."""
    columns, threshold = list(classes.columns), classes.threshold
    known = ~np.isnan(found[0].ap[threshold][columns])
    chosen = [each.ap[threshold][columns][known] for each in found]
    means = [float(ap.mean()) if len(ap) else None for ap in chosen]
    resampled = [mean_over(each.resampled[threshold], columns) for each in found]
    both = list(zip(means, resampled, strict=True))
    return ComparedRow(
        name=classes.name,
        what=classes.what,
        threshold=threshold,
        classes=len(columns),
        with_ground_truth=int(known.sum()),
        estimates=tuple(
            Estimate(AP=mean, interval=interval(values, mean) if tells(values) else None)
            for mean, values in both
        ),
        differences=tuple(_difference(both[0], this) for this in both[1:]),
    )


_Mean = tuple[float | None, NDArray[np.float64]]  # and of each resample


def _difference(first: _Mean, this: _Mean) -> Difference:
    change = None if first[0] is None or this[0] is None else this[0] - first[0]
    bounds = None
    if tells(first[1]) or tells(this[1]):
        bounds = interval(this[1] - first[1], change, lowest=-1.0)
    clear = bounds is not None and (bounds[0] > 0 or bounds[1] < 0)
    return Difference(AP=change, interval=bounds, clear=clear)
