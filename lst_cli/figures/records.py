"""Records that the paper's figures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lst_cli.ap.instant import WAYS, Way
from lst_cli.display.records import PanelObject

AblationName = Literal["distill", "replay", "mwg"]

FOUND_IOU = 0.5
"""Mask IoU from which on a detection answers for an object."""


@dataclass(frozen=True)
class AblationPoint:
    """One evaluated phase of a run.

    Attributes:
        phase: From 1 on.
        old: Mask AP of the classes of earlier phases, a fraction; None without ground truth.
        new: Of the classes of this phase.
        all: Of both.
        with_ground_truth: How many classes each of these is over, by name.
        few: Of the new classes with fewer than `FEW` training instances.
        few_classes: How many of these have ground truth.
        instant: Of the new classes before the first iteration, by how their rows came about.
    """

    phase: int
    old: float | None
    new: float | None
    all: float | None
    with_ground_truth: Mapping[str, int]
    few: float | None = None
    few_classes: int = 0
    instant: Mapping[Way, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationRun:
    """One run.

    Attributes:
        name: What sets it apart, as its settings say.
        source: Where it lies.
        points: Its evaluated phases in order, at least one.
    """

    name: str
    source: str
    points: Sequence[AblationPoint]


@dataclass(frozen=True)
class Ablation:
    """Runs that differ in a setting.

    Attributes:
        figure: Which figure it is.
        setting: The setting's key.
        runs: Two or more, in the order of their lines.
        notes: What a reader should know of them, one sentence each.
    """

    figure: AblationName
    setting: str
    runs: Sequence[AblationRun]
    notes: Sequence[str] = ()

    @property
    def phases(self) -> list[int]:
        """Phases that any run was evaluated in."""
        return sorted({point.phase for run in self.runs for point in run.points})

    @property
    def ways(self) -> list[Way]:
        """How new rows that were evaluated at iteration 0 came about, where that is shown."""
        if self.figure != "mwg":
            return []
        found = {way for run in self.runs for point in run.points for way in point.instant}
        return [way for way in WAYS if way in found]


@dataclass(frozen=True)
class TailClass:
    """A class of the tail.

    Attributes:
        category_id: Its id.
        name: Its name.
        instances: Its training instances.
        ap: Its mask AP in each run, fractions.
    """

    category_id: int
    name: str
    instances: int
    ap: Sequence[float]


@dataclass(frozen=True)
class Match:
    """A detection held against an annotated object.

    Attributes:
        found: The detection, with its score.
        iou: Of the two masks.
    """

    found: PanelObject
    iou: float

    @property
    def score(self) -> float:
        """Confidence of the detection."""
        return self.found.score or 0.0

    @property
    def there(self) -> bool:
        """Whether it overlaps the object enough to answer for it."""
        return self.iou >= FOUND_IOU


@dataclass(frozen=True)
class Answer:
    """What one run makes of an object.

    Attributes:
        best: Its surest detection of any class with `FOUND_IOU` or more; None if there is none.
        own: Its surest one of the object's class likewise, or else the one that overlaps most;
            None if none does.
        right: Whether the surest detection is of the object's class.
    """

    best: Match | None
    own: Match | None
    right: bool


@dataclass(frozen=True)
class TailExample:
    """An annotated object and what the runs make of it.

    Attributes:
        of: Its class.
        image: The image's file.
        image_id: Its id.
        size: (width, height) of the image.
        truth: The object.
        answers: Of each run.
    """

    of: TailClass
    image: Path
    image_id: int
    size: tuple[int, int]
    truth: PanelObject
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Tail:
    """What the figure shows.

    Attributes:
        runs: Names of the runs, at least one.
        classes: Classes with ground truth that all runs have seen, the rarest first.
        examples: Objects of the rarest of them.
        notes: What a reader should know, one sentence each.
    """

    runs: Sequence[str]
    classes: Sequence[TailClass]
    examples: Sequence[TailExample]
    notes: Sequence[str] = ()

    def mean_ap(self, run: int) -> float:
        """Mean mask AP of the classes in a run."""
        return sum(one.ap[run] for one in self.classes) / len(self.classes)
