"""Everything a report shows, gathered before anything is drawn, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lst_cli.ap.instant import InstantMetrics
from lst_cli.ap.metrics import Metrics
from lst_cli.display.records import Panel, ReplayBalance, ReportClass, ReportPhase
from lst_cli.display.tables import Table, binned_table, groups_table, sizes_table, with_joint
from lst_cli.evaluate.tables import newest, scores_table
from lst_cli.extend.tables import instant_table
from lst_cli.figures.attention import Attention
from lst_cli.split.tables import balance_table, training_table

REPORT_JSON = "report.json"
"""Name of the report for programs."""


@dataclass(frozen=True)
class ReportData:
    """The whole content of a report."""

    title: str
    settings: Mapping[str, str]
    classes: Sequence[ReportClass]  # all, in class order
    metrics: Sequence[Metrics]  # of every evaluated phase, in order; at least one
    phases: Sequence[ReportPhase]  # the finished ones, in order
    federated: bool  # whether the validation set says which classes each image was checked for
    demo: bool  # whether the package drew the data itself
    notes: Sequence[str] = ()  # further remarks, one sentence each
    panels: Sequence[Panel] = ()
    replay: Sequence[ReplayBalance] = ()  # of each phase from 1, where known
    panel_note: str = ""  # which predictions the panels show
    environment: Mapping[str, str] = field(default_factory=dict)  # versions, device
    instant: Sequence[InstantMetrics] = ()  # in order of phase
    attention: Attention | None = None  # of the newest classes with generated rows

    @property
    def joint(self) -> bool:
        """Whether all classes are learned in one phase, jointly."""
        return all(record.phase == 0 for record in self.classes)


def report_tables(data: ReportData) -> dict[str, Table]:
    """Make the tables that a report has something to show in, by a short name, in order."""
    metrics = data.metrics
    last = metrics[-1]
    tables = {"bins": binned_table(metrics)}
    if len(metrics) > 1:
        tables["groups"] = groups_table(metrics)
    if last.segm.interval is not None:
        tables["scores"] = scores_table(last.segm, newest(last.phase))
    tables["sizes"] = sizes_table(metrics)
    if data.instant:
        tables["instant"] = instant_table(data.instant, metrics, data.phases)
    if data.phases:
        tables["training"] = training_table(data.phases)
    if data.replay:
        tables["balance"] = balance_table(data.replay)
    return {name: with_joint(table, data.joint) for name, table in tables.items()}
