"""What `lst train-base`, `lst train-joint` and `lst step` share: showing a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lst_cli.annotations.problems import count_of
from lst_cli.cli.console import Meter, meter, note, print_json, print_rows, show_next, warn
from lst_cli.display.tables import format_seconds
from lst_cli.libraries import NETWORK, require
from lst_cli.report.status import next_command
from lst_cli.train.events import Events
from lst_cli.train.plan import TrainingPlan
from lst_cli.train.train import dry_run, train_phase
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.settings.models import Settings
    from lst_cli.workspace.manifest import PhaseManifest

_SHORT = {
    "total": "loss",
    "loss_cls": "cls",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_distill": "distill",
}


def phase_name(phase: int, *, joint: bool = False) -> str:
    """Name of a phase in sentences."""
    if phase == 0:
        return "joint training" if joint else "base phase"
    return f"phase {phase}"


def run_training(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    weights: str | None,
    restart: bool,
    image_passes: int | None = None,
) -> PhaseManifest:
    """Train a phase with everything shown."""
    require(*NETWORK)
    joint = workspace.split.joint
    with meter() as tell:
        manifest = train_phase(
            workspace,
            phase,
            settings,
            weights=weights,
            restart=restart,
            image_passes=image_passes,
            events=training_events(tell, phase, joint=joint),
        )
    seconds = format_seconds(manifest.seconds or 0.0)
    note(
        f"{phase_name(phase, joint=joint)} done: {manifest.iterations:,} iterations, "
        f"{manifest.image_passes:,} image passes in {seconds}"
    )
    return manifest


def show_done(workspace: Workspace, manifests: Sequence[PhaseManifest], as_json: bool) -> None:
    """Say what comes next, or print what was done: one manifest a phase."""
    if as_json:
        print_json([manifest.model_dump(mode="json") for manifest in manifests])
    else:
        show_next(next_command(workspace))


def training_events(tell: Meter, phase: int | None = None, *, joint: bool = False) -> Events:
    """Show a training on a meter."""
    name = {"now": phase_name(phase, joint=joint) if phase is not None else ""}

    def on_plan(plan: TrainingPlan, start: int) -> None:
        name["now"] = phase_name(plan.phase, joint=joint)
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
        return f"{count_of(plan.new_classes, 'class', 'classes')}, {_images(plan)}"
    return (
        f"{count_of(plan.new_classes, 'new class', 'new classes')}, {plan.new_entries:,} new + "
        f"{plan.replay_entries:,} replayed entries"
    )


def _images(plan: TrainingPlan) -> str:
    text = f"{plan.images:,} images"
    return text if plan.new_entries == plan.images else f"{text} as {plan.new_entries:,} an epoch"


def show_dry_run(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    as_json: bool,
    *,
    image_passes: int | None = None,
) -> None:
    """Print what training a phase would mean."""
    plan = dry_run(workspace, phase, settings, image_passes=image_passes, warn=warn)
    if as_json:
        print_json(plan.as_dict())
        return
    replayed = sorted(plan.replay_counts.values())
    rows = [
        ["new classes", f"{plan.new_classes:,}"],
        ["classes seen", f"{plan.seen_classes:,}"],
        ["entries of new classes" if phase else "images an epoch", f"{plan.new_entries:,}"],
        ["replayed entries an epoch", f"{plan.replay_entries:,}"],
        [
            "iterations",
            f"{plan.iterations:,}, each of {count_of(plan.batch_size, 'image', 'images')}",
        ],
        ["image passes", f"{plan.image_passes:,}"],
        ["time", f"about {format_seconds(plan.seconds)}, from {plan.seconds_from}"],
    ]
    if replayed:
        spread = f"{replayed[0]} to {replayed[-1]}"
        rows.insert(4, ["replayed images a class", spread])
    name = phase_name(phase, joint=workspace.split.joint)
    print_rows(f"{name}: what training would mean", [], rows, text=2)
    note("nothing was trained (--dry-run)")
