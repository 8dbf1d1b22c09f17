"""`lst sweep`: many runs on the same data, and one table over them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lst_cli.display.markup import render_csv
from lst_cli.errors import InterruptionError, LstError
from lst_cli.evaluate.evaluate import evaluate_phase
from lst_cli.images.finder import HERE, ImageFinder
from lst_cli.progress import Progress, silent
from lst_cli.split.init import write_settings
from lst_cli.split.split import read_datasets, warn_of_missing_images, write_split
from lst_cli.sweep import state, tables
from lst_cli.sweep.jobs import Job, Sweep, plan_jobs
from lst_cli.sweep.plan import SweepPlan
from lst_cli.text import json_text
from lst_cli.train import train
from lst_cli.train.before_training import check_before_training
from lst_cli.train.plan import Events
from lst_cli.weights.kinds import require_weights
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.hints import hints_for
from lst_cli.workspace.layout import traceback_file
from lst_cli.workspace.phase_files import take_over_base, take_over_evaluation
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class SweepEvents:
    """Callbacks of a sweep: sentences about jobs, the training in a job, other work."""

    note: Callable[[str], None] = lambda text: None
    training: Callable[[Job], Events] = lambda job: Events()
    progress: Progress = silent


def open_sweep(
    plan: SweepPlan,
    root: Path,
    only: Sequence[str] = (),
    warn: Callable[[str], None] | None = None,
) -> Sweep:
    """Read the data of a plan and decide what is to be done; nothing is written.

    `only` names the runs to make, if not all. With `warn` images are looked for, and it is called
    with the number of missing ones and an example. An `LstError` if the data or a run are refused.
    """
    data = plan.data
    assert data.train is not None
    assert data.val is not None
    train, val = read_datasets(data.train, data.val, skip_unusable=data.skip_unusable)
    if warn is not None:
        warn_of_missing_images((train, val), ImageFinder(data.images or HERE), warn)
    return plan_jobs(plan, train, val, root, only)


def run_sweep(sweep: Sweep, events: SweepEvents) -> tables.SweepResults:
    """Train and evaluate everything that is not yet; the table is written after every run.

    A job that fails does not stop the others, and is listed in the results. An `LstError` if the
    data are not in order, for which every run would fail.
    """
    _check_data(sweep, events)
    failed: dict[Path, tables.Failure] = {}
    for place, job in enumerate(sweep.jobs, start=1):
        if state.is_finished(sweep, job):
            events.note(f"{job.name}: done before")
            continue
        users = f", the base phase of {', '.join(job.users)}" if job.users else ""
        events.note(f"[{place}/{len(sweep.jobs)}] {job.name}{users}")
        if (failure := _try(sweep, job, failed, events)) is not None:
            failed[job.root] = failure
            events.note(f"{job.name} failed: {failure.error}")
            continue
        result = state.read_result(job)
        events.note(f"{job.name}: {result.sentence if result else 'done'}")
        if job.run is not None:
            _write_table(sweep, failed)
    return _write_table(sweep, failed)


def _write_table(sweep: Sweep, failed: Mapping[Path, tables.Failure]) -> tables.SweepResults:
    results, layout = state.gather_results(sweep, failed.values()), sweep.layout
    if results.seeds:
        write_text(layout.csv, render_csv(tables.sweep_numbers(results)))
        write_text(layout.seeds_csv, render_csv(tables.seed_numbers(results)))
        write_text(layout.json, json_text(tables.sweep_record(results)) + "\n")
        write_text(layout.markdown, tables.render_sweep_markdown(results))
    return results


def _check_data(sweep: Sweep, events: SweepEvents) -> None:
    """Check the data, if any training on them is still to begin."""
    to_begin = [
        job
        for job in sweep.jobs
        if job.kind != "lst" and not Workspace(job.root).phase(0).manifest.exists()
    ]
    if not to_begin or all(state.is_finished(sweep, job) for job in to_begin):
        return
    require_weights(sweep.plan.data.weights)
    train.load_trainer()  # does torch work, before all is read?
    try:
        check_before_training(to_begin[0].split, events.progress)
    except LstError as error:
        place = f"correct [data] in {sweep.plan.source}, or give --train, --val and --images"
        raise LstError(error.message, place) from error


def _try(
    sweep: Sweep, job: Job, failed: Mapping[Path, tables.Failure], events: SweepEvents
) -> tables.Failure | None:
    """Do a job, and return what went wrong."""
    for needed, what in ((job.base, "its base phase"), (job.start, "what it goes on from")):
        if needed is not None and needed.root in failed:
            message = f"{what}, {needed.name}, failed"
            return tables.Failure(name=job.name, error=message)
    return attempt(job.name, job.root, sweep.plan, lambda: _do(sweep, job, events))


def attempt(
    name: str, root: Path, plan: SweepPlan, work: Callable[[], None]
) -> tables.Failure | None:
    """Work in a workspace, and return what went wrong: a mistake does not stop other runs."""
    try:
        with hints_for(root):
            work()
    except InterruptionError:
        raise
    except LstError as error:
        message, hint = error.message, error.hint or ""
        if "--restart" in hint:
            hint = f"change the settings of the run in {plan.source}"
    except Exception as error:
        file = traceback_file(root)
        write_text(file, traceback.format_exc())
        message, hint = f"{type(error).__name__}: {error}", f"see {file}"
    else:
        return None
    return tables.Failure(name=name, error=message, hint=hint)


def _do(sweep: Sweep, job: Job, events: SweepEvents) -> None:
    workspace = Workspace(job.root)
    _prepare(workspace, job)
    if job.base is not None and workspace.manifest(0) is None:
        take_over_base(workspace, Workspace(job.base.root))
    for phase, length in enumerate(job.phases):
        if phase not in workspace.done_phases():
            options = train.TrainingOptions(
                weights=job.initial if phase == 0 else None, image_passes=length.image_passes
            )
            train.train_phase(workspace, phase, job.settings, options, events=events.training(job))
    for phase in state.left_to_evaluate(sweep, job):
        if phase > 0 or not _take_over_evaluation(sweep, job):
            evaluate_phase(workspace, phase, job.settings, progress=events.progress)
    traceback_file(job.root).unlink(missing_ok=True)


def _prepare(workspace: Workspace, job: Job) -> None:
    """Make the workspace of a job, or update the files in which it differs from the job."""
    settings, split = workspace.layout.settings, workspace.layout.split
    if not settings.exists() or workspace.settings() != job.settings:
        write_settings(settings, job.words, force=True)
    # The data may lie elsewhere now, and the planned lengths of phases follow the settings.
    inputs = ("train", "val", "image_dirs", "phases")
    if not split.exists() or any(
        getattr(workspace.split, name) != getattr(job.split, name) for name in inputs
    ):
        write_split(workspace, job.split, job.inputs, job.settings)


def _take_over_evaluation(sweep: Sweep, job: Job) -> bool:
    """Use what another run found with the base phase that both share."""
    return any(
        take_over_evaluation(Workspace(job.root), Workspace(other.root))
        for other in sweep.every
        if (job.base and other.base and other.base.root == job.base.root)
        and other.root != job.root
        and other.settings.eval == job.settings.eval
        and state.find_metrics(other, 0) is not None
    )
