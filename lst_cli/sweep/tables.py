"""The table over all runs of a sweep: the layout of Tables 1 to 3, means over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import attrgetter
from statistics import fmean, stdev
from typing import Any, Protocol, cast

from lst_cli.ap.metrics import BinMetrics, Metrics, Record
from lst_cli.compare.paired import Setting
from lst_cli.display.markup import escape_markdown, render_markdown
from lst_cli.display.tables import (
    Cell,
    Column,
    Table,
    bin_heading,
    bins_in_order,
    find_bin,
    format_seconds,
    format_value,
)

FORMAT = 1
"""Version of `sweep.json`."""

_PASSES = Column(
    "image passes",
    "image passes",
    "number",
    lambda seed: seed.image_passes,
    description="in training, all phases",
)
_HOURS = Column("hours", "hours", "number", lambda seed: seed.seconds / 3600)


class SeedResult(Record):
    """A finished run with one seed; the counts are over all its phases."""

    seed: int
    workspace: str
    metrics: Metrics  # of the model of its last phase
    image_passes: int  # an image seen twice counts twice
    iterations: int
    seconds: float
    shares_base: bool  # its base phase serves several runs, and counts in each of them

    @property
    def sentence(self) -> str:
        """The result in a few words."""
        ap, time = format_value("ap", self.metrics.segm.AP), format_seconds(self.seconds)
        return f"AP {ap}, {self.image_passes:,} image passes in {time}"


class RunResult(Record):
    """A run with all its seeds."""

    name: str
    label: str  # in tables
    kind: str
    planned: int  # seeds
    seeds: tuple[SeedResult, ...]  # those that are finished
    same_as: str = ""  # label of the run that it is the same as, and whose results it has
    differs: tuple[Setting, ...] = ()  # from the first run of its kind
    differs_from: str = ""  # label of that run

    @property
    def difference(self) -> str:
        """In what it differs, in one line."""
        return "; ".join(map(str, self.differs))


class Failure(Record):
    """What went wrong in a run."""

    name: str
    error: str
    hint: str = ""


class SweepResults(Record):
    """The results of a sweep so far."""

    plan: str
    title: str
    runs: tuple[RunResult, ...]
    failed: tuple[Failure, ...] = ()
    left_out: tuple[str, ...] = ()  # directories of runs that are not in the table

    @property
    def seeds(self) -> list[SeedResult]:
        """All seeds of all runs."""
        return [one for run in self.runs for one in run.seeds]


@dataclass(frozen=True)
class Spread:
    """A number over several seeds."""

    mean: float | None  # None if no seed has it
    sd: float | None  # standard deviation of a sample; None for fewer than two seeds
    seeds: int


def spread_of(values: Sequence[float | None]) -> Spread:
    """Mean and standard deviation of what is known.

    Example:
        >>> spread_of([0.25, 0.75, None])
        Spread(mean=0.5, sd=0.3535533905932738, seeds=2)
    """
    known = [value for value in values if value is not None]
    return Spread(
        fmean(known) if known else None, stdev(known) if len(known) > 1 else None, len(known)
    )


def sweep_table(results: SweepResults, *, narrow: bool = False) -> Table:
    """Make the table for reading: a row a run, mean ± standard deviation over seeds.

    A `narrow` one, for a terminal, leaves out AP75 and box AP.
    """

    def seeds_done(run: RunResult) -> str:
        done = len(run.seeds)
        return str(done) if done == run.planned else f"{done} of {run.planned}"

    trained = "of training, all phases"
    time = of_mean(lambda hours: format_seconds(3600 * hours))
    metrics = [one.metrics for one in results.seeds if one.metrics.phase]
    left_out = ["AP75", "box AP"] if narrow else []
    # Old and new classes are compared only where they are the same in all runs.
    if len({tuple(group.classes for group in one.segm.groups) for one in metrics}) != 1:
        left_out += ["old", "new"]
    columns = [
        Column("run", "run", "text", lambda run: run.label),
        *(
            over_seeds(one, ap_text)
            for one in number_columns(results)
            if one.kind == "ap" and one.key not in left_out
        ),
        over_seeds(_PASSES, mean_of, kind="integer"),
        over_seeds(_HOURS, time, key="time", heading="time", kind="text", description=trained),
        Column("seeds", "seeds", "text", seeds_done),
    ]
    return Table.of(results.title, results.runs, columns, _remark(results))


def sweep_numbers(results: SweepResults) -> Table:
    """Make the table for programs: a row a run, every number with its standard deviation."""
    columns = [
        Column("run", "run", "text", lambda run: run.name),
        Column("kind", "kind", "text"),
        Column("seeds", "seeds", "integer", lambda run: len(run.seeds)),
        Column("planned", "planned", "integer"),
    ]
    for one in _known_columns(results):
        columns.append(over_seeds(one, (lambda hours: hours.mean) if one is _HOURS else mean_of))
        if one.kind == "ap":
            columns.append(deviation(one))
    columns.append(Column("differs", "differs", "text", lambda run: run.difference))
    return Table.of(results.title, results.runs, columns)


def seed_numbers(results: SweepResults) -> Table:
    """Make the table for programs in which every seed of every run has a row."""
    columns = [
        Column("run", "run", "text", lambda pair: pair[0].name),
        Column("seed", "seed", "id", lambda pair: pair[1].seed),
    ]
    for one in _known_columns(results):
        get = partial(lambda pair, column: _read(column, pair[1]), column=one)
        columns.append(replace(one, get=get))
    pairs = [(run, seed) for run in results.runs for seed in run.seeds]
    return Table.of(results.title, pairs, columns)


def sweep_record(results: SweepResults) -> dict[str, Any]:
    """Give everything for scripts: AP as fractions, every seed by itself."""
    record = results.model_dump(mode="json")
    for run, entry in zip(results.runs, record["runs"], strict=True):
        numbers = {one.key: asdict(spread_in(run, one)) for one in number_columns(results)}
        entry["numbers"] = numbers
    return {"format": FORMAT, **record}


def render_sweep_markdown(results: SweepResults) -> str:
    """Give the table as a Markdown page, with what differs between the runs and what failed."""
    parts = _section("What differs", difference_lines(results))
    if results.left_out:
        parts.append(escape_markdown(left_out_line(results.left_out)))
    return render_page(sweep_table(results), parts, results.failed)


def render_page(table: Table, parts: Sequence[str], failed: Sequence[Failure]) -> str:
    """Give a Markdown page: a table, other parts, and what failed."""
    head = [f"# {escape_markdown(table.title)}", render_markdown(table).rstrip()]
    ends = _section("What failed", [f"{one.name}: {one.error}" for one in failed])
    return "\n\n".join([*head, escape_markdown(table.remark), *parts, *ends]) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    listed = "\n".join(f"- {escape_markdown(line)}" for line in lines)
    return [f"## {title}", listed] if lines else []


def difference_lines(results: SweepResults) -> list[str]:
    """A sentence for each run that is another, or differs from the first of its kind."""
    runs = results.runs
    twins = [f"{run.label} is the same run as {run.same_as}" for run in runs if run.same_as]
    return twins + [
        f"{run.label} differs from {run.differs_from}: {run.difference}"
        for run in runs
        if run.differs
    ]


def left_out_line(names: Sequence[str]) -> str:
    """A sentence about directories of runs that are not in the table."""
    return (
        "Not in the table, as they are unfinished or of another plan, settings or data: "
        f"{', '.join(names)}"
    )


def number_columns(results: SweepResults) -> list[Column]:
    """The columns of AP and of what training took; each reads its number from a `SeedResult`."""

    def ap_of(name: str, description: str = "") -> Column:
        get = attrgetter(f"metrics.segm.{name}")
        return Column(name, name, get=get, description=description)

    def in_bin(entry: BinMetrics) -> Column:
        return Column(
            f"AP({entry.bin})",
            bin_heading(entry.bin),
            get=lambda one: getattr(find_bin(one.metrics, entry), "AP", None),
            classes=entry.with_ground_truth,
            description="mask AP by training instances",
        )

    # Where all classes are learned at once, none of them is new.
    new = replace(
        ap_of("new", "classes of the last phase"),
        get=lambda one: one.metrics.segm.new if one.metrics.phase else None,
    )
    return [
        *map(in_bin, bins_in_order([one.metrics for one in results.seeds])),
        *map(ap_of, ("AP", "AP50", "AP75", "APr", "APc", "APf")),
        Column("box AP", "box AP", get=lambda one: one.metrics.bbox.AP),
        ap_of("old", "classes of phases before the last"),
        new,
        _PASSES,
        Column("iterations", "iterations", "number"),
        _HOURS,
    ]


def _known_columns(results: SweepResults) -> list[Column]:
    """Without old and new classes where no run has phases."""
    phases = any(one.metrics.segm.old is not None for one in results.seeds)
    return [one for one in number_columns(results) if phases or one.key not in ("old", "new")]


def _read(column: Column, seed: Any) -> float | None:
    return cast("float | None", column.cells(seed)[column.key])


class WithSeeds(Protocol):
    """A row: a run, or whatever else has several results."""

    @property
    def seeds(self) -> Sequence[Any]:
        """Its results, which the columns read."""


def spread_in(run: WithSeeds, column: Column) -> Spread:
    """The numbers of a column over the seeds of a run."""
    return spread_of([_read(column, seed) for seed in run.seeds])


def over_seeds(column: Column, read: Callable[[Spread], Cell], **changes: Any) -> Column:
    """The column of runs for one of seeds: what `read` makes of the spread over their seeds."""
    return replace(column, get=lambda run: read(spread_in(run, column)), **changes)


def deviation(column: Column) -> Column:
    """The column of standard deviations for one of seeds."""
    name = {"key": f"{column.key} sd", "heading": f"{column.heading} sd"}
    return over_seeds(column, lambda spread: spread.sd, **name)


def mean_of(spread: Spread) -> float | None:
    """The mean as a whole number where it is one."""
    return round(spread.mean) if spread.mean and spread.mean.is_integer() else spread.mean


def of_mean(show: Callable[[float], str]) -> Callable[[Spread], str | None]:
    """Show the mean alone, where it is known."""
    return lambda spread: None if spread.mean is None else show(spread.mean)


def spread_text(spread: Spread, factor: float = 1) -> str | None:
    """A mean with its standard deviation, both times a factor."""
    if spread.mean is None:
        return None
    text = f"{factor * spread.mean:.1f}"
    return text if spread.sd is None else f"{text} ± {factor * spread.sd:.1f}"


ap_text = partial(spread_text, factor=100)  # in percent


def _remark(results: SweepResults) -> str:
    sentences = [
        "Mask AP in percent, after the last phase; bins count training instances and overlap on "
        "purpose, the line under the headings their classes with ground truth."
    ]
    if any(len(run.seeds) > 1 for run in results.runs):
        sentences.append("Mean ± standard deviation over seeds.")
    if any(one.shares_base for one in results.seeds):
        sentences.append(
            "A base phase that runs share counts in each of them, with its images and its time."
        )
    passes = {one.image_passes for one in results.seeds}
    if len(passes) > 1:
        sentences.append(f"The runs show {min(passes):,} to {max(passes):,} images.")
    return " ".join(sentences)
