"""Tables of what the phases are trained on; `lst split` prints one of them too."""

from __future__ import annotations

from collections.abc import Sequence

from lst_cli.ap.instant import WAYS
from lst_cli.display.records import ReplayBalance, ReportPhase
from lst_cli.display.tables import Cell, Column, Table


def training_table(phases: Sequence[ReportPhase]) -> Table:
    """Make the table of what each phase was trained on and how long it took."""
    columns = [
        Column("phase", "phase", "phase"),
        Column("classes", "new classes", "integer"),
        Column("entries", "entries", "integer", description="images, or (image, class) pairs"),
        Column("replay", "of them replay", "integer"),
        Column("iterations", "iterations", "integer"),
        Column(
            "image passes",
            "image passes",
            "integer",
            description="images that were shown, one seen twice counted twice",
        ),
        Column("seconds", "time", "seconds"),
    ]
    if any(phase.new_rows for phase in phases):
        columns.append(Column("first rows", "first rows", "text", description="of the new classes"))
    if any(phase.note for phase in phases):
        columns.append(Column("note", "note", "text"))
    rows: list[dict[str, Cell]] = [
        {
            "phase": phase.phase,
            "classes": phase.classes,
            "entries": phase.entries,
            "replay": phase.replay_entries,
            "iterations": phase.iterations,
            "image passes": phase.image_passes,
            "seconds": phase.seconds,
            "first rows": None if phase.new_rows is None else WAYS[phase.new_rows],
            "note": phase.note,
        }
        for phase in phases
    ]
    passes = [phase.image_passes for phase in phases if phase.image_passes is not None]
    total = f"{sum(passes):,} image passes in all: images that were shown, one seen twice counted "
    return Table(
        "What each phase was trained on",
        tuple(columns),
        tuple(rows),
        f"{total}twice." if phases and len(passes) == len(phases) else "",
    )


def balance_table(balances: Sequence[ReplayBalance]) -> Table:
    """Make the table of how level old and new classes stand, in all data and in D_t.

    Args:
        balances: One entry a phase, from phase 1.

    Returns:
        Rows with keys ``phase``, ``old`` and ``new`` (classes), mean instances
        per class ``old before``, ``old after``, ``new before``, ``new after``,
        and old over new ``ratio before`` and ``ratio after``, None where a
        phase has no such class or the new ones have no instance.
    """
    rows: list[dict[str, Cell]] = []
    for balance in balances:
        old_before, new_before = _old_new_means(balance.before, balance.old)
        old_after, new_after = _old_new_means(balance.after, balance.old)
        rows.append(
            {
                "phase": balance.phase,
                "old": balance.old,
                "new": len(balance.before) - balance.old,
                "old before": old_before,
                "new before": new_before,
                "ratio before": _ratio(old_before, new_before),
                "old after": old_after,
                "new after": new_after,
                "ratio after": _ratio(old_after, new_after),
            }
        )
    columns = (
        Column("phase", "phase", "phase"),
        Column("old", "old classes", "integer"),
        Column("new", "new classes", "integer"),
        Column("old before", "old, before", "number"),
        Column("new before", "new, before", "number"),
        Column("ratio before", "old : new", "number"),
        Column("old after", "old, after", "number"),
        Column("new after", "new, after", "number"),
        Column("ratio after", "old : new", "number"),
    )
    return Table(
        "How level old and new classes stand",
        columns,
        tuple(rows),
        "Mean training instances per class: before, in all images of the seen classes; after, in "
        "the phase's own training set.",
    )


def _old_new_means(instances: Sequence[float], old: int) -> tuple[float | None, float | None]:
    parts = (instances[:old], instances[old:])
    first, second = (sum(part) / len(part) if len(part) else None for part in parts)
    return first, second


def _ratio(old: float | None, new: float | None) -> float | None:
    return None if old is None or not new else old / new
