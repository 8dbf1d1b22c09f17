"""Everything a report shows, gathered before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lst_cli.errors import LstError
from lst_cli.evaluation.instant import InstantMetrics, Way
from lst_cli.evaluation.metrics import Metrics
from lst_cli.reporting.attention import Attention

REPORT_JSON = "report.json"
"""Name of the report for programs."""


@dataclass(frozen=True)
class ReportClass:
    """One class of the class order.

    Attributes:
        category_id: The id in the annotation file.
        name: The name in the annotation file, unescaped.
        instances: Its training instances.
        images: Its training images.
        phase: The phase that learns it.
    """

    category_id: int
    name: str
    instances: int
    images: int
    phase: int


@dataclass(frozen=True)
class ReportPhase:
    """What one finished phase was trained on, and how long it took.

    Attributes:
        phase: 0 is base.
        classes: How many classes arrived in it.
        entries: All entries of its training set, replay included.
        replay_entries: How many of them replay an old class.
        iterations: Optimizer updates.
        seconds: Training time, or None where it was not kept.
        note: Anything a reader of its numbers should know, in a few words.
        new_rows: How the first classifier rows of its classes came about; None in the base
            phase, and where it was not kept.
        image_passes: Images that training showed, one seen twice counted twice; None where it
            was not kept.
    """

    phase: int
    classes: int
    entries: int
    replay_entries: int
    iterations: int
    seconds: float | None = None
    note: str = ""
    new_rows: Way | None = None
    image_passes: int | None = None


@dataclass(frozen=True)
class ReplayBalance:
    """Training instances of every seen class, in all images and in a phase's training set.

    Attributes:
        phase: The phase the set belongs to, 1 or later.
        before: Instances of each seen class in all its images, in class order.
        after: Instances of each seen class that count in D_t, in the same
            order; a mean over epochs where draws differ.
        old: How many of these classes are old; the rest are new.
        replay: How old classes are replayed, `step.replay`.
    """

    phase: int
    before: Sequence[float]
    after: Sequence[float]
    old: int
    replay: str = "balanced"


@dataclass(frozen=True)
class PanelObject:
    """One object to draw on a validation image.

    Attributes:
        label: The name of its class.
        box: (x, y, width, height) in pixels of the image.
        segmentation: Its mask as COCO has it: an RLE with ``size`` and
            ``counts`` (compressed or not), a list of polygons, or None.
        score: The confidence of a prediction; None for ground truth.
        category_id: Of its class; drawn where no font has the letters of its name.
    """

    label: str
    box: tuple[float, float, float, float]
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]] | None = None
    score: float | None = None
    category_id: int | None = None


@dataclass(frozen=True)
class Panel:
    """One validation image with what is there and what was found.

    Attributes:
        image: Its file, or its pixels as uint8 of shape (H, W, 3), RGB.
        title: What to call it, as a rule its file name.
        ground_truth: The annotated objects of the classes seen so far.
        predictions: The detections worth showing; the caller has chosen.
        size: Height and width of a file as its annotations state them; as a viewer shows it, if
            None.
    """

    image: Path | NDArray[np.uint8]
    title: str
    ground_truth: Sequence[PanelObject] = ()
    predictions: Sequence[PanelObject] = ()
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class ReportData:
    """The whole content of a report.

    Attributes:
        title: What was learned, for the head of the page.
        settings: Setting to value, as the run used them.
        classes: All classes in class order; a class's label is its index.
        metrics: metrics.json of every evaluated phase, in order of phase.
        phases: The finished phases in order, evaluated or not.
        federated: Whether the validation set says which classes each image
            was checked for.
        demo: Whether the package drew the data itself.
        notes: Further remarks, one sentence each.
        panels: Validation images with predictions.
        replay: The balance of D_t for each phase from 1, where known.
        panel_note: Which predictions the panels show, for instance
            "scores of 0.3 and more".
        environment: What the run ran on: versions, device.
        instant: Evaluations of new classes before any training, in order of phase.
        attention: What the newest classes that a generator wrote rows for attend to; None
            where there is nothing to draw, or not what it takes.
    """

    title: str
    settings: Mapping[str, str]
    classes: Sequence[ReportClass]
    metrics: Sequence[Mapping[str, Any]]
    phases: Sequence[ReportPhase]
    federated: bool
    demo: bool
    notes: Sequence[str] = ()
    panels: Sequence[Panel] = ()
    replay: Sequence[ReplayBalance] = ()
    panel_note: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    instant: Sequence[InstantMetrics] = ()
    attention: Attention | None = None

    @property
    def joint(self) -> bool:
        """Whether all classes are learned in one phase, jointly."""
        return all(record.phase == 0 for record in self.classes)


def read_metrics(data: ReportData) -> list[Metrics]:
    """Give the metrics of every evaluated phase, checked and in order of phase.

    Raises:
        LstError: If no phase was evaluated, a phase comes twice, or a
            metrics record is not of the shape `lst eval` writes.
    """
    if not data.metrics:
        raise LstError("there is nothing to report: no phase has been evaluated", "lst eval")
    metrics = [_parse(record) for record in data.metrics]
    metrics.sort(key=lambda metric: metric.phase)
    for earlier, later in pairwise(metrics):
        if earlier.phase == later.phase:
            raise LstError(f"phase {later.phase} has two sets of metrics", "lst eval")
    return metrics


def _parse(record: Mapping[str, Any]) -> Metrics:
    try:
        metrics = Metrics.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        phase = record.get("phase")
        # A record that cannot say its phase leaves only the newest to evaluate again.
        known = isinstance(phase, int)
        name = f"of phase {phase}" if known else "of a phase"
        raise LstError(
            f"the metrics {name} are not what this version of lst writes: {where}: {first['msg']}",
            f"lst eval --phase {phase}" if known else "lst eval",
        ) from error
    for name, part in (("segm", metrics.segm), ("bbox", metrics.bbox)):
        if [group.phase for group in part.groups] != list(range(metrics.phase + 1)):
            raise LstError(
                f"the metrics of phase {metrics.phase} do not list the classes of every phase "
                f"up to it: {name}.groups",
                f"lst eval --phase {metrics.phase}",
            )
    return metrics
