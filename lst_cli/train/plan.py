"""What a phase will train on, for how many iterations, and how long that may take.

torch is not imported here. Budgets are counted in images that pass through the network, one seen
twice counted twice: so runs that differ in samples, batches and phases can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lst_cli import ranks
from lst_cli.errors import LstError
from lst_cli.inputs import TrainingInput, read_training_input
from lst_cli.phases.replay import (
    ALL_CLASSES,
    Entries,
    Occurrences,
    PhaseData,
    base_data,
    few_data,
    instances_per_class,
    iterations_of,
    step_data,
)
from lst_cli.phases.sampling import pasted_objects
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.workspace.hints import hints_for, name_workspace
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from torch import Tensor

# Seconds of training a megapixel on two CPU cores, from docs/benchmarks/paper-r50-cpu.md and
# docs/benchmarks/demo.md. Used until a phase of this workspace has been timed.
NOMINAL_SECONDS_PER_MEGAPIXEL = {"resnet": 8.0, "lite": 1.5}
NOMINAL_SOURCE = "a two-core CPU's rate; a GPU is far quicker"
MOST_ITERATIONS = 2**31 - 1


@dataclass(frozen=True)
class TrainingPlan:
    """The length and the data of a phase's training."""

    phase: int
    new_classes: int
    seen_classes: int  # of the model, the new ones included
    new_entries: int  # of new classes an epoch (base: images, repeated ones as often)
    images: int  # different images among the entries of new classes (base: among all)
    replay_entries: int  # an epoch
    replay_counts: dict[str, int]  # entries an epoch of each replayed class, by category_id
    iterations: int
    batch_size: int
    image_passes: int  # images that are shown in all, repeated ones as often
    seconds: float  # how long it may take
    seconds_from: str  # what this estimate rests on
    timed: bool = False  # whether it was measured with the phase's own first images


@dataclass(frozen=True)
class Events:
    """Progress callbacks of training."""

    # The phase is about to start: the plan, and the iterations already done.
    plan: Callable[[TrainingPlan, int], None] = lambda plan, start: None
    # A sentence worth reading, such as which initial weights were used.
    note: Callable[[str], None] = lambda text: None
    # An `engine.loop.Report` after each iteration.
    iteration: Callable[[Any], None] = lambda report: None
    # Work before the first iteration: what, how much is done, of how much.
    prepare: Progress = silent


@dataclass(frozen=True)
class Job:
    """A phase to be trained, as decided without torch."""

    workspace: Workspace
    plan: TrainingPlan
    settings: Settings  # with the epochs that the phase really has
    inputs: TrainingInput
    data: PhaseData
    notes: tuple[str, ...] = ()  # what was decided otherwise than the settings say
    weights: str | None = None  # the file of initial weights
    # Rows of the images that no objects could be cut out of when the phase was begun; None: now.
    left_out: tuple[int, ...] | None = None
    events: Events = Events()
    by_image: bool = False  # as in the manifest
    # What writes the rows of new classes for new_rows = fitted; None if that cannot be.
    fitted_rows: Callable[[Job], Tensor] | None = None

    @property
    def quick(self) -> bool:
        """Whether it is a phase of `lst extend --finetune` that is trained by [extend]."""
        return is_quick(self.workspace.split, self.plan.phase, self.settings)


def plan_job(
    workspace: Workspace, phase: int, settings: Settings, image_passes: int | None = None
) -> Job:
    """Read the annotations of a phase and decide what it trains on, and for how long.

    `image_passes` is its budget, if not that of the settings. Raises an `LstError` if the
    annotations changed since the split, or the phase is too long.
    """
    split, inputs = workspace.split, read_training_input(workspace)
    if split.extension_at(phase):
        settings = settings.for_extension()
    data = phase_data(split, inputs.occurrences, phase, settings)
    notes: tuple[str, ...] = ()
    missing = [row for row in data.few.images.tolist() if not inputs.paths.is_listed(row)]
    banks = [workspace.require_done(one).bank_sha256 for one in range(phase if missing else 0)]
    if any(banks) and is_quick(split, phase, settings):
        step = settings.step.model_copy(update={"replay": "bank"})
        settings = settings.model_copy(update={"step": step})
        name = inputs.dataset.images.names[missing[0]][0]
        notes = (
            f"{len(missing):,} of {len(data.few):,} images of old classes not found, such as "
            f"{name}: objects from the bank are pasted into the new images instead",
        )
        data = phase_data(split, inputs.occurrences, phase, settings)
    settings, iterations = scheduled(settings, phase, len(data), image_passes)
    batch_size = settings.schedule(phase).batch_size
    rate, source = _seconds_per_iteration(workspace, phase, settings)
    plan = TrainingPlan(
        phase=phase,
        new_classes=len(split.groups[phase]),
        seen_classes=split.seen_classes(phase),
        new_entries=len(data) - data.replay_entries,
        images=len(np.unique(data.fixed.images)),
        replay_entries=data.replay_entries,
        replay_counts={
            str(split.class_order[label]): int(count)
            for label, count in enumerate(data.replay_counts())
            if count
        },
        iterations=iterations,
        batch_size=batch_size,
        image_passes=iterations * batch_size,
        seconds=iterations * rate,
        seconds_from=source,
    )
    return Job(workspace, plan, settings, inputs, data, notes)


def is_quick(split: Split, phase: int, settings: Settings) -> bool:
    """Whether a phase is one of `lst extend --finetune` that is trained by [extend]."""
    return split.extension_at(phase) is not None and settings.extend.image_passes > 0


def phase_data(split: Split, occurrences: Occurrences, phase: int, settings: Settings) -> PhaseData:
    """D_t of a phase."""
    new, seed = split.labels_of(phase), settings.seed
    if phase == 0:
        base = settings.base
        rules = base.sampler, base.repeat_threshold, base.few_instances
        return base_data(occurrences, new, seed, *rules)
    if settings.step.sampler != "samples":
        sampling, threshold = settings.step.sampler, settings.step.repeat_threshold
        data = base_data(occurrences, range(new.stop), seed, sampling, threshold)
        return replace(data, phase=phase)
    replay = settings.step.replay
    if replay == "bank" and not is_quick(split, phase, settings):
        raise LstError(
            "step.replay = bank: a whole phase has too many classes for that",
            "set step.replay = few or balanced; extend.replay is for lst extend --finetune",
        )
    if replay in ("few", "bank"):
        instances = settings.step.replay_instances if replay == "few" else 0
        return few_data(occurrences, new, phase, seed, instances)
    return step_data(occurrences, new, phase, seed, replay)


def counted_per_epoch(data: PhaseData, seen: int, settings: Settings) -> npt.NDArray[np.int64]:
    """Objects of each seen class that count in the images of a phase's first epoch, shape (K,)."""
    entries = data.epoch_entries(0)
    if settings.step.other_objects == "count":
        entries = Entries.of({ALL_CLASSES: entries.images})
    return instances_per_class(entries, data.occurrences, seen)


def pasted_per_epoch(
    data: PhaseData, new: range, settings: Settings, shown: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Objects of each seen class that an epoch of a phase pastes on average, shape (K,).

    `shown` are those of `counted_per_epoch`.
    """
    schedule = settings.schedule(data.phase)
    # Any number up to the most is as likely.
    objects = len(data) * schedule.paste_objects / 2
    return pasted_objects(schedule.paste_classes, shown, new, objects)


def shown_per_epoch(job: Job) -> npt.NDArray[np.float64]:
    """Objects of each seen class that count in the first epoch, those pasted included."""
    seen, settings = job.plan.seen_classes, job.settings
    counted = counted_per_epoch(job.data, seen, settings)
    shown = counted.astype(np.float64)
    new = range(seen - job.plan.new_classes, seen)
    if job.quick:
        if settings.step.replay == "bank":
            shown[: new.start] += len(job.data) * settings.extend.paste_objects / new.start
        shown[new.start :] += len(job.data) * settings.extend.paste_new / len(new)
    elif settings.schedule(job.plan.phase).paste_objects:
        shown += pasted_per_epoch(job.data, new, settings, counted)
    return shown


def classes_with_more(job: Job, instances: int) -> int:
    """Seen classes with more training instances than this: the first ones in class order."""
    counts = job.inputs.occurrences.instance_counts()[: job.plan.seen_classes]
    return int(np.count_nonzero(counts > instances))


def _seconds_per_iteration(
    workspace: Workspace, phase: int, settings: Settings
) -> tuple[float, str]:
    # A phase that was added instantly has no rate.
    done = [p for p in workspace.done_phases() if workspace.require_done(p).iterations]
    same_kind = [p for p in done if (p == 0) == (phase == 0)] or done
    if same_kind:
        manifest = workspace.require_done(same_kind[-1])
        if manifest.seconds:
            name = "base phase" if same_kind[-1] == 0 else f"phase {same_kind[-1]}"
            return manifest.seconds / manifest.iterations, f"the rate of the {name}"
    return nominal_seconds_per_image(settings) * settings.schedule(phase).batch_size, NOMINAL_SOURCE


def nominal_seconds_per_image(settings: Settings) -> float:
    """How long training takes for an image where nothing was timed yet."""
    kind = "lite" if settings.preset.startswith("lite") else "resnet"
    megapixels = max(settings.data.min_size) ** 2 * 4 / 3 / 1e6
    return NOMINAL_SECONDS_PER_MEGAPIXEL[kind] * megapixels


def image_passes_of(workspace: Workspace) -> int:
    """Images that all phases of a workspace showed; an `LstError` if one is not finished."""
    upcoming = workspace.next_phase()
    if upcoming is not None:
        name = "joint training" if workspace.split.joint and upcoming == 0 else f"phase {upcoming}"
        raise LstError(
            f"the image passes of {workspace.root} are not known yet: {name} is not finished",
            name_workspace(workspace.training_command(upcoming), workspace.root),
        )
    return sum(workspace.require_done(phase).image_passes for phase in workspace.done_phases())


def budget_of(other: Workspace, workspace: Workspace) -> int:
    """Images that another workspace showed; an `LstError` if unfinished or of other data."""
    if not other.layout.split.exists():
        raise LstError(
            f"--budget-of {other.root}: not a workspace: it has no split",
            "give the directory of a finished workspace",
        )
    with hints_for(other.root):
        ours, theirs = workspace.split.train, other.split.train
        shown = image_passes_of(other)
    if ours.sha256 != theirs.sha256:
        raise LstError(
            f"--budget-of {other.root}: it was trained on {theirs.path}, and {workspace.root} from "
            f"{ours.path}, another file",
            f"give a workspace of the same training file, or --image-passes {shown}",
        )
    return shown


def image_budget(settings: Settings, phase: int, image_passes: int | None = None) -> int | None:
    """Images that a phase is to show; None if its epochs decide."""
    return image_passes or settings.schedule(phase).image_passes or None


def scheduled(
    settings: Settings, phase: int, entries: int, image_passes: int | None = None
) -> tuple[Settings, int]:
    """The settings of a phase with the epochs that it is really to have, and its iterations.

    `entries` are those of an epoch. A budget makes epochs longer or shorter, and moves the decays
    of the learning rate with them. Raises an `LstError` if there are more iterations than can be
    counted, let alone trained.
    """
    key = "base" if phase == 0 else "step"
    schedule = settings.schedule(phase)
    budget = image_budget(settings, phase, image_passes)
    if budget is not None:
        epochs = budget / entries
        decays = tuple(epoch / schedule.epochs * epochs for epoch in schedule.decay_epochs)
        schedule = schedule.model_copy(update={"epochs": epochs, "decay_epochs": decays})
        settings = settings.model_copy(update={key: schedule})
    iterations = iterations_of(schedule.epochs, entries, schedule.batch_size)
    if iterations > MOST_ITERATIONS:
        raise LstError(
            f"{key}.epochs = {schedule.epochs:g} over {entries:,} samples are {iterations:,} "
            f"iterations, more than {MOST_ITERATIONS:,}",
            f"--set {key}.epochs=10, or a larger {key}.batch_size",
        )
    return settings, iterations


def require_trainable(workspace: Workspace, phase: int, settings: Settings) -> None:
    """Raise an `LstError` if a phase is not the next one, or its network could not grow."""
    upcoming = workspace.next_phase()
    if upcoming is None:
        raise LstError(
            f"joint training of {workspace.root} is done"
            if workspace.joint
            else f"all phases of {workspace.root} are done: lst extend adds classes",
            "lst status",
        )
    if phase != upcoming:
        name = "the base phase" if phase == 0 else f"phase {phase}"
        why = "is done already" if phase < upcoming else f"needs phase {upcoming} first"
        raise LstError(f"{name} {why}", workspace.training_command(upcoming))
    if phase > 0 or not workspace.split.joint:
        require_growable(settings)


def require_divisible(settings: Settings, phase: int) -> None:
    """Raise an `LstError` if the processes cannot share the batches of a phase evenly."""
    size, key = settings.schedule(phase).batch_size, "base" if phase == 0 else "step"
    processes = ranks.world()
    if size % processes:
        raise LstError(
            f"{key}.batch_size = {size} cannot be shared evenly by {processes} processes",
            f"start {size} processes or a number that divides {size}, or --set "
            f"{key}.batch_size={processes * max(1, round(size / processes))}",
        )


def require_joint(workspace: Workspace, *, joint: bool) -> None:
    """Raise an `LstError` if phase 0 is not trained by the command that is for `joint`."""
    if workspace.split.joint == joint or workspace.adopted:
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
    """Raise an `LstError` if later phases cannot grow the classifier or masks of these settings."""
    model, share = settings.model, settings.mwg.background_share
    if settings.step.mwg and model.binary and share:
        raise LstError(
            f"mwg.background_share = {share:g}: classes of model.class_loss = {model.class_loss} "
            "have no background to subtract",
            "set mwg.background_share = 0",
        )
    for key, value, needed in (("head", model.head, "cosine"), ("mask", model.mask, "transfer")):
        if value != needed:
            raise LstError(
                f"model.{key} = {value}: new classes need model.{key} = {needed}; other values "
                "are for joint training",
                f"set model.{key} = {needed}, or train all classes at once: lst split --joint "
                "-w OTHER --train TRAIN.json --val VAL.json --images DIR",
            )
