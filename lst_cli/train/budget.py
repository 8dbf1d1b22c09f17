"""Equal budgets: how many images a training shows, counted over all its phases.

Runs that differ in entries, batches and phases are comparable by the images that passed through
the network, one seen twice counted twice.
"""

from __future__ import annotations

from lst_cli.errors import LstError
from lst_cli.phases.replay import iterations_of
from lst_cli.settings.models import Settings
from lst_cli.workspace.hints import hints_for, name_workspace
from lst_cli.workspace.store import Workspace

MOST_ITERATIONS = 2**31 - 1


def image_passes_of(workspace: Workspace) -> int:
    """Images that all phases of a workspace showed together.

    Raises:
        LstError: If a phase of its split is not finished.
    """
    upcoming = workspace.next_phase()
    if upcoming is not None:
        name = "joint training" if workspace.split.joint and upcoming == 0 else f"phase {upcoming}"
        raise LstError(
            f"the image passes of {workspace.root} are not known yet: {name} is not finished",
            name_workspace(workspace.training_command(upcoming), workspace.root),
        )
    return sum(workspace.require_done(phase).image_passes for phase in workspace.done_phases())


def budget_of(other: Workspace, workspace: Workspace) -> int:
    """Images that all phases of another workspace showed, for a training in this one.

    Raises:
        LstError: If it is no workspace, learned other data, or is not finished.
    """
    if not other.layout.split.exists():
        raise LstError(
            f"--budget-of {other.root}: no workspace: it holds no split",
            "give the directory of a finished workspace",
        )
    with hints_for(other.root):
        ours, theirs = workspace.split.train, other.split.train
        shown = image_passes_of(other)
    if ours.sha256 != theirs.sha256:
        raise LstError(
            f"--budget-of {other.root}: it learned from {theirs.path}, and {workspace.root} from "
            f"{ours.path}, another file",
            f"give a workspace of the same training file, or --image-passes {shown}",
        )
    return shown


def image_budget(settings: Settings, phase: int, image_passes: int | None = None) -> int | None:
    """Images that a phase is to show; None where its epochs decide.

    Args:
        settings: How to train.
        phase: t.
        image_passes: Images to show; None leaves it to the settings.
    """
    return image_passes or settings.schedule(phase).image_passes or None


def scheduled(
    settings: Settings, phase: int, entries: int, image_passes: int | None = None
) -> Settings:
    """Settings with the epochs that a phase is really to have.

    Args:
        settings: How to train.
        phase: t.
        entries: Entries in an epoch.
        image_passes: Images to show; None leaves it to the settings.
    """
    wanted = image_budget(settings, phase, image_passes)
    return settings if wanted is None else spend(settings, phase, entries, wanted)


def count_iterations(settings: Settings, phase: int, entries: int) -> int:
    """Iterations of a phase.

    Args:
        settings: From `scheduled`.
        phase: t.
        entries: Entries in an epoch.

    Raises:
        LstError: If they are more than could be counted, let alone trained.
    """
    batch, epochs = settings.schedule(phase).batch_size, settings.schedule(phase).epochs
    iterations = iterations_of(epochs, entries, batch)
    if iterations > MOST_ITERATIONS:
        key = "base" if phase == 0 else "step"
        raise LstError(
            f"{key}.epochs = {epochs:g} over {entries:,} entries are {iterations:,} iterations, "
            f"more than {MOST_ITERATIONS:,}",
            f"--set {key}.epochs=10, or a larger {key}.batch_size",
        )
    return iterations


def spend(settings: Settings, phase: int, entries: int, image_passes: int) -> Settings:
    """Settings under which a phase shows a number of images.

    Epochs become longer or shorter, and the places where the learning rate falls with them.

    Args:
        settings: How to train.
        phase: t.
        entries: Entries in an epoch.
        image_passes: Images to show; iterations are rounded to whole batches.
    """
    schedule = settings.schedule(phase)
    epochs = image_passes / entries
    decays = tuple(epoch / schedule.epochs * epochs for epoch in schedule.decay_epochs)
    changed = schedule.model_copy(update={"epochs": epochs, "decay_epochs": decays})
    return settings.model_copy(update={"base" if phase == 0 else "step": changed})
