"""Tables of the training data of the phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from lst_cli.display.tables import Column, ReplayBalance, ReportPhase, Table


def training_table(phases: Sequence[ReportPhase]) -> Table:
    """What each phase was trained on and how long it took."""
    shown = attrgetter("image_passes")
    repeats = "images that were shown, one seen twice counted twice"
    columns = [
        Column("phase", "phase", "phase"),
        Column("classes", "new classes", "integer"),
        Column("entries", "samples", "integer", description="images, or (image, class) pairs"),
        Column("replay", "replayed", "integer", lambda phase: phase.replay_entries),
        Column("iterations", "iterations", "integer"),
        Column("image passes", "image passes", "integer", shown, description=repeats),
        Column("seconds", "time", "seconds"),
    ]
    if any(phase.new_rows for phase in phases):
        of_new = "of the new classes"
        columns.append(Column("first rows", "first rows", "text", _first_rows, description=of_new))
    if any(phase.note for phase in phases):
        columns.append(Column("note", "note", "text"))
    passes = [phase.image_passes for phase in phases if phase.image_passes is not None]
    known = phases and len(passes) == len(phases)
    total = f"{sum(passes):,} image passes in all: {repeats}." if known else ""
    return Table.of("What each phase was trained on", phases, columns, total)


def _first_rows(phase: ReportPhase) -> str | None:
    return phase.new_rows.replace("-", " ") if phase.new_rows else None


def balance_table(balances: Sequence[ReplayBalance]) -> Table:
    """How balanced old and new classes are: mean instances of a class, before and after replay.

    Old over new is None where a phase has no such class or the new ones have no instance.
    """
    columns = [
        Column("phase", "phase", "phase"),
        Column("old", "old classes", "integer"),
        Column("new", "new classes", "integer", lambda one: len(one.before) - one.old),
    ]
    pasted = any(one.pasted for one in balances)
    for when in ("before", "after", "pasted")[: 2 + pasted]:
        columns += [
            Column(f"old {when}", f"old, {when}", "number", _number(when, 0)),
            Column(f"new {when}", f"new, {when}", "number", _number(when, 1)),
            Column(f"ratio {when}", "old : new", "number", _number(when, 2)),
        ]
    return Table.of(
        "Balance of old and new classes",
        balances,
        columns,
        "Mean training instances per class: before, in all images of the seen classes; after, in "
        "the phase's own training set"
        + (
            "; pasted, in that with the objects that are pasted into its images." if pasted else "."
        ),
    )


def _number(when: str, place: int) -> Callable[[ReplayBalance], float | None]:
    """Read the mean of old classes (0), of new ones (1) or old over new (2)."""

    def read(balance: ReplayBalance) -> float | None:
        instances: Sequence[float] = getattr(balance, when)
        parts = instances[: balance.old], instances[balance.old :]
        old, new = (sum(part) / len(part) if len(part) else None for part in parts)
        return (old, new, None if old is None or not new else old / new)[place]

    return read
