"""What a phase will train on, for how many iterations, and how long that may take.

No network is needed to know, so torch is not imported here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lst_cli.errors import LstError
from lst_cli.inputs import TrainingInput
from lst_cli.phases.replay import PhaseData, base_data, step_data
from lst_cli.settings.models import Settings
from lst_cli.train.budget import count_iterations
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace

# Seconds a megapixel of images takes, forward and backward, on two CPU cores; from
# docs/benchmarks/paper-r50-cpu.md and docs/benchmarks/demo.md. Used only until a phase of
# this very workspace has been timed.
NOMINAL_SECONDS_PER_MEGAPIXEL = {"resnet": 8.0, "lite": 1.5}
NOMINAL_SOURCE = "a two-core CPU's rate; a GPU is far quicker"


@dataclass(frozen=True)
class TrainingPlan:
    """What training a phase means.

    Attributes:
        phase: t.
        new_classes: Classes that arrive.
        seen_classes: Classes of the model, these included.
        new_entries: Entries of new classes (base: images, repeated ones as often) an epoch.
        images: Different images among the entries of new classes (base: among all).
        replay_entries: Replayed entries an epoch.
        replay_counts: Entries an epoch of each replayed class, by category_id.
        iterations: Optimizer updates.
        batch_size: Images an update.
        image_passes: Images that are shown in all, repeated ones as often.
        seconds: How long it may take.
        seconds_from: What this estimate rests on.
    """

    phase: int
    new_classes: int
    seen_classes: int
    new_entries: int
    images: int
    replay_entries: int
    replay_counts: dict[str, int]
    iterations: int
    batch_size: int
    image_passes: int
    seconds: float
    seconds_from: str

    def as_dict(self) -> dict[str, Any]:
        """The plan for `--json`."""
        return asdict(self)


def phase_data(
    workspace: Workspace, inputs: TrainingInput, phase: int, settings: Settings
) -> PhaseData:
    """D_t of a phase."""
    return split_data(workspace.split, inputs, phase, settings)


def split_data(split: Split, inputs: TrainingInput, phase: int, settings: Settings) -> PhaseData:
    """D_t of a phase of a split that no workspace need hold."""
    new = split.labels_of(phase)
    if phase == 0:
        base = settings.base
        return base_data(
            inputs.occurrences, new, settings.seed, base.sampler, base.repeat_threshold
        )
    return step_data(inputs.occurrences, new, phase, settings.seed, settings.step.replay)


def plan_training(
    workspace: Workspace, phase: int, settings: Settings, data: PhaseData
) -> TrainingPlan:
    """Count what a phase trains on and estimate its time."""
    split = workspace.split
    schedule = settings.schedule(phase)
    iterations = count_iterations(settings, phase, len(data))
    rate, source = _seconds_per_iteration(workspace, phase, settings)
    return TrainingPlan(
        phase=phase,
        new_classes=len(split.groups[phase]),
        seen_classes=split.seen_classes(phase),
        new_entries=len(data) - int(data.replayed.sum()),
        images=len(np.unique(data.fixed.images)),
        replay_entries=int(data.replayed.sum()),
        replay_counts={
            str(split.class_order[label]): int(count)
            for label, count in enumerate(data.replayed)
            if count
        },
        iterations=iterations,
        batch_size=schedule.batch_size,
        image_passes=iterations * schedule.batch_size,
        seconds=iterations * rate,
        seconds_from=source,
    )


def require_trainable(workspace: Workspace, phase: int) -> None:
    """See that a phase is the one to train now.

    Raises:
        LstError: If it is done, or an earlier one is not.
    """
    upcoming = workspace.next_phase()
    if upcoming is None:
        raise LstError(
            f"joint training of {workspace.root} is done"
            if workspace.last_phase == 0
            else f"all {workspace.last_phase + 1} phases of {workspace.root} are done",
            "lst status",
        )
    if phase == upcoming:
        return
    command = workspace.training_command(upcoming)
    if phase < upcoming:
        name = "the base phase" if phase == 0 else f"phase {phase}"
        raise LstError(f"{name} is done already", command)
    raise LstError(f"phase {phase} needs phase {upcoming} first", command)


def require_joint(workspace: Workspace, *, joint: bool) -> None:
    """See that the first phase is trained by its own command.

    Args:
        workspace: With a split.
        joint: Whether the command is the one for joint training.

    Raises:
        LstError: If it is the other one that trains this workspace.
    """
    if workspace.split.joint == joint:
        return
    if joint:
        raise LstError(
            f"the split of {workspace.root} has phases, and joint training has none",
            f"lst train-base, or another workspace: {workspace.split_command('--joint')}",
        )
    raise LstError(
        f"the split of {workspace.root} is for joint training: all its classes are in one phase",
        workspace.training_command(0),
    )


def require_growable(settings: Settings) -> None:
    """See that later phases can grow the network of these settings.

    Raises:
        LstError: If its classifier or its masks are not those that phases grow.
    """
    model = settings.model
    for key, value, needed in (
        ("head", model.head, "cosine"),
        ("mask", model.mask, "transfer"),
    ):
        if value != needed:
            raise LstError(
                f"model.{key} = {value}: new classes take model.{key} = {needed}; another is for "
                "joint training",
                f"set model.{key} = {needed}, or train all classes at once: lst split --joint "
                "-w OTHER --train TRAIN.json --val VAL.json --images DIR",
            )


def _seconds_per_iteration(
    workspace: Workspace, phase: int, settings: Settings
) -> tuple[float, str]:
    # A phase that was added instantly has no rate.
    done = [p for p in workspace.done_phases() if workspace.require_done(p).iterations]
    same_kind = [p for p in done if (p == 0) == (phase == 0)] or done
    if same_kind:
        manifest = workspace.manifest(same_kind[-1])
        if manifest is not None and manifest.seconds:
            name = "base phase" if same_kind[-1] == 0 else f"phase {same_kind[-1]}"
            return manifest.seconds / manifest.iterations, f"the rate of the {name}"
    return nominal_seconds_per_image(settings) * settings.schedule(phase).batch_size, NOMINAL_SOURCE


def nominal_seconds_per_image(settings: Settings) -> float:
    """How long training takes for an image where nothing was timed yet."""
    kind = "lite" if settings.preset.startswith("lite") else "resnet"
    megapixels = max(settings.data.min_size) ** 2 * 4 / 3 / 1e6
    return NOMINAL_SECONDS_PER_MEGAPIXEL[kind] * megapixels
