"""What the commands that train share: a plan before, progress meanwhile, the next command after."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lst_cli.annotations.problems import count_of
from lst_cli.cli.console import Meter, meter, note, print_json, print_rows, show_next, warn
from lst_cli.display.tables import format_seconds
from lst_cli.extend.extend import fitted_rows
from lst_cli.libraries import NETWORK, require
from lst_cli.report.status import next_command
from lst_cli.train.initial import find_weights
from lst_cli.train.plan import Events, TrainingPlan
from lst_cli.train.train import TrainingOptions, train_phase
from lst_cli.train.train import dry_run as plan_phase
from lst_cli.weights.kinds import require_weights
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.settings.models import Settings
    from lst_cli.workspace.manifest import PhaseManifest

_SHORT = {"total": "loss", "loss_box_reg": "box"}  # others without "loss_"


def run_training(
    workspace: Workspace,
    settings: Settings,
    phase: int = 0,
    *,
    to_last: bool = False,
    dry_run: bool,
    as_json: bool,
    **begin: Any,
) -> None:
    """Train a phase, or all from it on with `to_last`; with `dry_run` only show its plan.

    `begin` has the fields of `TrainingOptions` that the command has an option for.
    """
    how = TrainingOptions(**begin, fitted_rows=fitted_rows)
    if workspace.manifest(0) is None:
        require_weights(find_weights(how.weights))
    joint = workspace.split.joint
    if dry_run:
        plan = plan_phase(workspace, phase, settings, image_passes=how.image_passes, warn=warn)
        if as_json:
            print_json(asdict(plan))
        else:
            _show_plan(plan, joint=joint)
        return
    require(*NETWORK)
    manifests: list[PhaseManifest] = []
    upcoming: int | None = phase
    while upcoming is not None:
        with meter() as tell:
            events = training_events(tell, joint=joint)
            done = train_phase(workspace, upcoming, settings, how, events=events)
        note(
            f"{_phase_name(upcoming, joint)} done: {done.iterations:,} iterations, "
            f"{done.image_passes:,} image passes in {format_seconds(done.seconds or 0.0)}"
        )
        manifests.append(done)
        how = replace(how, restart=False)
        upcoming = workspace.next_phase() if to_last else None
    if as_json:
        print_json([one.model_dump(mode="json") for one in manifests])
    else:
        show_next(next_command(workspace))


def training_events(tell: Meter, *, joint: bool = False) -> Events:
    """Show a training on a meter."""
    name = ""

    def on_plan(plan: TrainingPlan, start: int) -> None:
        nonlocal name
        name = _phase_name(plan.phase, joint)
        begins = f"continued after iteration {start:,}" if start else "begun"
        text = f"{name} {begins}: {_data_of(plan)}, {plan.iterations:,} iterations"
        if plan.timed:
            left = f"about {format_seconds(plan.seconds)}"
            text += f", {plan.image_passes:,} image passes, {left}"
        note(text)

    def on_iteration(report: Any) -> None:
        losses = "  ".join(
            f"{_SHORT.get(key, key.removeprefix('loss_'))} {value:.3f}"
            for key, value in report.losses.items()
            if not key.startswith("loss_rpn")  # these two have no room; the log has them
        )
        tell(name, report.iteration, report.iterations, f"{losses}  lr {report.lr:.2g}")

    return Events(
        plan=on_plan,
        note=lambda text: (warn if text.startswith("no --weights") else note)(text),
        iteration=on_iteration,
        prepare=tell,
    )


def _phase_name(phase: int, joint: bool) -> str:
    if phase == 0:
        return "joint training" if joint else "base phase"
    return f"phase {phase}"


def _data_of(plan: TrainingPlan) -> str:
    if plan.phase:
        return (
            f"{count_of(plan.new_classes, 'new class', 'new classes')}, {plan.new_entries:,} new + "
            f"{plan.replay_entries:,} replayed samples"
        )
    repeated = f" as {plan.new_entries:,} an epoch" if plan.new_entries != plan.images else ""
    classes = count_of(plan.new_classes, "class", "classes")
    return f"{classes}, {plan.images:,} images{repeated}"


def _show_plan(plan: TrainingPlan, *, joint: bool) -> None:
    batch = count_of(plan.batch_size, "image", "images")
    rows = [
        ["new classes", f"{plan.new_classes:,}"],
        ["classes seen", f"{plan.seen_classes:,}"],
        ["samples of new classes" if plan.phase else "images an epoch", f"{plan.new_entries:,}"],
        ["replayed samples an epoch", f"{plan.replay_entries:,}"],
        ["iterations", f"{plan.iterations:,}, each of {batch}"],
        ["image passes", f"{plan.image_passes:,}"],
        ["time", f"about {format_seconds(plan.seconds)}, from {plan.seconds_from}"],
    ]
    if replayed := sorted(plan.replay_counts.values()):
        rows.insert(4, ["replayed images a class", f"{replayed[0]} to {replayed[-1]}"])
    print_rows(f"{_phase_name(plan.phase, joint)}: plan of the training", [], rows, text=2)
    note("nothing was trained (--dry-run)")
