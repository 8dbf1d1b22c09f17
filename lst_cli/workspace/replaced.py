"""Phases that are replaced stay until the new ones are there; a finished phase is never removed."""

from __future__ import annotations

import shutil
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.workspace.atomic import explain_os_error
from lst_cli.workspace.layout import MANIFEST, REPLACED
from lst_cli.workspace.manifest import FORMATS, PhaseManifest
from lst_cli.workspace.records import load_record


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
    """Remove what was set aside, unless a phase in it is finished.

    Returns:
        Where a finished phase lies now, in words; None if nothing was kept.
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
