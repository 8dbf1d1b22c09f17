"""The table over all runs of a sweep: the layout of Tables 1 to 3, means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import fmean, stdev
from typing import Any, cast

from lst_cli.ap.metrics import BinMetrics, Metrics
from lst_cli.compare.paired import Setting
from lst_cli.display.markup import escape_markdown, render_markdown
from lst_cli.display.tables import (
    Cell,
    Column,
    Table,
    bin_heading,
    bins_in_order,
    find_bin,
    format_integer,
    format_seconds,
)

FORMAT = 1
"""Version of `sweep.json`."""


@dataclass(frozen=True)
class SeedResult:
    """A finished run with one seed.

    Attributes:
        seed: The seed.
        workspace: Where it lies.
        metrics: Of the model of its last phase.
        image_passes: Images that all its phases showed, one seen twice counted twice.
        iterations: Optimizer updates of all its phases.
        seconds: Training time of all its phases.
        shares_base: Whether its base phase was trained for several runs; its passes and its time
            count in each of them.
    """

    seed: int
    workspace: str
    metrics: Metrics
    image_passes: int
    iterations: int
    seconds: float
    shares_base: bool


@dataclass(frozen=True)
class RunResult:
    """A run with all its seeds.

    Attributes:
        name: Its short name.
        label: What the table calls it.
        kind: `lst` or `joint`.
        planned: How many seeds it is to have.
        seeds: Those that are finished.
        same_as: What the table calls the run that it is the same as, and whose results it has;
            mostly empty.
        differs: In what it differs from the first run of its kind.
        differs_from: What the table calls that run.
    """

    name: str
    label: str
    kind: str
    planned: int
    seeds: tuple[SeedResult, ...]
    same_as: str = ""
    differs: tuple[Setting, ...] = ()
    differs_from: str = ""


@dataclass(frozen=True)
class SweepResults:
    """The results of a sweep so far.

    Attributes:
        plan: The plan's short name.
        title: Caption of the table.
        runs: In the order of the table.
        failed: Name, error and hint of what failed.
        left_out: Directories of runs that are not in the table.
    """

    plan: str
    title: str
    runs: tuple[RunResult, ...]
    failed: tuple[tuple[str, str, str], ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def seeds(self) -> list[SeedResult]:
        """All seeds of all runs."""
        return [one for run in self.runs for one in run.seeds]


@dataclass(frozen=True)
class Spread:
    """A number over several seeds.

    Attributes:
        mean: Its mean; None if no seed has it.
        sd: Standard deviation of a sample; None for fewer than two seeds.
        seeds: How many seeds have it.
    """

    mean: float | None
    sd: float | None
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


def measure_run(run: RunResult, columns: Sequence[Column]) -> dict[str, Spread]:
    """Every number of a run over its seeds, by the key of its column."""
    cells = [(one.key, [one.cells(seed)[one.key] for seed in run.seeds]) for one in columns]
    return {key: spread_of(cast("list[float | None]", found)) for key, found in cells}


def sweep_table(results: SweepResults, *, narrow: bool = False) -> Table:
    """Make the table for reading: a row a run, mean ± standard deviation where there are seeds.

    Args:
        results: The sweep.
        narrow: Whether to leave out AP75 and box AP, for a terminal.
    """
    metrics = [one.metrics for one in results.seeds if one.metrics.phase]
    left_out = ["AP75", "box AP"] if narrow else []
    # Old and new classes are compared only where they are the same in all runs.
    if len({tuple(group.classes for group in one.segm.groups) for one in metrics}) != 1:
        left_out += ["old", "new"]
    found = number_columns(results)
    rows = [_readable_row(run, measure_run(run, found)) for run in results.runs]
    columns = [
        Column("run", "run", "text"),
        *(one for one in found if one.kind == "ap" and one.key not in left_out),
        Column("image passes", "image passes", "integer", description="in training, all phases"),
        Column("time", "time", "text", description="of training, all phases"),
        Column("seeds", "seeds", "text"),
    ]
    return Table(results.title, tuple(columns), tuple(rows), _remark(results))


def sweep_numbers(results: SweepResults) -> Table:
    """Make the table for programs: a row a run, every number with its standard deviation."""
    found = _known_columns(results)
    columns = [Column("run", "run", "text"), Column("kind", "kind", "text")]
    columns += [Column("seeds", "seeds", "integer"), Column("planned", "planned", "integer")]
    for one in found:
        columns.append(one)
        if one.kind == "ap":
            columns.append(Column(f"{one.key} sd", f"{one.heading} sd"))
    columns.append(Column("differs", "differs", "text"))
    rows = []
    for run in results.runs:
        row: dict[str, Cell] = {
            "run": run.name,
            "kind": run.kind,
            "seeds": len(run.seeds),
            "planned": run.planned,
            "differs": "; ".join(map(str, run.differs)),
        }
        for key, spread in measure_run(run, found).items():
            whole = key != "hours" and spread.mean and spread.mean.is_integer()
            row |= {key: round(spread.mean or 0) if whole else spread.mean, f"{key} sd": spread.sd}
        rows.append(row)
    return Table(results.title, tuple(columns), tuple(rows))


def seed_numbers(results: SweepResults) -> Table:
    """Make the table for programs in which every seed of every run has a row."""
    found = _known_columns(results)
    columns = (Column("run", "run", "text"), Column("seed", "seed", "id"), *found)
    rows: list[dict[str, Cell]] = []
    for run in results.runs:
        for seed in run.seeds:
            rows.append({"run": run.name, "seed": seed.seed})
            for one in found:
                rows[-1] |= one.cells(seed)
    return Table(results.title, columns, tuple(rows))


def difference_lines(results: SweepResults) -> list[str]:
    """A sentence for each run that is another, or differs from the first of its kind."""
    twins = [f"{run.label} is the same run as {run.same_as}" for run in results.runs if run.same_as]
    return twins + [
        f"{run.label} differs from {run.differs_from}: {'; '.join(map(str, run.differs))}"
        for run in results.runs
        if run.differs
    ]


def left_out_line(names: Sequence[str]) -> str:
    """A sentence about directories of runs that are not in the table."""
    return (
        f"Not in the table, as they are unfinished or of another plan, settings or data: "
        f"{', '.join(names)}"
    )


def render_sweep_markdown(results: SweepResults) -> str:
    """The table as a Markdown page, with what differs between the runs and what failed."""
    table = sweep_table(results)
    parts = [f"# {escape_markdown(results.title)}", render_markdown(table).rstrip()]
    parts.append(escape_markdown(table.remark))
    if lines := difference_lines(results):
        parts += ["## What differs", _markdown_list(lines)]
    if results.left_out:
        parts.append(escape_markdown(left_out_line(results.left_out)))
    if results.failed:
        failed = [f"{name}: {why}" for name, why, _ in results.failed]
        parts += ["## What failed", _markdown_list(failed)]
    return "\n\n".join(parts) + "\n"


def sweep_record(results: SweepResults) -> dict[str, Any]:
    """Everything for scripts: AP as fractions, every seed by itself."""
    columns = number_columns(results)
    runs = []
    for run in results.runs:
        record = asdict(run)
        record["numbers"] = {k: asdict(spread) for k, spread in measure_run(run, columns).items()}
        record["differs"] = [one.model_dump(mode="json") for one in run.differs]
        for seed in record["seeds"]:
            seed["metrics"] = seed["metrics"].model_dump(mode="json")
        runs.append(record)
    failed = [dict(zip(("name", "error", "hint"), one, strict=True)) for one in results.failed]
    return {"format": FORMAT, **asdict(results), "runs": runs, "failed": failed}


def number_columns(results: SweepResults) -> list[Column]:
    """The columns of AP and of what training took; each reads its number from a `SeedResult`."""

    def ap_of(name: str) -> Column:
        return Column(name, name, get=lambda one: getattr(one.metrics.segm, name))

    found = [
        Column(
            f"AP({entry.bin})",
            bin_heading(entry.bin),
            get=partial(_bin_ap, entry),
            classes=entry.with_ground_truth,
            description="mask AP by training instances",
        )
        for entry in bins_in_order([one.metrics for one in results.seeds])
    ]
    found += map(ap_of, ("AP", "AP50", "AP75", "APr", "APc", "APf"))
    return [
        *found,
        Column("box AP", "box AP", get=lambda one: one.metrics.bbox.AP),
        replace(ap_of("old"), description="classes of phases before the last"),
        # Where all classes are learned at once, none of them is new.
        Column(
            "new",
            "new",
            get=lambda one: one.metrics.segm.new if one.metrics.phase else None,
            description="classes of the last phase",
        ),
        Column("image passes", "image passes", "number", lambda one: one.image_passes),
        Column("iterations", "iterations", "number"),
        Column("hours", "hours", "number", lambda one: one.seconds / 3600),
    ]


def _known_columns(results: SweepResults) -> list[Column]:
    """Without old and new classes where no run has phases."""
    phases = any(one.metrics.segm.old is not None for one in results.seeds)
    return [one for one in number_columns(results) if phases or one.key not in ("old", "new")]


def _bin_ap(wanted: BinMetrics, one: SeedResult) -> float | None:
    entry = find_bin(one.metrics, wanted)
    return entry.AP if entry else None


def _readable_row(run: RunResult, measured: Mapping[str, Spread]) -> dict[str, Cell]:
    hours, done = measured["hours"].mean, len(run.seeds)
    return {
        **{key: _ap_text(spread) for key, spread in measured.items()},
        "run": run.label,
        "image passes": measured["image passes"].mean,
        "time": None if hours is None else format_seconds(3600 * hours),
        "seeds": str(done) if done == run.planned else f"{done} of {run.planned}",
    }


def _ap_text(spread: Spread) -> str | None:
    if spread.mean is None:
        return None
    text = f"{100 * spread.mean:.1f}"
    return text if spread.sd is None else f"{text} ± {100 * spread.sd:.1f}"


def _markdown_list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


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
        sentences.append(
            f"The runs show {format_integer(min(passes))} to {format_integer(max(passes))} images."
        )
    return " ".join(sentences)
