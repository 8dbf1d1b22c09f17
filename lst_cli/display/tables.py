"""Tables before any markup: columns know their heading, their kind and where values are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lst_cli.ap.metrics import BinMetrics, GroupMetrics, Metrics, comparable

MISSING = "\N{EN DASH}"  # what a table prints where there is no number

Cell = str | int | float | None  # a raw value: AP stays a fraction until it is formatted
Kind = Literal["text", "phase", "id", "integer", "number", "ap", "change", "share", "seconds"]


@dataclass(frozen=True)
class Column:
    """One column of a table: its key in a row, its heading, and how its values are read and shown.

    ``ap`` and ``change`` are fractions printed times 100 with one decimal, ``change`` with its
    sign; ``phase`` 0 is printed as "base"; an ``id`` has no commas; a ``number`` has one decimal, a
    ``share`` of 1 has two.
    """

    key: str
    heading: str
    kind: Kind = "ap"
    # Reads the value from a record; by default its attribute `key`.
    get: Callable[[Any], Cell] | None = field(default=None, compare=False)
    # How many classes with ground truth the last row's number is a mean of, printed below the
    # heading. Rows may have their own, in a column that is not shown: an AP over 20 classes of a
    # bin cannot be compared with an AP over 300.
    classes: int | None = None
    row_classes: Column | None = None
    description: str = ""

    @property
    def is_text(self) -> bool:
        """Whether its cells stand on the left."""
        return self.kind in ("text", "phase")

    def text(self, row: Mapping[str, Cell]) -> str:
        """Format its value in a row, without escaping for any markup."""
        return format_value(self.kind, row.get(self.key))

    def own_classes(self, row: Mapping[str, Cell]) -> str:
        """Give the number of classes behind a cell where it is not that of the heading, else ""."""
        own = None if self.row_classes is None else row.get(self.row_classes.key)
        if row.get(self.key) is None or own in (None, self.classes):
            return ""
        return format_value("integer", own)

    def cells(self, record: Any) -> dict[str, Cell]:
        """Read what the column shows of a record, by key."""
        own = {self.key: self.get(record) if self.get else getattr(record, self.key)}
        return own if self.row_classes is None else own | self.row_classes.cells(record)


@dataclass(frozen=True)
class Table:
    """Rows and what their columns mean."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Cell], ...]  # a key that is missing counts as None
    remark: str = ""  # how to read it, one or two sentences
    result: bool = False  # whether the last row is the outcome, and stands out

    @classmethod
    def of(
        cls,
        title: str,
        records: Iterable[Any],
        columns: Iterable[Column],
        remark: str = "",
        *,
        result: bool = False,
    ) -> Table:
        """Make a table with a row for each record, read by the columns."""
        columns = tuple(columns)
        rows = tuple(
            {key: value for column in columns for key, value in column.cells(record).items()}
            for record in records
        )
        return cls(title, columns, rows, remark, result)

    @classmethod
    def of_rows(cls, title: str, rows: Sequence[Mapping[str, Cell]]) -> Table:
        """Make a table for CSV and JSON: every key is a column, ``AP`` a fraction as elsewhere."""
        columns = (Column(key, key, "ap" if key == "AP" else "text") for key in rows[0])
        return cls(title, tuple(columns), tuple(rows))

    def class_line(self) -> list[str]:
        """The line below the headings: "classes", then each column's number or ""; else empty."""
        line = ["" if c.classes is None else f"{c.classes:,}" for c in self.columns]
        return ["classes", *line[1:]] if any(line) else []

    def marks(self, place: int) -> bool:
        """Whether a row stands out, as the outcome of those above it."""
        return self.result and 0 < place == len(self.rows) - 1

    def texts(self) -> list[list[str]]:
        """Format every cell; one with another number of classes than its heading has that too."""

        def text(column: Column, row: Mapping[str, Cell]) -> str:
            own = column.own_classes(row)
            return f"{column.text(row)} ({own})" if own else column.text(row)

        return [[text(column, row) for column in self.columns] for row in self.rows]


@dataclass(frozen=True)
class ReportClass:
    """One class of the class order."""

    category_id: int
    name: str  # as the annotation file has it, unescaped
    instances: int  # in training
    images: int  # in training
    phase: int  # that learns it


@dataclass(frozen=True)
class ReportPhase:
    """What one finished phase was trained on, and how long it took; None where not recorded."""

    phase: int
    classes: int  # that arrived in it
    entries: int  # of its training set, replay included
    replay_entries: int  # those of them that replay an old class
    iterations: int
    seconds: float | None = None  # training time
    note: str = ""  # what a reader of its numbers should know, in a few words
    new_rows: str | None = None  # origin of its classes' first classifier rows; None for the base
    image_passes: int | None = None  # images shown in training, one seen twice counted twice


@dataclass(frozen=True)
class ReplayBalance:
    """Training instances of every seen class, in all images and in a phase's training set D_t."""

    phase: int
    before: Sequence[float]  # of each seen class in all its images, in class order
    after: Sequence[float]  # likewise those that count in the images of D_t, in its first epoch
    old: int  # how many of these classes are old; the rest are new
    replay: str = "balanced"  # `step.replay`, or the sampler that shows all seen classes instead
    pasted: Sequence[float] = ()  # in D_t and pasted into its images; empty where nothing is


def format_classes(count: int, kind: str = "") -> str:
    """Print a number of classes, such as "1 base class" or "1,230 classes"."""
    return f"{count:,} {kind}{'class' if count == 1 else 'classes'}"


def format_seconds(seconds: float) -> str:
    """Print a duration in its two largest units, such as "1 h 04 min" or "12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours = minutes // 60
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def phase_name(phase: int) -> str:
    """Name a phase as tables and plots do; 0 is "base"."""
    return "base" if phase == 0 else str(phase)


def _format_change(value: float) -> str:
    text = f"{100 * value:+.1f}"
    # What rounds to nothing has no direction.
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")


_FORMATS: dict[Kind, Callable[[Any], str]] = {
    "text": "{:,.0f}".format,  # a number in a column of texts
    "phase": phase_name,
    "id": str,
    "integer": "{:,.0f}".format,
    "number": "{:,.1f}".format,
    "ap": lambda value: f"{100 * value:.1f}",
    "change": _format_change,
    "share": "{:.2f}".format,
    "seconds": format_seconds,
}


def format_value(kind: Kind, value: Cell) -> str:
    """Print one raw value; what is missing is an en dash.

    Example:
        >>> format_value("ap", 0.2279)
        '22.8'
    """
    if value is None:
        return MISSING
    return value if isinstance(value, str) else _FORMATS[kind](value)


def bin_heading(name: str) -> str:
    """Spell a bin's name as printed: ">=1000" as "≥1000", "10-99" with an en dash."""
    return name.replace(">=", "≥").replace("-", MISSING)


def bins_in_order(metrics: Sequence[Metrics]) -> list[BinMetrics]:
    """Every bin of any evaluation once, rarest first, as the newest evaluation has it."""
    found = {_range(entry): entry for metric in metrics for entry in metric.segm.bins}
    return sorted(found.values(), key=lambda one: (one.low, one.high or math.inf))


def find_bin(metric: Metrics, wanted: BinMetrics) -> BinMetrics | None:
    """The same bin in another phase's metrics."""
    return next((one for one in metric.segm.bins if _range(one) == _range(wanted)), None)


def _range(entry: BinMetrics) -> tuple[str, int, int | None]:
    return entry.bin, entry.low, entry.high


def classes_with_ground_truth(metric: Metrics) -> int:
    """Count the seen classes whose AP the means are over."""
    return sum(group.with_ground_truth for group in metric.segm.groups)


def with_joint(table: Table, joint: bool) -> Table:
    """Call phase 0 "joint" where all classes are learned in it, and none of them old or new."""
    if not joint:
        return table
    rows = tuple({**row, "phase": "joint"} if row.get("phase") == 0 else row for row in table.rows)
    columns = tuple(column for column in table.columns if column.key not in ("old", "new"))
    return replace(table, rows=rows, columns=columns)


PHASE = Column("phase", "phase", "phase", description="0 is base")


def _mask_column(name: str, description: str, heading: str = "") -> Column:
    """Make the column of one of the masks' means in `Metrics`."""
    heading = heading or name
    return Column(name, heading, get=lambda one: getattr(one.segm, name), description=description)


def _bin_column(entry: BinMetrics, last: Metrics) -> Column:
    """Make the column of a bin's AP, with the number of classes behind each cell."""

    def read(name: str) -> Callable[[Metrics], Any]:
        return lambda metric: getattr(find_bin(metric, entry), name, None)

    count = read("with_ground_truth")
    return Column(
        f"AP({entry.bin})",
        bin_heading(entry.bin),
        get=read("AP"),
        classes=count(last),
        row_classes=Column(f"classes({entry.bin})", "", "integer", count),
        description=f"mask AP of classes with {_range_text(entry)}",
    )


def binned_table(metrics: Sequence[Metrics]) -> Table:
    """Make the main table: a row for each evaluated phase, Table 1's columns, old and new."""

    def classes_seen(metric: Metrics) -> int:
        return sum(group.classes for group in metric.segm.groups)

    seen, scored = "classes learned so far", "those of them with ground truth"
    box_ap = "box AP of all scored classes"
    columns = (
        PHASE,
        Column("seen", "seen", "integer", classes_seen, description=seen),
        Column("scored", "scored", "integer", classes_with_ground_truth, description=scored),
        *(_bin_column(entry, metrics[-1]) for entry in bins_in_order(metrics)),
        _mask_column("AP", "mask AP of all scored classes"),
        _mask_column("AP50", "mask AP at IoU 0.5"),
        _mask_column("AP75", "mask AP at IoU 0.75"),
        Column("box AP", "box AP", get=lambda metric: metric.bbox.AP, description=box_ap),
        _mask_column("old", "mask AP of the classes of earlier phases"),
        _mask_column("new", "mask AP of the classes of this phase"),
    )
    return Table.of(
        "Mask AP by training instances, after each phase",
        metrics,
        columns,
        "AP in percent. Bins count training instances and overlap on purpose. The line under the "
        "headings counts a bin's classes with ground truth after the last phase; a number in "
        "brackets is that count where an earlier phase has seen fewer of them. Scored are the seen "
        "classes with ground truth: AP, AP50, AP75 and box AP are over these.",
        result=True,
    )


def _range_text(entry: BinMetrics) -> str:
    if entry.high is None:
        return f"{entry.low} or more training instances"
    if entry.high == entry.low + 1:
        return f"{entry.low} training instance{'' if entry.low == 1 else 's'}"
    return f"{entry.low} to {entry.high - 1} training instances"


def groups_table(metrics: Sequence[Metrics]) -> Table:
    """Make the table of forgetting: a row a phase, a column for the classes that a phase added."""
    last = metrics[-1]
    seen = replace(_mask_column("all", "", "all seen"), classes=classes_with_ground_truth(last))
    return Table.of(
        "AP of each phase's classes over time",
        metrics,
        (Column("phase", "after phase", "phase"), *map(_group_column, last.segm.groups), seen),
        "Mask AP of the classes that each phase added. Each column shows, from top to bottom, how "
        "it changes over the later phases.",
        result=True,
    )


def _group_column(group: GroupMetrics) -> Column:
    phase = group.phase
    return Column(
        f"AP(phase {phase})",
        "base classes" if phase == 0 else f"of phase {phase}",
        get=lambda metric: None if metric.phase < phase else metric.segm.groups[phase].AP,
        classes=group.with_ground_truth,
        description=f"mask AP of the {group.classes} classes of phase {phase}",
    )


def sizes_table(metrics: Sequence[Metrics]) -> Table:
    """Make the table of the remaining averages: object sizes, image frequencies, recall."""
    means = {
        "APs": "objects below 32² pixels",
        "APm": "objects from 32² to 96² pixels",
        "APl": "objects from 96² pixels",
        "APr": "rare classes: at most 10 training images",
        "APc": "common classes: 11 to 100 training images",
        "APf": "frequent classes: more than 100 training images",
        "AR": "average recall",
    }
    return Table.of(
        "By object size and by image frequency",
        metrics,
        (PHASE, *(_mask_column(name, text) for name, text in means.items())),
        "Mask AP. Small, medium and large by area in pixels; rare, common and frequent are LVIS's "
        "classes by training images.",
        result=True,
    )


def class_table(classes: Sequence[ReportClass], metrics: Sequence[Metrics]) -> Table:
    """Make the table of every class in class order, with its AP when learned and now."""
    by_phase = {metric.phase: metric.segm.per_class for metric in comparable(metrics)}
    last = metrics[-1]
    rows = []
    for rank, record in enumerate(classes, start=1):
        then = by_phase.get(record.phase, {}).get(record.category_id)
        now = last.segm.per_class.get(record.category_id)
        change = None if then is None or now is None else now - then
        row: dict[str, Cell] = {"rank": rank, "class": record.name, "learned": then, "AP": now}
        row |= {"change": change, "box AP": last.bbox.per_class.get(record.category_id)}
        rows.append(vars(record) | row)
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
