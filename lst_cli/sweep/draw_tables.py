"""The table over runs of kind extend: means over draws of new classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from lst_cli.display.tables import Cell, Column, Table, format_seconds
from lst_cli.sweep.tables import (
    FORMAT,
    Failure,
    Spread,
    ap_text,
    deviation,
    mean_of,
    of_mean,
    over_seeds,
    spread_in,
    spread_text,
)
from lst_cli.workspace.manifest import Count, Rate, Record, Share


class CellResult(Record):
    """A run with one draw of classes and one number of boxes of each."""

    run: str
    boxes: Count
    draw: Count
    classes: tuple[str, ...]  # their names
    new: Share | None  # mask AP
    old_before: Share | None  # of the classes of the base, before and after
    old: Share | None
    # Detections of a new class, and of a class of the base, in 100 validation images without it.
    alarms: Rate | None
    alarms_old: Rate | None
    seconds: Rate
    images: Count  # that were shown, an image seen twice counted twice


@dataclass(frozen=True)
class Row:
    """A run with one number of boxes and all draws that are finished."""

    run: str
    label: str
    boxes: int
    planned: int  # draws
    seeds: tuple[CellResult, ...]


@dataclass(frozen=True)
class DrawResults:
    """The results of all runs so far: of the fewest boxes first, and in the order of the plan."""

    plan: str
    title: str
    rows: tuple[Row, ...]
    failed: tuple[Failure, ...] = ()


_NUMBERS: tuple[tuple[Column, Callable[[Spread], Cell]], ...] = (
    (Column("new", "AP new"), ap_text),
    (Column("old_before", "AP old before"), ap_text),
    (Column("old", "AP old after"), ap_text),
    (Column("alarms", "false alarms", "number"), spread_text),
    (Column("alarms_old", "of an old class", "number"), spread_text),
    (Column("seconds", "seconds", "number"), of_mean(format_seconds)),
    (Column("images", "images seen", "number"), of_mean("{:,.0f}".format)),
)
_REMARK = (
    "Mask AP in percent, mean ± standard deviation over draws of new classes. False alarms: "
    "detections of a new class, and of a mean old class, in 100 validation images without the "
    "class, at scores of 0.5 and more. Seconds and images of learning, repeated images counted."
)


def draw_table(results: DrawResults) -> Table:
    """Make the table for reading: a row for each number of boxes and each run."""
    columns = [
        Column("boxes", "boxes", "integer"),
        Column("run", "run", "text", lambda row: row.label),
        *(over_seeds(one, read, kind="text") for one, read in _NUMBERS),
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
    for one, _ in _NUMBERS:
        columns += [over_seeds(one, mean_of), deviation(one)]
    return Table.of(results.title, results.rows, columns)


def draw_record(results: DrawResults) -> dict[str, Any]:
    """Give everything for scripts: AP as fractions, every draw by itself."""
    return {
        "format": FORMAT,
        "plan": results.plan,
        "title": results.title,
        "rows": [
            {
                "run": row.run,
                "label": row.label,
                "boxes": row.boxes,
                "planned": row.planned,
                "numbers": {one.key: asdict(spread_in(row, one)) for one, _ in _NUMBERS},
                "draws": [one.model_dump(mode="json") for one in row.seeds],
            }
            for row in results.rows
        ],
        "failed": [one.model_dump() for one in results.failed],
    }
