"""The table of what new classes are worth before their first iteration, and after the last."""

from __future__ import annotations

from collections.abc import Sequence

from lst_cli.ap.metrics import WAYS, InstantMetrics, Metrics
from lst_cli.display.tables import Column, ReportPhase, Table

TITLE = "New classes at iteration 0 and at the end"


def instant_table(
    instant: Sequence[InstantMetrics],
    metrics: Sequence[Metrics],
    phases: Sequence[ReportPhase] = (),
) -> Table:
    """Make the table of the new classes' mask AP without training and with it.

    A cell is None where a way or the phase was not evaluated, or where the phase trained nothing:
    one of the `phases` has no iterations.
    """
    trained = {metric.phase: metric.segm.new for metric in metrics}
    trained.update((phase.phase, None) for phase in phases if phase.iterations == 0)
    rows = [
        {
            "phase": one.phase,
            "classes": (new := next(iter(one.rows.values())).segm.groups[one.phase]).classes,
            "with_ground_truth": new.with_ground_truth,
            **{way: one.rows[way].segm.new if way in one.rows else None for way in WAYS},
            "trained": trained.get(one.phase),
        }
        for one in sorted(instant, key=lambda one: one.phase)
    ]
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
