"""The table over all runs of a sweep: the layout of Tables 1 to 3, means over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

from lst_cli.ap.metrics import BinMetrics, Metrics
from lst_cli.compare.paired import Setting
from lst_cli.display.markup import escape_markdown, render_csv, render_markdown
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
from lst_cli.text import json_text

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
        same_as: What the table calls the run that it is the very same as, and whose results it
            has; empty, as a rule.
        differs: In what it differs from the first finished run of its kind.
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
    """Everything a sweep has come to so far.

    Attributes:
        plan: The plan's short name.
        title: Caption of the table.
        runs: In the order of the table.
        failed: Name, error and hint of what failed.
        left_out: Names of runs with seeds that are there and not finished as planned.
    """

    plan: str
    title: str
    runs: tuple[RunResult, ...]
    failed: tuple[tuple[str, str, str], ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether any run is finished."""
        return any(run.seeds for run in self.runs)


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


def measure_run(run: RunResult, bins: Sequence[BinMetrics]) -> dict[str, Spread]:
    """Every number of a run over its seeds, by the key of its column."""
    found: dict[str, Spread] = {}

    def add(key: str, get: Callable[[SeedResult], float | None]) -> None:
        found[key] = spread_of([get(one) for one in run.seeds])

    for entry in bins:
        add(f"AP({entry.bin})", lambda one, entry=entry: _bin_ap(one.metrics, entry))  # type: ignore[misc]
    for name in ("AP", "AP50", "AP75", "APr", "APc", "APf", "old"):
        add(name, lambda one, name=name: getattr(one.metrics.segm, name))  # type: ignore[misc]
    # Where all classes are learned at once, none of them is new.
    add("new", lambda one: None if one.metrics.phase == 0 else one.metrics.segm.new)
    add("box AP", lambda one: one.metrics.bbox.AP)
    add("image passes", lambda one: one.image_passes)
    add("iterations", lambda one: one.iterations)
    add("hours", lambda one: one.seconds / 3600)
    return found


def sweep_table(results: SweepResults, *, narrow: bool = False) -> Table:
    """Make the table for reading: a row a run, mean ± standard deviation where there are seeds.

    Args:
        results: The sweep.
        narrow: Whether to leave out AP75 and box AP, for a terminal.
    """
    bins = _bins(results)
    left_out = ("AP75", "box AP") if narrow else ()
    if not _same_phases(results):
        left_out = (*left_out, "old", "new")
    rows = []
    for run in results.runs:
        numbers = measure_run(run, bins)
        row: dict[str, Cell] = {"run": run.label, "seeds": _seeds_text(run)}
        row |= {key: _ap_text(numbers[key]) for key in _ap_keys(bins)}
        passes, hours = numbers["image passes"].mean, numbers["hours"].mean
        row["image passes"] = passes
        row["time"] = None if hours is None else format_seconds(3600 * hours)
        rows.append(row)
    columns = [
        Column("run", "run", "text"),
        *(one for one in _ap_columns(results, bins) if one.key not in left_out),
        Column("image passes", "image passes", "integer", description="in training, all phases"),
        Column("time", "time", "text", description="of training, all phases"),
        Column("seeds", "seeds", "text"),
    ]
    return Table(results.title, tuple(columns), tuple(rows), _remark(results))


def sweep_numbers(results: SweepResults) -> Table:
    """Make the table for programs: a row a run, every number with its standard deviation."""
    bins = _bins(results)
    ap = _ap_columns(results, bins)
    columns = [Column("run", "run", "text"), Column("kind", "kind", "text")]
    columns += [Column("seeds", "seeds", "integer"), Column("planned", "planned", "integer")]
    for column in ap:
        columns += [column, Column(f"{column.key} sd", f"{column.heading} sd")]
    for key in ("image passes", "iterations", "hours"):
        columns.append(Column(key, key, "number"))
    columns.append(Column("differs", "differs", "text"))
    rows = []
    for run in results.runs:
        numbers = measure_run(run, bins)
        row: dict[str, Cell] = {
            "run": run.name,
            "kind": run.kind,
            "seeds": len(run.seeds),
            "planned": run.planned,
            "differs": "; ".join(map(str, run.differs)),
        }
        for key, spread in numbers.items():
            mean = spread.mean
            counted = key in ("image passes", "iterations")
            whole = counted and mean is not None and mean.is_integer()
            row |= {key: round(mean) if whole and mean else mean, f"{key} sd": spread.sd}
        rows.append(row)
    return Table(results.title, tuple(columns), tuple(rows))


def seed_numbers(results: SweepResults) -> Table:
    """Make the table for programs in which every seed of every run has a row."""
    bins = _bins(results)
    columns = [
        Column("run", "run", "text"),
        Column("seed", "seed", "id"),
        *_ap_columns(results, bins),
        *(Column(key, key, "number") for key in ("image passes", "iterations", "hours")),
    ]
    rows: list[dict[str, Cell]] = [
        {
            "run": run.name,
            "seed": one.seed,
            **{key: spread.mean for key, spread in numbers.items()},
            "image passes": one.image_passes,
            "iterations": one.iterations,
        }
        for run in results.runs
        for one in run.seeds
        for numbers in [measure_run(replace(run, seeds=(one,)), bins)]
    ]
    return Table(results.title, tuple(columns), tuple(rows))


def difference_lines(results: SweepResults) -> list[str]:
    """A sentence for each run that is another, or differs from the first of its kind."""
    twins = [f"{run.label} is the same run as {run.same_as}" for run in results.runs if run.same_as]
    return twins + [
        f"{run.label} differs from {run.differs_from}: {'; '.join(map(str, run.differs))}"
        for run in results.runs
        if run.differs
    ]


def left_out_line(names: Sequence[str]) -> str:
    """A sentence about seeds that are there and not in the table."""
    return f"Not in the table, being unfinished or evaluated otherwise: {', '.join(names)}"


def render_sweep_csv(results: SweepResults) -> str:
    """The table for programs as CSV."""
    return render_csv(sweep_numbers(results))


def render_seeds_csv(results: SweepResults) -> str:
    """The table of every seed as CSV."""
    return render_csv(seed_numbers(results))


def render_sweep_markdown(results: SweepResults) -> str:
    """The table as a Markdown page, with what differs between the runs and what failed."""
    table = sweep_table(results)
    parts = [f"# {escape_markdown(results.title)}", render_markdown(table).rstrip()]
    if table.remark:
        parts.append(escape_markdown(table.remark))
    if lines := difference_lines(results):
        parts.append("## What differs")
        parts.append("\n".join(f"- {escape_markdown(line)}" for line in lines))
    if results.left_out:
        parts.append(escape_markdown(left_out_line(results.left_out)))
    if results.failed:
        parts.append("## What failed")
        parts.append(
            "\n".join(f"- {escape_markdown(f'{name}: {why}')}" for name, why, _ in results.failed)
        )
    return "\n\n".join(parts) + "\n"


def sweep_record(results: SweepResults) -> dict[str, Any]:
    """Everything for scripts: AP as fractions, every seed by itself."""
    bins = _bins(results)
    return {
        "format": FORMAT,
        "plan": results.plan,
        "title": results.title,
        "runs": [
            {
                "name": run.name,
                "label": run.label,
                "kind": run.kind,
                "planned": run.planned,
                "numbers": {key: asdict(spread) for key, spread in measure_run(run, bins).items()},
                "same_as": run.same_as,
                "differs": [one.model_dump(mode="json") for one in run.differs],
                "differs_from": run.differs_from,
                "seeds": [
                    {**asdict(one), "metrics": one.metrics.model_dump(mode="json")}
                    for one in run.seeds
                ],
            }
            for run in results.runs
        ],
        "failed": [
            {"name": name, "error": error, "hint": hint} for name, error, hint in results.failed
        ],
        "left_out": list(results.left_out),
    }


def render_sweep_json(results: SweepResults) -> str:
    """`sweep_record` as text."""
    return json_text(sweep_record(results)) + "\n"


def _same_phases(results: SweepResults) -> bool:
    """Whether old and new classes are the same in all runs that have phases."""
    metrics = [one.metrics for run in results.runs for one in run.seeds if one.metrics.phase]
    return len({tuple(group.classes for group in one.segm.groups) for one in metrics}) <= 1


def _bins(results: SweepResults) -> list[BinMetrics]:
    metrics = [one.metrics for run in results.runs for one in run.seeds]
    return bins_in_order(metrics)


def _bin_ap(metrics: Metrics, wanted: BinMetrics) -> float | None:
    entry = find_bin(metrics, wanted)
    return entry.AP if entry else None


def _ap_columns(results: SweepResults, bins: Sequence[BinMetrics]) -> list[Column]:
    columns = [
        Column(
            f"AP({entry.bin})",
            bin_heading(entry.bin),
            classes=entry.with_ground_truth,
            description="mask AP by training instances",
        )
        for entry in bins
    ]
    columns += [Column(name, name) for name in ("AP", "AP50", "AP75", "APr", "APc", "APf")]
    columns.append(Column("box AP", "box AP"))
    if any(one.metrics.segm.old is not None for run in results.runs for one in run.seeds):
        columns.append(Column("old", "old", description="classes of phases before the last"))
        columns.append(Column("new", "new", description="classes of the last phase"))
    return columns


def _ap_keys(bins: Sequence[BinMetrics]) -> list[str]:
    names = ("AP", "AP50", "AP75", "APr", "APc", "APf", "box AP", "old", "new")
    return [*(f"AP({entry.bin})" for entry in bins), *names]


def _ap_text(spread: Spread) -> str | None:
    if spread.mean is None:
        return None
    text = f"{100 * spread.mean:.1f}"
    return text if spread.sd is None or math.isnan(spread.sd) else f"{text} ± {100 * spread.sd:.1f}"


def _seeds_text(run: RunResult) -> str:
    done = len(run.seeds)
    return str(done) if done == run.planned else f"{done} of {run.planned}"


def _remark(results: SweepResults) -> str:
    several = any(len(run.seeds) > 1 for run in results.runs)
    shared = any(one.shares_base for run in results.runs for one in run.seeds)
    sentences = [
        "Mask AP in percent, after the last phase; bins count training instances and overlap on "
        "purpose, the line under the headings their classes with ground truth."
    ]
    if several:
        sentences.append("Mean ± standard deviation over seeds.")
    if shared:
        sentences.append(
            "A base phase that runs share counts in each of them, with its images and its time."
        )
    passes = {one.image_passes for run in results.runs for one in run.seeds}
    if len(passes) > 1:
        sentences.append(
            f"The runs show {format_integer(min(passes))} to {format_integer(max(passes))} images."
        )
    return " ".join(sentences)
