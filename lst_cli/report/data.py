"""Everything a report shows, gathered before anything is drawn: tables, figures, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lst_cli.ap.metrics import BinMetrics, InstantMetrics, Metrics, comparable, forgetting
from lst_cli.display import tables
from lst_cli.display.objects import Panel
from lst_cli.display.tables import ReplayBalance, ReportClass, ReportPhase, format_classes
from lst_cli.evaluate.tables import newest, scores_table
from lst_cli.extend.tables import instant_table
from lst_cli.figures.attention import Attention
from lst_cli.split.tables import balance_table, training_table

REPORT_JSON = "report.json"  # the report for programs


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
    adopted: bool = False  # whether the base phase is an existing model
    notes: Sequence[str] = ()  # further remarks, one sentence each
    panels: Sequence[Panel] = ()
    replay: Sequence[ReplayBalance] = ()  # of each phase from 1, where known
    panel_note: str = ""  # which predictions the panels show
    environment: Mapping[str, str] = field(default_factory=dict)  # versions, device
    instant: Sequence[InstantMetrics] = ()  # in order of phase
    attention: Attention | None = None  # of the newest classes with generated rows

    @property
    def joint(self) -> bool:
        """Whether all classes are trained in one phase, jointly."""
        return not self.adopted and all(record.phase == 0 for record in self.classes)


def report_tables(data: ReportData) -> dict[str, tables.Table]:
    """Make the tables that a report has something to show in, by a short name, in order."""
    metrics = data.metrics
    last = metrics[-1]
    found = {"bins": tables.binned_table(metrics)}
    if len(metrics) > 1:
        found["groups"] = tables.groups_table(metrics)
    if last.segm.interval is not None:
        found["scores"] = scores_table(last.segm, newest(last.phase))
    found["sizes"] = tables.sizes_table(metrics)
    if data.instant:
        found["instant"] = instant_table(data.instant, metrics, data.phases)
    if data.phases:
        found["training"] = training_table(data.phases)
    if data.replay:
        found["balance"] = balance_table(data.replay)
    return {name: tables.with_joint(table, data.joint) for name, table in found.items()}


class Headline(NamedTuple):
    """One figure at the head of a report, formatted, and what it is the mean of."""

    name: str
    value: str
    remark: str


def headlines(metrics: Sequence[Metrics], *, joint: bool = False) -> list[Headline]:
    """Give the final AP, the rarest bin, old and new, forgetting, and box AP."""
    last = metrics[-1]
    segm = last.segm
    name = _phase_name(last.phase, joint)
    where = name[0].lower() + name[1:]
    scored = format_classes(tables.classes_with_ground_truth(last))
    found = [Headline("Mask AP", _ap(segm.AP), f"{scored} after {where}")]
    rarest = rarest_bin(metrics)
    if rarest is not None:
        name = f"Rarest bin, {tables.bin_heading(rarest.bin)}"
        found.append(Headline(name, _ap(rarest.AP), format_classes(rarest.with_ground_truth)))
    if not joint and (segm.old is not None or segm.new is not None):
        remark = f"phases before {last.phase} / phase {last.phase}"
        if last.phase == 0:
            remark = "base classes are all new"
        found.append(Headline("Old / new classes", f"{_ap(segm.old)} / {_ap(segm.new)}", remark))
    if not joint:
        found.append(_forgetting(metrics))
    return [*found, Headline("Box AP", _ap(last.bbox.AP), f"mask AP50 {_ap(segm.AP50)}")]


def rarest_bin(metrics: Sequence[Metrics]) -> BinMetrics | None:
    """Find the rarest bin that has ground truth after the last phase."""
    found = (tables.find_bin(metrics[-1], entry) for entry in tables.bins_in_order(metrics))
    return next((one for one in found if one is not None and one.AP is not None), None)


def mean_forgetting(metrics: Sequence[Metrics]) -> tuple[float, int] | None:
    """Average over old classes the AP they lost since their own phase (below 0 if gained).

    Also gives the number of classes of this mean; None if there is nothing to compare.
    """
    lost = forgetting(metrics)
    weights = {group.phase: group.with_ground_truth for group in metrics[-1].segm.groups}
    classes = sum(weights[phase] for phase in lost)
    if not classes:
        return None
    return sum(loss * weights[phase] for phase, loss in lost.items()) / classes, classes


def all_notes(data: ReportData) -> list[str]:
    """Give what a reader must know before believing a number, most important first."""
    metrics, notes = data.metrics, []
    if data.demo:
        notes.append(
            "This is a demo on images that the package drew itself. Its numbers show that "
            "everything works together and mean nothing beyond it."
        )
    if not data.federated:
        notes.append(
            "The validation set has no federated labels: every image counts as checked for every "
            "class, so a detection of a class that an image is not annotated with is an error."
        )
    rarest = rarest_bin(metrics)
    if rarest is not None and rarest.with_ground_truth < 10:
        notes.append(
            f"AP({tables.bin_heading(rarest.bin)}) rests on "
            f"{format_classes(rarest.with_ground_truth)}: small differences in it are chance."
        )
    evaluated = {metric.phase for metric in metrics}
    for phase in (one.phase for one in data.phases if one.phase not in evaluated):
        name = _phase_name(phase, data.joint)
        notes.append(f"{name} is finished but not evaluated: lst eval --phase {phase}")
    newest = max((record.phase for record in data.classes), default=0)
    if metrics[-1].phase < newest:
        notes.append(
            f"Phase {metrics[-1].phase} of {newest} is the newest evaluated one: the rarest "
            "classes are not learned yet, and no figure here is final."
        )
    return list(dict.fromkeys([*notes, *data.notes]))


def _forgetting(metrics: Sequence[Metrics]) -> Headline:
    found = mean_forgetting(metrics)
    judged = comparable(metrics)
    if found is None:
        where = " on one validation file" if len(judged) < len(metrics) else ""
        return Headline("Forgetting", tables.MISSING, f"needs two evaluated phases{where}")
    loss, classes = found
    remark = f"AP lost since learned, {format_classes(classes)}"
    if judged[0].phase == 0:
        then, now = judged[0].segm.groups[0].AP, judged[-1].segm.groups[0].AP
        remark = f"{remark}; base {_ap(then)} → {_ap(now)}"
    return Headline("Forgetting", tables.format_value("change", loss).lstrip("+"), remark)


def _ap(value: float | None) -> str:
    return tables.format_value("ap", value)


def _phase_name(phase: int, joint: bool) -> str:
    if phase == 0:
        return "Joint training" if joint else "The base phase"
    return f"Phase {phase}"
