"""Everything a report shows, gathered before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from lst_cli.ap.instant import InstantMetrics
from lst_cli.ap.metrics import Metrics
from lst_cli.display.records import Panel, ReplayBalance, ReportClass, ReportPhase
from lst_cli.errors import LstError
from lst_cli.figures.attention import Attention

REPORT_JSON = "report.json"
"""Name of the report for programs."""


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
