"""Metrics to rows: what stands in each table, before any markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lst_cli.ap.metrics import BinMetrics, Metrics, comparable
from lst_cli.display.records import ReportClass

MISSING = "\N{EN DASH}"
"""What a table prints where there is no number."""

Cell = str | int | float | None
"""A raw value of a table: AP stays a fraction until it is formatted."""

Kind = Literal["text", "phase", "id", "integer", "number", "ap", "change", "share", "seconds"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: Where its value stands in a row.
        heading: What it is called, as plain text.
        kind: How its values are formatted; ``ap`` and ``change`` are fractions
            printed times 100 with one decimal, ``change`` with its sign;
            ``phase`` 0 is printed as "base"; an ``id`` has no commas; a
            ``number`` has one decimal, a ``share`` of 1 has two.
        classes: How many classes with ground truth its numbers rest on in the
            last row, to be printed beside the heading; None where the question
            does not arise.
        classes_key: Where a row keeps that number for itself; a cell that
            rests on another number of classes than the heading says so.
        description: What it means, in a few words.
    """

    key: str
    heading: str
    kind: Kind = "ap"
    classes: int | None = None
    classes_key: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Table:
    """Rows and what their columns mean.

    Attributes:
        title: What the table shows, as a caption.
        columns: The columns, left to right.
        rows: One dict a row; a key that is missing counts as None.
        remark: How to read it, one or two sentences; may be empty.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Cell], ...]
    remark: str = ""

    @property
    def counts_classes(self) -> bool:
        """Whether the head needs a second line with numbers of classes."""
        return any(column.classes is not None for column in self.columns)

    def class_line(self) -> list[str]:
        """Give the line under the headings: classes with ground truth a column rests on.

        Returns:
            One text a column, "" where the question does not arise, with
            "classes" in the first.
        """
        line = ["" if c.classes is None else format_integer(c.classes) for c in self.columns]
        return ["classes", *line[1:]] if self.counts_classes else line

    def texts(self) -> list[list[str]]:
        """Format every cell, without escaping for any markup."""
        return [[format_cell(column, row) for column in self.columns] for row in self.rows]


def format_integer(value: float) -> str:
    """Print a whole number with commas between thousands."""
    return f"{round(value):,}"


def format_seconds(seconds: float) -> str:
    """Print a duration in its two largest units, such as "1 h 04 min" or "12 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_value(kind: Kind, value: Cell) -> str:
    """Print one raw value; what is missing is an en dash.

    Example:
        >>> format_value("ap", 0.2279)
        '22.8'
    """
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if kind == "ap":
        return f"{100 * value:.1f}"
    if kind == "change":
        # What rounds to nothing has no direction to report.
        text = f"{100 * value:+.1f}"
        return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")
    if kind == "seconds":
        return format_seconds(value)
    if kind == "number":
        return f"{value:,.1f}"
    if kind == "share":
        return f"{value:.2f}"
    if kind == "phase":
        return phase_name(int(value))
    if kind == "id":
        return str(value)
    return format_integer(value)


def format_cell(column: Column, row: Mapping[str, Cell]) -> str:
    """Print a cell, with its own number of classes where the heading's is another.

    In an early phase a bin holds only some of its classes, and an AP over 20
    of them is not an AP over 300.
    """
    value = row.get(column.key)
    text = format_value(column.kind, value)
    if value is None or column.classes_key is None:
        return text
    classes = row.get(column.classes_key)
    if classes is None or classes == column.classes:
        return text
    return f"{text} ({format_value('integer', classes)})"


def bin_heading(name: str) -> str:
    """Spell a bin's name as printed: ">=1000" as "≥1000", "10-99" with an en dash."""
    return name.replace(">=", "≥").replace("-", MISSING)


def bins_in_order(metrics: Sequence[Metrics]) -> list[BinMetrics]:
    """Give every bin that occurs once, rarest first, as the newest evaluation has it.

    Phases evaluated under other bins keep their columns.
    """
    found: dict[tuple[str, int, int | None], BinMetrics] = {}
    for metric in metrics:
        for entry in metric.segm.bins:
            found[(entry.bin, entry.low, entry.high)] = entry

    def rank(entry: BinMetrics) -> tuple[int, float]:
        return entry.low, float("inf") if entry.high is None else entry.high

    return sorted(found.values(), key=rank)


def find_bin(metric: Metrics, wanted: BinMetrics) -> BinMetrics | None:
    """Find the same bin in another phase's metrics."""
    for entry in metric.segm.bins:
        if (entry.bin, entry.low, entry.high) == (wanted.bin, wanted.low, wanted.high):
            return entry
    return None


def classes_with_ground_truth(metric: Metrics) -> int:
    """Count the seen classes whose AP the means are over."""
    return sum(group.with_ground_truth for group in metric.segm.groups)


def phase_name(phase: int) -> str:
    """Name a phase as tables and plots do; 0 is "base"."""
    return "base" if phase == 0 else str(phase)


def with_joint(table: Table, joint: bool) -> Table:
    """Call phase 0 "joint" where all classes are learned in it, and none of them old or new."""
    if not joint:
        return table
    rows = tuple({**row, "phase": "joint"} if row.get("phase") == 0 else row for row in table.rows)
    columns = tuple(column for column in table.columns if column.key not in ("old", "new"))
    return replace(table, rows=rows, columns=columns)


def binned_table(metrics: Sequence[Metrics]) -> Table:
    """Make the main table: a row a phase, Table 1's columns, old and new.

    Args:
        metrics: At least one evaluated phase, in order.

    Returns:
        Rows with keys ``phase``, ``seen`` (classes), ``scored`` (those with
        ground truth), for every bin b ``AP(b)`` and ``classes(b)`` (with
        ground truth), ``AP``, ``AP50``, ``AP75``, ``box AP``, ``old``, ``new``.
    """
    bins = bins_in_order(metrics)
    last = metrics[-1]
    columns = [
        Column("phase", "phase", "phase", description="0 is base"),
        Column("seen", "seen", "integer", description="classes learned so far"),
        Column("scored", "scored", "integer", description="those of them with ground truth"),
    ]
    for entry in bins:
        final = find_bin(last, entry)
        columns.append(
            Column(
                f"AP({entry.bin})",
                bin_heading(entry.bin),
                classes=final.with_ground_truth if final else None,
                classes_key=f"classes({entry.bin})",
                description=f"mask AP of classes with {_range_text(entry)}",
            )
        )
    columns += [
        Column("AP", "AP", description="mask AP of all scored classes"),
        Column("AP50", "AP50", description="mask AP at IoU 0.5"),
        Column("AP75", "AP75", description="mask AP at IoU 0.75"),
        Column("box AP", "box AP", description="box AP of all scored classes"),
        Column("old", "old", description="mask AP of the classes of earlier phases"),
        Column("new", "new", description="mask AP of the classes of this phase"),
    ]
    return Table(
        "Mask AP by training instances, after each phase",
        tuple(columns),
        tuple(_binned_row(metric, bins) for metric in metrics),
        "AP in percent. Bins count training instances and overlap on purpose. The line under the "
        "headings counts a bin's classes with ground truth after the last phase; a number in "
        "brackets is that count where an earlier phase has seen fewer of them. Scored are the seen "
        "classes with ground truth: AP, AP50, AP75 and box AP are over these.",
    )


def _binned_row(metric: Metrics, bins: Sequence[BinMetrics]) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "phase": metric.phase,
        "seen": sum(group.classes for group in metric.segm.groups),
        "scored": classes_with_ground_truth(metric),
    }
    for wanted in bins:
        entry = find_bin(metric, wanted)
        row[f"AP({wanted.bin})"] = entry.AP if entry else None
        row[f"classes({wanted.bin})"] = entry.with_ground_truth if entry else None
    row["AP"] = metric.segm.AP
    row["AP50"] = metric.segm.AP50
    row["AP75"] = metric.segm.AP75
    row["box AP"] = metric.bbox.AP
    row["old"] = metric.segm.old
    row["new"] = metric.segm.new
    return row


def _range_text(entry: BinMetrics) -> str:
    if entry.high is None:
        return f"{entry.low} or more training instances"
    if entry.high == entry.low + 1:
        return f"{entry.low} training instance{'' if entry.low == 1 else 's'}"
    return f"{entry.low} to {entry.high - 1} training instances"


def groups_table(metrics: Sequence[Metrics]) -> Table:
    """Make the table of forgetting: each group of classes after each phase.

    A row a phase, a column the classes that one phase brought; reading a
    column downwards shows what became of them.
    """
    last = metrics[-1]
    columns = [Column("phase", "after phase", "phase")]
    columns += [
        Column(
            f"AP(phase {group.phase})",
            "base classes" if group.phase == 0 else f"of phase {group.phase}",
            classes=group.with_ground_truth,
            description=f"mask AP of the {group.classes} classes of phase {group.phase}",
        )
        for group in last.segm.groups
    ]
    columns.append(Column("all", "all seen", classes=classes_with_ground_truth(last)))
    rows: list[dict[str, Cell]] = []
    for metric in metrics:
        row: dict[str, Cell] = {"phase": metric.phase, "all": metric.segm.all}
        row |= {f"AP(phase {group.phase})": group.AP for group in metric.segm.groups}
        rows.append(row)
    return Table(
        "What became of each phase's classes",
        tuple(columns),
        tuple(rows),
        "Mask AP of the classes that each phase brought. Read a column downwards: it starts with "
        "what was learned and ends with what is left of it.",
    )


def sizes_table(metrics: Sequence[Metrics]) -> Table:
    """Make the table of the remaining averages: object sizes, image frequencies, recall."""
    columns = [Column("phase", "phase", "phase")]
    names = {
        "APs": "objects below 32² pixels",
        "APm": "objects from 32² to 96² pixels",
        "APl": "objects from 96² pixels",
        "APr": "rare classes: at most 10 training images",
        "APc": "common classes: 11 to 100 training images",
        "APf": "frequent classes: more than 100 training images",
        "AR": "average recall",
    }
    columns += [Column(name, name, description=text) for name, text in names.items()]
    rows: list[dict[str, Cell]] = []
    for metric in metrics:
        row: dict[str, Cell] = {"phase": metric.phase}
        row |= {name: getattr(metric.segm, name) for name in names}
        rows.append(row)
    return Table(
        "By object size and by image frequency",
        tuple(columns),
        tuple(rows),
        "Mask AP. Small, medium and large by area in pixels; rare, common and frequent are LVIS's "
        "classes by training images.",
    )


def class_table(classes: Sequence[ReportClass], metrics: Sequence[Metrics]) -> Table:
    """Make the table of every class in class order, with its AP when learned and now."""
    by_phase = {metric.phase: metric for metric in comparable(metrics)}
    last = metrics[-1]
    rows: list[dict[str, Cell]] = []
    for rank, record in enumerate(classes, start=1):
        learned = by_phase.get(record.phase)
        then = learned.segm.per_class.get(record.category_id) if learned else None
        now = last.segm.per_class.get(record.category_id)
        rows.append(
            {
                "rank": rank,
                "class": record.name,
                "category_id": record.category_id,
                "phase": record.phase,
                "instances": record.instances,
                "images": record.images,
                "learned": then,
                "AP": now,
                "change": None if then is None or now is None else now - then,
                "box AP": last.bbox.per_class.get(record.category_id),
            }
        )
    columns = (
        Column("rank", "rank", "integer"),
        Column("class", "class", "text"),
        Column("category_id", "category_id", "id"),
        Column("phase", "phase", "phase"),
        Column("instances", "instances", "integer", description="in training"),
        Column("images", "images", "integer", description="in training"),
        Column("learned", "AP when learned"),
        Column("AP", "AP now"),
        Column("change", "change", "change"),
        Column("box AP", "box AP"),
    )
    return Table("Every class", columns, tuple(rows))
