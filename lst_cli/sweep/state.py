"""What the workspaces of a sweep hold: how far they are, what came out, how long the rest takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lst_cli.ap.metrics import Metrics
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_metrics, make_header
from lst_cli.phases.bins import parse_bins
from lst_cli.sweep.jobs import Job, Sweep, run_differences
from lst_cli.sweep.plan import PlannedRun
from lst_cli.sweep.tables import Failure, RunResult, SeedResult, SweepResults
from lst_cli.train.plan import NOMINAL_SOURCE, nominal_seconds_per_image
from lst_cli.workspace.manifest import PhaseManifest
from lst_cli.workspace.store import Workspace
from lst_cli.workspace.training_log import logged_iterations


def done_manifests(root: Path) -> list[PhaseManifest]:
    """Manifests of a workspace's finished phases, if there is one; an LstError if damaged."""
    workspace = Workspace(root)
    if not workspace.layout.split.exists():
        return []
    return [workspace.require_done(phase) for phase in workspace.done_phases()]


def find_metrics(job: Job, phase: int) -> Metrics | None:
    """Read the metrics of a phase, if it was evaluated as the job asks for.

    A user may have typed `lst eval` with other settings in a workspace of the sweep.
    """
    try:
        found = load_metrics(Workspace(job.root), phase)
    except LstError:
        return None
    if found is None:
        return None
    bins = [(one.low, one.high) for one in parse_bins(job.settings.eval.bins)]
    asked = make_header(None, "", job.settings).settings
    as_asked = [(one.low, one.high) for one in found.segm.bins] == bins and all(
        found.made_with.get(key) == asked[key] for key in asked if key.startswith("eval.")
    )
    return found if as_asked else None


def left_to_evaluate(sweep: Sweep, job: Job) -> list[int]:
    """Find the phases of a run whose evaluation is asked for and missing."""
    if job.run is None:
        return []
    last = len(job.phases) - 1
    wanted = range(last + 1) if sweep.plan.evaluate == "all" else [last]
    return [phase for phase in wanted if find_metrics(job, phase) is None]


def is_finished(sweep: Sweep, job: Job) -> bool:
    """Whether nothing is left of a job."""
    try:
        done = len(done_manifests(job.root))
        if job.kind == "base":
            users = [one.root for one in sweep.jobs if one.name in job.users]
            return done > 0 or all(done_manifests(root) for root in users)
        return done == len(job.phases) and not left_to_evaluate(sweep, job)
    except LstError:
        return False


# --- results -----------------------------------------------------------------------------------


def read_result(job: Job) -> SeedResult | None:
    """Read the result of a run with one seed; None if it is not finished."""
    try:
        done = done_manifests(job.root)
        every = [one for part in job.chain for one in done_manifests(part.root)]
    except LstError:
        return None
    if len(done) < len(job.phases) or (metrics := find_metrics(job, done[-1].phase)) is None:
        return None
    return SeedResult(
        seed=job.seed,
        workspace=str(job.root),
        metrics=metrics,
        image_passes=sum(one.image_passes for one in every),
        iterations=sum(one.iterations for one in every),
        seconds=sum(one.seconds or 0.0 for one in every),
        shares_base=every[0].shared_from is not None,
    )


def gather_results(sweep: Sweep, failed: Iterable[Failure] = ()) -> SweepResults:
    """Read the results of all runs of the plan, also of those that were not selected this time.

    Seeds that were finished another time count too: so seeds can be added one by one.
    """
    known = {job.name: result for job in sweep.every if (result := read_result(job)) is not None}
    titles = {job.name: job.run.title for job in sweep.every if job.run is not None}
    differences = run_differences(sweep)

    def result_of(run: PlannedRun) -> RunResult:
        jobs = [
            job
            for job in sweep.every
            if job.run == run and (sweep.is_asked_for(job) or job.name in known)
        ]
        seeds = [known[job.name] for job in jobs if job.name in known]
        differs_from, differs = differences.get(run.name, ("", ()))
        return RunResult(
            name=run.name,
            label=run.title,
            kind=run.kind,
            planned=len(jobs),
            seeds=tuple(sorted(seeds, key=lambda one: one.seed)),
            same_as=", ".join(dict.fromkeys(titles[job.same_as] for job in jobs if job.same_as)),
            differs=differs,
            differs_from=differs_from,
        )

    return SweepResults(
        plan=sweep.plan.name,
        title=sweep.plan.title or f"The runs of {sweep.plan.name}",
        runs=tuple(map(result_of, sweep.plan.runs)),
        failed=tuple(failed),
        left_out=left_out(sweep),
    )


def left_out(sweep: Sweep) -> tuple[str, ...]:
    """Name the workspaces that are not in the table: of another plan, or unfinished seeds."""
    known = {job.root for job in sweep.every if sweep.is_asked_for(job) or read_result(job)}
    return tuple(root.name for root in sweep.layout.runs() if root not in known)


# --- what is left ------------------------------------------------------------------------------


class Outlook(NamedTuple):
    """What is left of a job; the seconds are of its own training, without a shared base phase."""

    job: Job
    state: str
    seconds: float


def look_ahead(sweep: Sweep) -> tuple[list[Outlook], str]:
    """What a sweep would train, in the order of work, and the source of the estimates."""
    rates = _measured_rates(sweep)
    found = [_job_outlook(sweep, job, rates) for job in sweep.jobs]
    return found, "the rate of what is finished here" if rates else NOMINAL_SOURCE


def outlook_record(sweep: Sweep, outlook: Sequence[Outlook], source: str) -> dict[str, Any]:
    """Describe the jobs of a sweep, and what `look_ahead` found, for scripts."""
    differences = run_differences(sweep)
    jobs = []
    for job, state, seconds in outlook:
        run = job.run.name if job.run else None
        first, differs = differences.get(run or "", ("", ()))
        jobs.append(
            {
                "name": job.name,
                "run": run,
                "kind": job.kind,
                "seed": job.seed,
                "workspace": str(job.root),
                "shares_base_of": job.base.name if job.base else None,
                "phases": [
                    {
                        "classes": len(group),
                        "iterations": phase.iterations,
                        "image_passes": phase.shown,
                    }
                    for group, phase in zip(job.split.groups, job.phases, strict=False)
                ],
                "image_passes": job.image_passes,
                "state": state,
                "seconds_left": seconds,
                "differs": [setting.model_dump(mode="json") for setting in differs],
                "differs_from": first,
            }
        )
    return {
        "plan": sweep.plan.name,
        "title": sweep.plan.title,
        "directory": str(sweep.layout.root),
        "jobs": jobs,
        "seconds": sum(one.seconds for one in outlook),
        "seconds_from": source,
    }


def _job_outlook(sweep: Sweep, job: Job, rates: Mapping[bool, float]) -> Outlook:
    workspace = Workspace(job.root)
    if is_finished(sweep, job):
        return Outlook(job, "done", 0.0)
    try:
        done = len(done_manifests(job.root))
        begun = done or (workspace.layout.split.exists() and workspace.manifest(0))
    except LstError as error:
        return Outlook(job, f"damaged: {error.message}", 0.0)
    state = f"{done} of {len(job.phases)} phases done" if begun else "to be done"
    left = range(max(1 if job.kind == "lst" else 0, done), len(job.phases))
    if not left:
        state = "to be evaluated"
    nominal = nominal_seconds_per_image(job.settings)
    seconds = 0.0
    for phase in left:
        directory, length, done_share = workspace.phase(phase), job.phases[phase], 0.0
        if directory.training_state.exists():  # else it has to be done again
            done_share = min(1.0, logged_iterations(directory.log) / length.iterations)
        seconds += (1 - done_share) * length.shown * rates.get(phase > 0, nominal)
    return Outlook(job, state, seconds)


def _measured_rates(sweep: Sweep) -> dict[bool, float]:
    """Seconds an image took, in later phases (True) and in the first (False)."""
    seconds, images = defaultdict[bool, float](float), defaultdict[bool, int](int)
    for root in {job.root for job in (*sweep.every, *sweep.jobs)}:
        with suppress(LstError):
            for one in done_manifests(root):
                if one.seconds and one.image_passes and one.shared_from is None:
                    seconds[one.phase > 0] += one.seconds
                    images[one.phase > 0] += one.image_passes
    return {later: seconds[later] / images[later] for later in images}
