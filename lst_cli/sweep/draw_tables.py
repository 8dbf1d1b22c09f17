"""The table over runs of kind extend: means over draws of new classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from lst_cli.display.markup import escape_markdown, render_markdown
from lst_cli.display.tables import Cell, Column, Table, format_seconds
from lst_cli.sweep.plan import SweepPlan
from lst_cli.sweep.tables import FORMAT, Failure, Spread, ap_text, mean_of, spread_in
from lst_cli.workspace.manifest import Count, Rate, Record, Share


class CellResult(Record):
    """A run with one draw of classes and one number of boxes of each."""

    run: str = ""
    boxes: Count = 0
    draw: Count = 0
    classes: tuple[str, ...]  # their names
    new: Share | None  # mask AP
    old_before: Share | None  # of the classes of the base, before and after
    old: Share | None
    # Detections of a new class, and of a class of the base, in 100 validation images without it.
    alarms: Rate | None
    alarms_old: Rate | None
    seconds: Rate = 0.0
    images: Count = 0  # that were shown, an image seen twice counted twice


@dataclass(frozen=True)
class DrawResults:
    """The results of all runs so far."""

    plan: SweepPlan
    cells: tuple[CellResult, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def title(self) -> str:
        """The title of the table."""
        return self.plan.title or f"The runs of {self.plan.name}"

    @property
    def rows(self) -> list[Row]:
        """What is known of each number of boxes and each run, in the order of the plan."""
        draws = self.plan.new_classes
        assert draws is not None
        rows = [
            Row(
                run.name,
                run.title,
                boxes,
                draws.draws,
                tuple(one for one in self.cells if (one.run, one.boxes) == (run.name, boxes)),
            )
            for boxes in sorted(draws.boxes)
            for run in self.plan.runs
        ]
        return [row for row in rows if row.seeds]


@dataclass(frozen=True)
class Row:
    """A run with one number of boxes and all draws that are finished."""

    run: str
    label: str
    boxes: int
    planned: int  # draws
    seeds: tuple[CellResult, ...]


_NUMBERS = (
    Column("new", "AP new"),
    Column("old_before", "AP old before"),
    Column("old", "AP old after"),
    Column("alarms", "false alarms", "number"),
    Column("alarms_old", "of an old class", "number"),
    Column("seconds", "seconds", "number"),
    Column("images", "images seen", "number"),
)
_REMARK = (
    "Mask AP in percent, mean ± standard deviation over draws of new classes. False alarms: "
    "detections of a new class, and of a mean old class, in 100 validation images without the "
    "class, at scores of 0.5 and more. Seconds and images of learning, repeated images counted."
)


def draw_table(results: DrawResults) -> Table:
    """Make the table for reading: a row for each number of boxes and each run."""

    def of_draws(column: Column, read: Callable[[Spread], Cell]) -> Column:
        return replace(column, kind="text", get=lambda row: read(spread_in(row, column)))

    def rate(spread: Spread) -> str | None:
        if spread.mean is None:
            return None
        text = f"{spread.mean:.1f}"
        return text if spread.sd is None else f"{text} ± {spread.sd:.1f}"

    def time(spread: Spread) -> str | None:
        return None if spread.mean is None else format_seconds(spread.mean)

    def images(spread: Spread) -> str | None:
        return None if spread.mean is None else f"{spread.mean:,.0f}"

    reads = {"alarms": rate, "alarms_old": rate, "seconds": time, "images": images}
    columns = [
        Column("boxes", "boxes", "integer"),
        Column("run", "run", "text", lambda row: row.label),
        *(of_draws(one, reads.get(one.key, ap_text)) for one in _NUMBERS),
        Column("draws", "draws", "text", lambda row: f"{len(row.seeds)} of {row.planned}"),
    ]
    return Table.of(results.title, results.rows, columns, _REMARK)


def draw_numbers(results: DrawResults) -> Table:
    """Make the table for programs: every number with its standard deviation."""
    columns = [
        Column("boxes", "boxes", "integer"),
        Column("run", "run", "text"),
        Column("draws", "draws", "integer", lambda row: len(row.seeds)),
    ]
    for one in _NUMBERS:

        def mean(row: Row, one: Column = one) -> Cell:
            return mean_of(spread_in(row, one))

        def deviation(row: Row, one: Column = one) -> Cell:
            return spread_in(row, one).sd

        columns.append(replace(one, get=mean))
        columns.append(Column(f"{one.key} sd", f"{one.heading} sd", one.kind, deviation))
    return Table.of(results.title, results.rows, columns)


def draw_record(results: DrawResults) -> dict[str, Any]:
    """Give everything for scripts: AP as fractions, every draw by itself."""
    return {
        "format": FORMAT,
        "plan": results.plan.name,
        "title": results.title,
        "rows": [
            {
                "run": row.run,
                "label": row.label,
                "boxes": row.boxes,
                "planned": row.planned,
                "numbers": {one.key: asdict(spread_in(row, one)) for one in _NUMBERS},
                "draws": [one.model_dump(mode="json") for one in row.seeds],
            }
            for row in results.rows
        ],
        "failed": [one.model_dump() for one in results.failed],
    }


def render_draws_markdown(results: DrawResults) -> str:
    """Give the table as a Markdown page, with what failed."""
    table = draw_table(results)
    parts = [f"# {escape_markdown(results.title)}", render_markdown(table).rstrip()]
    parts.append(escape_markdown(table.remark))
    if results.failed:
        listed = [f"- {escape_markdown(f'{one.name}: {one.error}')}" for one in results.failed]
        parts += ["## What failed", "\n".join(listed)]
    return "\n\n".join(parts) + "\n"
