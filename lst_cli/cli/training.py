"""What `lst train-base` and `lst step` share: showing a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lst_cli.cli.console import Meter, meter, note, print_json, print_rows, warn
from lst_cli.recipes.plan import TrainingPlan
from lst_cli.recipes.status import next_command
from lst_cli.recipes.train import Events, dry_run, train_phase
from lst_cli.reporting.tables import format_seconds
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.config import Settings
    from lst_cli.workspace.manifest import PhaseManifest

_SHORT = {
    "total": "loss",
    "loss_cls": "cls",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_distill": "distill",
}


def phase_name(phase: int) -> str:
    """Name of a phase in sentences."""
    return "base phase" if phase == 0 else f"phase {phase}"


def run_training(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    weights: str | None,
    restart: bool,
) -> PhaseManifest:
    """Train a phase with everything shown."""
    with meter() as tell:
        manifest = train_phase(
            workspace,
            phase,
            settings,
            weights=weights,
            restart=restart,
            events=training_events(tell, phase),
        )
    seconds = format_seconds(manifest.seconds or 0.0)
    note(f"{phase_name(phase)} done: {manifest.iterations:,} iterations in {seconds}")
    return manifest


def show_done(workspace: Workspace, manifests: Sequence[PhaseManifest], as_json: bool) -> None:
    """Say what comes next, or print what was done: one manifest a phase."""
    if as_json:
        print_json([manifest.model_dump(mode="json") for manifest in manifests])
    else:
        click.echo(f"next: {next_command(workspace)}")


def training_events(tell: Meter, phase: int | None = None) -> Events:
    """Show a training on a meter."""
    name = {"now": phase_name(phase) if phase is not None else ""}

    def on_plan(plan: TrainingPlan, start: int) -> None:
        name["now"] = phase_name(plan.phase)
        begins = f"continued after iteration {start:,}" if start else "begun"
        note(f"{name['now']} {begins}: {_material(plan)}, {plan.iterations:,} iterations")

    def on_iteration(report: Any) -> None:
        losses = "  ".join(
            f"{_SHORT[key]} {value:.3f}" for key, value in report.losses.items() if key in _SHORT
        )
        tell(name["now"], report.iteration, report.iterations, f"{losses}  lr {report.lr:.2g}")

    return Events(
        plan=on_plan,
        note=lambda text: (warn if text.startswith("no --weights") else note)(text),
        iteration=on_iteration,
        prepare=tell,
    )


def _material(plan: TrainingPlan) -> str:
    if plan.phase == 0:
        return f"{plan.new_classes:,} classes, {plan.new_entries:,} images"
    return (
        f"{plan.new_classes:,} new classes, {plan.new_entries:,} new + "
        f"{plan.replay_entries:,} replayed entries"
    )


def show_dry_run(workspace: Workspace, phase: int, settings: Settings, as_json: bool) -> None:
    """Print what training a phase would mean."""
    plan = dry_run(workspace, phase, settings)
    if as_json:
        print_json(plan.as_dict())
        return
    replayed = sorted(plan.replay_counts.values())
    rows = [
        ["new classes", f"{plan.new_classes:,}"],
        ["classes seen", f"{plan.seen_classes:,}"],
        ["entries of new classes" if phase else "images", f"{plan.new_entries:,}"],
        ["replayed entries an epoch", f"{plan.replay_entries:,}"],
        ["iterations", f"{plan.iterations:,} of {plan.batch_size} images"],
        ["time", f"about {format_seconds(plan.seconds)}, from {plan.seconds_from}"],
    ]
    if replayed:
        spread = f"{replayed[0]} to {replayed[-1]}"
        rows.insert(4, ["replayed images a class", spread])
    print_rows(f"{phase_name(phase)}: what training would mean", [], rows, text=2)
    note("nothing was trained (--dry-run)")
