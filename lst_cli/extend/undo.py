"""`lst extend --undo`: the last extension is removed from a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.extend.new_classes import listed
from lst_cli.inputs import label_files, read_training_files
from lst_cli.split.split import plan_phases
from lst_cli.workspace.layout import REPLACED
from lst_cli.workspace.manifest import ClassRecord
from lst_cli.workspace.phase_files import drop, set_aside
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class Undone:
    """What was removed."""

    phase: int
    classes: tuple[ClassRecord, ...]
    # Where finished phases of this number lie that were replaced or removed.
    kept_in: tuple[Path, ...]


def undo_extension(workspace: Workspace) -> Undone:
    """Make a workspace what it was before the last `lst extend`, whether that finished or not.

    Planned phases after it move down by one. A finished phase is moved to `replaced/` with its
    metrics and detections, an unfinished one is removed. The split is written last: until then,
    the same call does what is left.

    Raises:
        LstError: If there is no extension, or a later phase was begun.
    """
    _removable_phase(workspace)  # before the workspace's directory is made
    with workspace.locked():
        phase = _removable_phase(workspace)
        split, root = workspace.split, workspace.root
        before = split.up_to(phase - 1)
        if not split.extensions[-1].before:  # of lst 0.1, which did not keep the plans
            inputs = label_files(before, read_training_files(workspace, before))
            plans = plan_phases(before, inputs.occurrences, workspace.settings())
            before = before.model_copy(update={"phases": plans})
        directory = workspace.phase(phase).root
        set_aside(directory, root)
        # Also what a killed command has set aside: of it, too, finished phases stay.
        aside = sorted((root / REPLACED).glob(f"{directory.name}-*"))
        kept = tuple(place for place in aside if drop(place) is not None)
        workspace.save_split(before)
    return Undone(phase, split.classes_of(phase), kept)


def _removable_phase(workspace: Workspace) -> int:
    """The phase of the last extension."""
    split = workspace.split
    if not split.extensions:
        raise LstError(
            f"{workspace.root} has no classes that were added with lst extend", "lst status"
        )
    phase = split.extensions[-1].phase
    later = [workspace.phase(one).root for one in range(phase + 1, len(split.groups))]
    if begun := [directory for directory in later if directory.exists()]:
        names = listed([record.name for record in split.classes_of(phase)])
        places = " and ".join(map(str, begun))
        raise LstError(
            f"{begun[0]}: this phase was trained after {names} were added in phase {phase}, and "
            "is useless without it",
            f"to give it up, move {places} elsewhere; then lst extend --undo",
        )
    return phase
