"""Initial weights of a base phase from another workspace; torch is not imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lst_cli.errors import LstError
from lst_cli.settings.diff import network_differences
from lst_cli.settings.models import Settings
from lst_cli.weights.kinds import is_fetched
from lst_cli.workspace.layout import SPLIT, PhaseDirectory
from lst_cli.workspace.manifest import FORMATS, PhaseManifest, Split, completed
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
    manifest = _manifest_of(source)
    if manifest is None:
        return None
    return _network_of(completed(manifest)), _network_of(settings.model_dump(mode="json"))


def is_of_same_classes(source: str, split: Split, settings: Settings) -> bool:
    """Whether a file is a model that lst trained on the same file, classes and network as phase 0.

    Then its classifier fits too.
    """
    manifest = _manifest_of(source)
    if manifest is None:
        return False
    other = Workspace(Path(source).resolve().parents[2])
    if not other.layout.split.is_file():
        return False
    theirs, classes = other.split.up_to(manifest.phase), split.base_classes
    return (
        theirs.train.sha256 == split.train.sha256
        and theirs.class_order[: manifest.seen_classes] == split.class_order[:classes]
        and not network_differences(completed(manifest), settings)
    )


def require_teacher(source: str | None, split: Split, settings: Settings) -> None:
    """Raise an `LstError` if phase 0 is to be distilled from weights of other classes."""
    if settings.base.distill_weight and not (
        source is not None and is_of_same_classes(source, split, settings)
    ):
        raise LstError(
            "base.distill_weight: the initial weights are not a model of the same classes, "
            "training file and network",
            "give such a workspace as --weights, or set base.distill_weight = 0",
        )


def _manifest_of(source: str) -> PhaseManifest | None:
    directory = PhaseDirectory(Path(source).parent)
    if Path(source) != directory.model or not directory.manifest.is_file():
        return None
    hint = "copy the weights to another directory, where no manifest belongs to them"
    return load_record(PhaseManifest, directory.manifest, hint, FORMATS)


def _network_of(settings: Mapping[str, Any]) -> str:
    name = settings["detectron2"].get("MODEL.BACKBONE.NAME") or settings["model"]["config"]
    return str(name)
