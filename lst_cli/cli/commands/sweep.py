"""`lst sweep`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lst_cli.cli import console, options
from lst_cli.cli.console import note, print_json, print_rows
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require
from lst_cli.settings.presets import PRESETS

if TYPE_CHECKING:
    from lst_cli.sweep.jobs import Sweep
    from lst_cli.sweep.plan import SweepPlan
    from lst_cli.sweep.sweep import SweepEvents

Results = TypeVar("Results")


def _base_size(value: str) -> float:
    """A number of classes, or a share of them."""
    try:
        return int(value) if value.isdigit() else float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number") from None


@options.command(
    "sweep",
    "lst sweep --list",
    "lst sweep table1 --train train.json --val val.json --images DIR --dry-run",
    "lst sweep table1 --train t.json --val v.json --images DIR --preset lite",
    "lst sweep table1 --train t.json --val v.json --images . --b 0.75 --phases 1",
    "lst sweep extend --train t.json --val v.json --images DIR --preset lite",
    "lst sweep plan.toml --only lst --only repeat-factor",
)
@click.argument("plan", required=False)
@options.flag("--list", "List the plans that come with lst.", "list_plans")
@options.directory_option(
    "--dir",
    "directory",
    help="Directory for the table and the workspaces of the runs.  [default: ./lst-sweep-PLAN]",
)
@click.option("--only", metavar="RUN", multiple=True, help="Only this run; may be repeated.")
@options.file_option("--train", "Training annotations.  [default: those of the plan]")
@options.file_option("--val", "Validation annotations.  [default: those of the plan]")
@options.image_dirs_option
@options.weights_option
@options.skip_unusable_option
@click.option(
    "--b",
    "--base",
    "b",
    metavar="N|SHARE",
    type=_base_size,
    help="Classes of the base phase: a number, or a share of all, such as 0.22. This option and "
    "--phases, --seed, --preset and --set do not change what the plan sets for a single run.",
)
@click.option("--phases", type=click.IntRange(min=1), help="Phases after the base phase.")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(min=0),
    multiple=True,
    help="Seed of every run; may be repeated, for means over seeds.",
)
@options.choice("--preset", list(PRESETS), "Preset of every run.")
@options.settings_options
@options.flag(
    "--dry-run",
    "Print the runs, their iterations, image passes and an estimate of time; write nothing.",
)
@options.json_option
def command(
    plan: str | None,
    list_plans: bool,
    directory: Path | None,
    only: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make many runs on the same data, and one table of all runs.

    PLAN is a TOML file, or the name of a plan that comes with lst. Each run is a workspace of
    its own in DIR; phase-by-phase runs with the same base phase train it only once. The same
    command continues an interrupted sweep, or prints the table of a finished one again. You can
    add seeds later: finished seeds stay in the table.
    """
    from lst_cli.sweep.plan import choose, read_plan, shipped_plans
    from lst_cli.sweep.sweep import open_sweep

    if list_plans:
        plans = shipped_plans()
        if as_json:
            print_json(plans)
        else:
            rows = [list(one) for one in plans.items()]
            print_rows("Plans that come with lst", ["plan", "what it is"], rows, text=2)
        return
    if plan is None:
        raise LstError("lst sweep needs a plan", "lst sweep --list")
    given["images"] = given.pop("image_dirs")
    chosen = choose(read_plan(plan), **given)
    root = directory or Path(f"lst-sweep-{chosen.name}")
    if chosen.new_classes is not None:
        if dry_run:
            _show_cells(chosen, root, only, as_json)
            return
        require(*NETWORK)
        if _run_cells(chosen, root, only, as_json):
            click.get_current_context().exit(1)
        return
    sweep = open_sweep(chosen, root, only, console.warn if dry_run else None)
    if dry_run:
        _show_outlook(sweep, as_json)
        return
    require(*NETWORK)
    if _run(sweep, as_json):
        click.get_current_context().exit(1)


def _run(sweep: Sweep, as_json: bool) -> bool:
    """Do everything, show the table, and return whether anything failed."""
    from lst_cli.sweep.state import left_out
    from lst_cli.sweep.sweep import run_sweep
    from lst_cli.sweep.tables import difference_lines, left_out_line, sweep_record, sweep_table

    if names := left_out(sweep):
        note(left_out_line(names))
    results = _watched(lambda events: run_sweep(sweep, events))
    if as_json:
        print_json(sweep_record(results))
    else:
        console.print_table(sweep_table(results, narrow=True))
        for line in difference_lines(results):
            note(line)
    for one in results.failed:
        console.show_error(f"{one.name}: {one.error}", one.hint or None)
    if results.seeds:
        note(f"wrote sweep.md, sweep.csv, sweep-seeds.csv and sweep.json in {sweep.layout.root}")
    return bool(results.failed)


def _watched(work: Callable[[SweepEvents], Results]) -> Results:
    """Do the work of a sweep, and show what it does."""
    from lst_cli.cli.training import training_events
    from lst_cli.errors import InterruptionError
    from lst_cli.sweep.sweep import SweepEvents

    with console.meter() as tell:
        events = SweepEvents(
            note=note,
            training=lambda job: training_events(tell, joint=job.kind == "joint"),
            progress=tell,
        )
        try:
            return work(events)
        except InterruptionError as error:
            hint = "run the same lst sweep again to continue"
            raise InterruptionError(error.message, hint) from error


def _run_cells(plan: SweepPlan, root: Path, only: Sequence[str], as_json: bool) -> bool:
    """Do everything of a plan with new classes, and return whether anything failed."""
    from lst_cli.sweep.draw_tables import draw_record, draw_table
    from lst_cli.sweep.new_classes import open_new_classes, run_new_classes

    sweep = open_new_classes(plan, root, only)
    results = _watched(lambda events: run_new_classes(sweep, events))
    if as_json:
        print_json(draw_record(results))
    else:
        console.print_table(draw_table(results))
    for one in results.failed:
        console.show_error(f"{one.name}: {one.error}", one.hint or None)
    note(f"wrote sweep.md, sweep.csv and sweep.json in {root}")
    return bool(results.failed)


def _show_cells(plan: SweepPlan, root: Path, only: Sequence[str], as_json: bool) -> None:
    """What a plan with new classes trains; annotation files are written to a temporary place."""
    import tempfile

    from lst_cli.display.tables import format_seconds
    from lst_cli.sweep.new_classes import count_cells, open_new_classes
    from lst_cli.sweep.state import look_ahead, outlook_record

    with tempfile.TemporaryDirectory() as data:
        sweep = open_new_classes(plan, root, only, Path(data))
        planned, done = count_cells(sweep)
        found = [(one, *look_ahead(one)) for one in (sweep.base, *sweep.joint_to_make.values())]
    if as_json:
        print_json(
            {
                "plan": plan.name,
                "title": plan.title,
                "directory": str(root),
                "draws": [list(names) for names in sweep.files.names],
                "cells": {"planned": planned, "done": done},
                "sweeps": [outlook_record(*one) for one in found],
            }
        )
        return
    for one, jobs, source in found:
        for job, state, seconds in jobs:
            note(
                f"{one.layout.root.name}: {job.name}, {job.image_passes:,} image passes, {state}, "
                f"{format_seconds(seconds)} left from {source}"
            )
    note(f"{done} of {planned} cells of runs of kind extend are done")
    for draw, names in enumerate(sweep.files.names):
        note(f"draw {draw}: {', '.join(names)}")
    note("nothing was trained (--dry-run)")


def _show_outlook(sweep: Sweep, as_json: bool) -> None:
    from lst_cli.display.tables import format_seconds
    from lst_cli.sweep.jobs import run_differences
    from lst_cli.sweep.state import left_out, look_ahead, outlook_record
    from lst_cli.sweep.tables import left_out_line

    jobs, source = look_ahead(sweep)
    if as_json:
        print_json(outlook_record(sweep, jobs, source))
        return
    rows = [
        [
            job.name,
            job.kind,
            job.classes,
            f"{job.iterations:,}",
            f"{job.image_passes:,}",
            state,
            format_seconds(seconds),
        ]
        for job, state, seconds in jobs
    ]
    headings = ["run", "kind", "classes", "iterations", "image passes", "state", "time left"]
    print_rows(sweep.plan.title or sweep.plan.name, headings, rows, text=3)
    for job in sweep.jobs:
        if job.users:
            note(f"{job.name} is the base phase of {', '.join(job.users)}")
    for job in sweep.every:
        if job.same_as:
            note(f"{job.name} is the same run as {job.same_as}, whose results it has")
    for name, (first, found) in run_differences(sweep).items():
        note(f"{name} differs from {first}: {'; '.join(map(str, found))}")
    total = format_seconds(sum(one.seconds for one in jobs))
    note(f"about {total} in all, from {source}; evaluation is not counted")
    if names := left_out(sweep):
        note(left_out_line(names))
    note("nothing was trained (--dry-run)")
