"""What the finished runs of a sweep came to, gathered from their workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lst_cli.compare.paired import Setting
from lst_cli.compare.run_settings import find_differences
from lst_cli.errors import LstError
from lst_cli.sweep.jobs import Job, Sweep
from lst_cli.sweep.state import find_metrics, refuse_another
from lst_cli.sweep.tables import (
    RunResult,
    SeedResult,
    SweepResults,
    render_seeds_csv,
    render_sweep_csv,
    render_sweep_json,
    render_sweep_markdown,
)
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.layout import SweepLayout
from lst_cli.workspace.store import Workspace


def gather_results(sweep: Sweep, failed: Sequence[tuple[str, LstError]] = ()) -> SweepResults:
    """Read the results of all runs of the plan, also of those that were not selected this time.

    Seeds that an earlier sweep finished in the same directory belong to it: so seeds can be added
    one by one.

    A workspace that does not fit the plan counts as one that is not finished.

    Args:
        sweep: The sweep.
        failed: Names and errors of what failed this time.
    """
    runs = []
    firsts: dict[str, list[Job]] = {}
    for run in sweep.plan.runs:
        asked = [job for job in sweep.every if job.run is not None and job.run.name == run.name]
        more = [job for job in sweep.earlier if job.run is not None and job.run.name == run.name]
        known = {job.name: result for job in (*asked, *more) if (result := read_result(job))}
        # Seeds of another time count once they are finished.
        jobs = sorted(
            (*asked, *(job for job in more if job.name in known)), key=lambda job: job.seed
        )
        results = [(job, known[job.name]) for job in jobs if job.name in known]
        finished = [job for job, _ in results]
        first = firsts.setdefault(run.kind, finished) if finished else []
        runs.append(
            RunResult(
                name=run.name,
                label=run.title,
                kind=run.kind,
                planned=len(jobs),
                seeds=tuple(result for _, result in results),
                same_as=", ".join(dict.fromkeys(_titles(sweep, jobs))),
                differs=_differences(first, finished),
                differs_from=first[0].run.title if first and first[0].run else "",
            )
        )
    return SweepResults(
        plan=sweep.plan.name,
        title=sweep.plan.title or f"The runs of {sweep.plan.name}",
        runs=tuple(runs),
        failed=tuple((name, error.message, error.hint or "") for name, error in failed),
        left_out=tuple(unfinished_seeds(sweep)),
    )


def unfinished_seeds(sweep: Sweep) -> list[str]:
    """Names of runs with seeds of another time that are not in the table."""
    there = [job for job in sweep.earlier if not job.same_as and job.root.exists()]
    return [job.name for job in there if read_result(job) is None]


def read_result(job: Job) -> SeedResult | None:
    """The result of a run with one seed; None if it is not finished, or is not that run."""
    workspace = Workspace(job.root)
    last = len(job.phases) - 1
    try:
        refuse_another(job)
        if not workspace.layout.split.exists() or last not in workspace.done_phases():
            return None
        metrics = find_metrics(job, last)
        manifests = [workspace.require_done(phase) for phase in range(last + 1)]
    except LstError:
        return None
    if metrics is None:
        return None
    return SeedResult(
        seed=job.seed,
        workspace=str(job.root),
        metrics=metrics,
        image_passes=sum(manifest.image_passes for manifest in manifests),
        iterations=sum(manifest.iterations for manifest in manifests),
        seconds=sum(manifest.seconds or 0.0 for manifest in manifests),
        shares_base=manifests[0].shared_from is not None,
    )


def write_results(results: SweepResults, layout: SweepLayout) -> list[Path]:
    """Write the table as Markdown, CSV and JSON, and every seed by itself as CSV.

    Raises:
        LstError: If a file cannot be written.
    """
    write_text(layout.csv, render_sweep_csv(results))
    write_text(layout.seeds_csv, render_seeds_csv(results))
    write_text(layout.json, render_sweep_json(results))
    write_text(layout.markdown, render_sweep_markdown(results))
    return [layout.markdown, layout.csv, layout.seeds_csv, layout.json]


def _titles(sweep: Sweep, jobs: Sequence[Job]) -> list[str]:
    """What tables call the runs in whose directories these jobs lie."""
    by_name = {job.name: job for job in (*sweep.every, *sweep.earlier)}
    found = [by_name[job.same_as].run for job in jobs if job.same_as]
    return [run.title for run in found if run is not None]


def _differences(first: Sequence[Job], this: Sequence[Job]) -> tuple[Setting, ...]:
    """In what a run differs from the first of its kind, as the manifests have it."""
    if not first or not this or first[0].root == this[0].root:
        return ()
    seeds = [(a, b) for a in first for b in this if a.seed == b.seed] or [(first[0], this[0])]
    one, other = ((Workspace(job.root), len(job.phases) - 1) for job in seeds[0])
    return tuple(
        setting
        for setting in find_differences(one, other)
        if setting.key != "seed" and not setting.key.startswith("eval.bins")
    )
