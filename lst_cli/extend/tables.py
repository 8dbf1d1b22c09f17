"""The table of what new classes are worth before their first iteration, and after the last."""

from __future__ import annotations

from collections.abc import Sequence

from lst_cli.ap.instant import WAYS, InstantMetrics
from lst_cli.ap.metrics import Metrics
from lst_cli.display.records import ReportPhase
from lst_cli.display.tables import Cell, Column, Table

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
        Rows with keys ``phase``, ``classes``, ``with_ground_truth``, ``random``,
        ``mean-feature``, ``generated`` and ``trained``; None where a way was not evaluated, or
        the phase was not, or trained nothing.
    """
    trained = {metric.phase: metric.segm.new for metric in metrics}
    untrained = {phase.phase for phase in phases if phase.iterations == 0}
    rows: list[dict[str, Cell]] = []
    for one in sorted(instant, key=lambda one: one.phase):
        group = next(iter(one.rows.values())).segm.groups[one.phase]
        row: dict[str, Cell] = {
            "phase": one.phase,
            "classes": group.classes,
            "with_ground_truth": group.with_ground_truth,
        }
        for way in WAYS:
            row[way] = one.rows[way].segm.new if way in one.rows else None
        row["trained"] = None if one.phase in untrained else trained.get(one.phase)
        rows.append(row)
    columns = (
        Column("phase", "phase", "phase"),
        Column("classes", "new classes", "integer"),
        Column("with_ground_truth", "with ground truth", "integer"),
        *(Column(way, f"{name} rows", description="at iteration 0") for way, name in WAYS.items()),
        Column("trained", "after training", description="after the phase's last iteration"),
    )
    return Table(
        TITLE,
        columns,
        tuple(rows),
        "Mask AP of a phase's new classes: at iteration 0, with rows of the classifier that no one "
        "trained, and after the phase.",
    )
