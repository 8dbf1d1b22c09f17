"""What a phase will train on, for how many iterations, and how long that may take.

No network is needed to know, so torch is not imported here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lst_cli.config import Settings
from lst_cli.errors import LstError
from lst_cli.phases.replay import PhaseData, base_data, iterations_of, step_data
from lst_cli.recipes.inputs import TrainingInput
from lst_cli.workspace.store import Workspace

# Seconds a megapixel of images takes, forward and backward, on two CPU cores; from
# docs/benchmarks/paper-r50-cpu.md and docs/benchmarks/demo.md. Used only until a phase of
# this very workspace has been timed.
NOMINAL_SECONDS_PER_MEGAPIXEL = {"resnet": 8.0, "lite": 1.5}


@dataclass(frozen=True)
class TrainingPlan:
    """What training a phase means.

    Attributes:
        phase: t.
        new_classes: Classes that arrive.
        seen_classes: Classes of the model, these included.
        new_entries: Entries of new classes (base: images) an epoch.
        replay_entries: Replayed entries an epoch.
        replay_counts: Entries an epoch of each replayed class, by category_id.
        iterations: Optimizer updates.
        batch_size: Images an update.
        seconds: How long it may take.
        seconds_from: What this estimate rests on.
    """

    phase: int
    new_classes: int
    seen_classes: int
    new_entries: int
    replay_entries: int
    replay_counts: dict[str, int]
    iterations: int
    batch_size: int
    seconds: float
    seconds_from: str

    def as_dict(self) -> dict[str, Any]:
        """The plan for `--json`."""
        return asdict(self)


def phase_data(
    workspace: Workspace, inputs: TrainingInput, phase: int, settings: Settings
) -> PhaseData:
    """D_t of a phase."""
    new = workspace.split.labels_of(phase)
    if phase == 0:
        return base_data(inputs.occurrences, new, settings.seed)
    return step_data(inputs.occurrences, new, phase, settings.seed, settings.step.replay)


def plan_training(
    workspace: Workspace, phase: int, settings: Settings, data: PhaseData
) -> TrainingPlan:
    """Count what a phase trains on and estimate its time."""
    split = workspace.split
    schedule = settings.schedule(phase)
    iterations = iterations_of(schedule.epochs, len(data), schedule.batch_size)
    rate, source = _seconds_per_iteration(workspace, phase, settings)
    return TrainingPlan(
        phase=phase,
        new_classes=len(split.groups[phase]),
        seen_classes=split.seen_classes(phase),
        new_entries=len(data.fixed),
        replay_entries=len(data) - len(data.fixed),
        replay_counts={
            str(split.class_order[label]): int(count)
            for label, count in enumerate(data.replayed)
            if count
        },
        iterations=iterations,
        batch_size=schedule.batch_size,
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
            f"all {workspace.last_phase + 1} phases of {workspace.root} are done", "lst report"
        )
    if phase == upcoming:
        return
    command = "lst train-base" if upcoming == 0 else "lst step"
    if phase < upcoming:
        name = "the base phase" if phase == 0 else f"phase {phase}"
        raise LstError(f"{name} is done already", command)
    raise LstError(f"phase {phase} needs phase {upcoming} first", command)


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
    kind = "lite" if settings.preset == "lite" else "resnet"
    megapixels = max(settings.data.min_size) ** 2 * 4 / 3 / 1e6
    seconds = NOMINAL_SECONDS_PER_MEGAPIXEL[kind] * megapixels
    return (
        seconds * settings.schedule(phase).batch_size,
        "a two-core CPU's rate; a GPU is far quicker",
    )
