"""The table of what new classes are worth before their first iteration, and after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lst_cli.ap.instant import WAYS, InstantMetrics, Way
from lst_cli.ap.metrics import GroupMetrics, Metrics
from lst_cli.display.records import ReportPhase
from lst_cli.display.tables import Column, Table

TITLE = "New classes at iteration 0 and at the end"


def instant_table(
    instant: Sequence[InstantMetrics],
    metrics: Sequence[Metrics],
    phases: Sequence[ReportPhase] = (),
) -> Table:
    """Make the table of the new classes' mask AP without training and with it.

    Args:
        instant: Evaluations at iteration 0.
        metrics: Evaluations of finished phases.
        phases: What the phases were trained on; one without iterations trained nothing.

    Returns:
        A cell is None where a way or the phase was not evaluated, or the phase trained nothing.
    """
    trained = {metric.phase: metric.segm.new for metric in metrics}
    untrained = {phase.phase for phase in phases if phase.iterations == 0}

    def end(one: InstantMetrics) -> float | None:
        return None if one.phase in untrained else trained.get(one.phase)

    columns = (
        Column("phase", "phase", "phase"),
        Column("classes", "new classes", "integer", lambda one: _new(one).classes),
        Column(
            "with_ground_truth",
            "with ground truth",
            "integer",
            lambda one: _new(one).with_ground_truth,
        ),
        *(
            Column(way, f"{name} rows", get=_of_way(way), description="at iteration 0")
            for way, name in WAYS.items()
        ),
        Column(
            "trained", "after training", get=end, description="after the phase's last iteration"
        ),
    )
    return Table.of(
        TITLE,
        sorted(instant, key=lambda one: one.phase),
        columns,
        "Mask AP of a phase's new classes: at iteration 0, with rows of the classifier that no one "
        "trained, and after the phase.",
    )


def _new(one: InstantMetrics) -> GroupMetrics:
    return next(iter(one.rows.values())).segm.groups[one.phase]


def _of_way(way: Way) -> Callable[[InstantMetrics], float | None]:
    return lambda one: one.rows[way].segm.new if way in one.rows else None
