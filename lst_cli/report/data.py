"""Everything a report shows, gathered before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lst_cli.ap.instant import InstantMetrics
from lst_cli.ap.metrics import Metrics
from lst_cli.display.records import Panel, ReplayBalance, ReportClass, ReportPhase
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
        metrics: Of every evaluated phase, in order of phase; at least one.
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
    metrics: Sequence[Metrics]
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
