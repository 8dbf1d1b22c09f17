"""Directories of phases that are replaced, or copied from another workspace."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.workspace.atomic import explain_os_error, replacing
from lst_cli.workspace.hints import name_workspace
from lst_cli.workspace.layout import MANIFEST, REPLACED, PhaseDirectory
from lst_cli.workspace.manifest import FORMATS, PhaseManifest, SharedFrom
from lst_cli.workspace.records import load_json, load_record
from lst_cli.workspace.store import Workspace


def set_aside(directory: Path, root: Path) -> Path | None:
    """Move the directory of a phase, or of all phases, out of the way in the workspace `root`.

    Returns where it lies now; None if there is no such directory.
    """
    if not directory.exists():
        return None
    with explain_os_error(directory):
        (root / REPLACED).mkdir(exist_ok=True)
        number = 1
        while (place := root / REPLACED / f"{directory.name}-{number}").exists():
            number += 1
        directory.rename(place)
    return place


def put_back(place: Path | None, directory: Path) -> None:
    """Undo `set_aside`; what is in its place by now is removed."""
    if place is not None:
        with explain_os_error(directory):
            if directory.exists():
                shutil.rmtree(directory)
            place.rename(directory)
            _remove_empty(place.parent)


def drop(place: Path | None) -> str | None:
    """Remove what was set aside, unless a phase in it is finished: such a phase is never removed.

    Returns where it lies now, in words; None if nothing was kept.
    """
    if place is None:
        return None
    if any(map(_may_be_finished, (place / MANIFEST, *place.glob(f"*/{MANIFEST}")))):
        return f"finished phases were moved to {place}: remove it when you do not need them"
    with explain_os_error(place):
        shutil.rmtree(place)
        _remove_empty(place.parent)
    return None


def _may_be_finished(manifest: Path) -> bool:
    try:
        return manifest.exists() and load_record(PhaseManifest, manifest, "", FORMATS).done
    except LstError:  # damaged, and perhaps finished
        return True


def _remove_empty(directory: Path) -> None:
    if not any(directory.iterdir()):
        directory.rmdir()


def remove_other_banks(directory: PhaseDirectory, sha256: str | None) -> None:
    """Remove banks of a phase that its manifest does not name."""
    for path in directory.banks():
        if sha256 is None or path != directory.bank(sha256):
            with explain_os_error(path):
                path.unlink()


def take_over_base(workspace: Workspace, source: Workspace) -> PhaseManifest:
    """Copy the finished base phase of another workspace, if it would be the same here.

    Its training depends on the training file and the base classes alone, so that workspaces
    whose later phases differ can share one. The manifest, which is returned, says where the
    phase was trained.
    """
    found = source.require_model(0)
    if workspace.split.base_digest != source.split.base_digest:
        raise LstError(
            f"the base phase of {source.root} is of other training data or other classes than "
            f"that of {workspace.root}",
            name_workspace("train it here: lst train-base", workspace.root),
        )
    with workspace.locked():
        if workspace.manifest(0) is not None:
            raise LstError(f"{workspace.root} has a base phase already", "lst status")
        ours, theirs = workspace.phase(0), source.phase(0)
        files = [(theirs.model, ours.model), (theirs.log, ours.log)]
        if found.bank_sha256 is not None:
            files.append((theirs.bank(found.bank_sha256), ours.bank(found.bank_sha256)))
        _copy(files)
        origin = SharedFrom(workspace=str(source.root.resolve()), split_sha256=found.split_sha256)
        own = {"split_sha256": workspace.split.digest_at(0), "shared_from": origin}
        manifest = found.model_copy(update=own)
        # Last: what has no manifest is no phase.
        workspace.save_manifest(manifest)
        return manifest


def take_over_evaluation(workspace: Workspace, source: Workspace) -> bool:
    """Copy the results of an evaluation of the same base phase from another workspace.

    The caller checks that it was made under the same test setting and bins. Returns whether there
    was anything to copy: the same model evaluated on the same file.
    """
    ours, theirs = workspace.manifest(0), source.manifest(0)
    if ours is None or theirs is None or ours.model_sha256 != theirs.model_sha256:
        return False
    here, there = workspace.phase(0), source.phase(0)
    if not theirs.done or not there.metrics.exists() or not there.detections.exists():
        return False
    if workspace.split.val_at(0).sha256 != source.split.val_at(0).sha256:
        return False
    wanted = load_json(there.metrics, "").get("detections_sha256")
    if wanted and sha256_of(there.detections) != wanted:
        return False
    with workspace.locked():
        _copy([(there.detections, here.detections), (there.metrics, here.metrics)])
    return True


def _copy(files: Sequence[tuple[Path, Path]]) -> None:
    for source, target in files:
        if source.exists():
            with replacing(target) as temporary:
                shutil.copyfile(source, temporary)
