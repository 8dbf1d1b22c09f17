"""The results of the finished runs of a sweep, gathered from their workspaces."""

from __future__ import annotations

from collections.abc import Sequence

from lst_cli.display.markup import render_csv
from lst_cli.errors import LstError
from lst_cli.sweep.jobs import Job, Sweep, run_differences
from lst_cli.sweep.state import done_phases, find_metrics
from lst_cli.sweep.tables import (
    RunResult,
    SeedResult,
    SweepResults,
    render_sweep_markdown,
    seed_numbers,
    sweep_numbers,
    sweep_record,
)
from lst_cli.text import json_text
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.layout import SweepLayout
from lst_cli.workspace.store import Workspace


def gather_results(sweep: Sweep, failed: Sequence[tuple[str, LstError]] = ()) -> SweepResults:
    """Read the results of all runs of the plan, also of those that were not selected this time.

    Seeds that were finished another time count too: so seeds can be added one by one.

    Args:
        sweep: The sweep.
        failed: Names and errors of what failed this time.
    """
    known = {job.name: result for job in sweep.every if (result := read_result(job)) is not None}
    titles = {job.name: job.run.title for job in sweep.every if job.run is not None}
    differences = run_differences(sweep)
    runs = []
    for run in sweep.plan.runs:
        jobs = [job for job in sweep.every if job.run == run]
        jobs = [job for job in jobs if sweep.is_asked_for(job) or job.name in known]
        seeds = [known[job.name] for job in jobs if job.name in known]
        differs_from, differs = differences.get(run.name, ("", ()))
        runs.append(
            RunResult(
                name=run.name,
                label=run.title,
                kind=run.kind,
                planned=len(jobs),
                seeds=tuple(sorted(seeds, key=lambda one: one.seed)),
                same_as=", ".join(
                    dict.fromkeys(titles[job.same_as] for job in jobs if job.same_as)
                ),
                differs=differs,
                differs_from=differs_from,
            )
        )
    return SweepResults(
        plan=sweep.plan.name,
        title=sweep.plan.title or f"The runs of {sweep.plan.name}",
        runs=tuple(runs),
        failed=tuple((name, error.message, error.hint or "") for name, error in failed),
        left_out=left_out(sweep),
    )


def left_out(sweep: Sweep) -> tuple[str, ...]:
    """Directories of runs that are not in the table: of another plan, or of an unfinished seed."""
    known = {job.root for job in sweep.every if sweep.is_asked_for(job) or read_result(job)}
    return tuple(root.name for root in sweep.layout.runs() if root not in known)


def read_result(job: Job) -> SeedResult | None:
    """The result of a run with one seed; None if it is not finished."""
    try:
        phases = done_phases(job.root)
        manifests = [Workspace(job.root).require_done(phase) for phase in phases]
    except LstError:
        return None
    if len(phases) < len(job.phases) or (metrics := find_metrics(job, phases[-1])) is None:
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


def write_results(results: SweepResults, layout: SweepLayout) -> None:
    """Write the table as Markdown, CSV and JSON, and every seed by itself as CSV.

    Raises:
        LstError: If a file cannot be written.
    """
    write_text(layout.csv, render_csv(sweep_numbers(results)))
    write_text(layout.seeds_csv, render_csv(seed_numbers(results)))
    write_text(layout.json, json_text(sweep_record(results)) + "\n")
    write_text(layout.markdown, render_sweep_markdown(results))
