"""Initial weights of a base phase from another workspace; torch is not imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lst_cli.errors import LstError
from lst_cli.settings.models import Settings
from lst_cli.weights.kinds import is_fetched
from lst_cli.workspace.layout import SPLIT, PhaseDirectory
from lst_cli.workspace.manifest import FORMATS, PhaseManifest, completed
from lst_cli.workspace.records import load_record
from lst_cli.workspace.store import Workspace


def find_weights(given: str | None) -> str | None:
    """The file or address that `--weights` means: of a workspace, its last finished model.

    Raises an `LstError` if no phase of the workspace is finished, or its model was changed.
    """
    # Path.is_file() raises where a name is too long.
    if given is None or is_fetched(given) or not os.path.isfile(Path(given) / SPLIT):  # noqa: PTH113
        return given
    other = Workspace(Path(given))
    try:
        phase = other.newest_phase()
        other.require_model(phase)
    except LstError as error:
        raise LstError(f"--weights {given}: {error.message}", error.hint) from error
    return str(other.phase(phase).model)


def name_networks(source: str, settings: Settings) -> tuple[str, str] | None:
    """The network of a model that lst trained, and that of some settings; None for other files."""
    directory = PhaseDirectory(Path(source).parent)
    if Path(source) != directory.model or not directory.manifest.is_file():
        return None
    hint = "copy the weights to another directory, where no manifest belongs to them"
    manifest = load_record(PhaseManifest, directory.manifest, hint, FORMATS)
    return _network_of(completed(manifest)), _network_of(settings.model_dump(mode="json"))


def _network_of(settings: Mapping[str, Any]) -> str:
    name = settings["detectron2"].get("MODEL.BACKBONE.NAME") or settings["model"]["config"]
    return str(name)
