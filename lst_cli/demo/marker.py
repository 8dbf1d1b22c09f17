"""Whether a directory holds a demo set, which one, and whether it is whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

from lst_cli.demo.glyphs import find_font
from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.workspace.records import load_json, save_json

MARKER = "demo.json"
_FORMAT = 1  # raise it when the same parameters draw something else


@dataclass(frozen=True)
class DemoSet:
    """A drawn demo set.

    Args:
        train_json: LVIS v1-format training annotations.
        val_json: Validation annotations.
        images_dir: Where the `coco_url` of both files starts.
        classes: Number of classes.
        train_images: Number of training images.
        train_instances: Number of training instances.
        val_images: Number of validation images.
        val_instances: Number of validation instances.
        reused: Whether the set was there already and nothing was drawn.
    """

    train_json: Path
    val_json: Path
    images_dir: Path
    classes: int
    train_images: int
    train_instances: int
    val_images: int
    val_instances: int
    reused: bool


def describe_request(parameters: dict[str, Any]) -> dict[str, Any]:
    """Record everything that decides the bytes of a set.

    Args:
        parameters: The arguments of `draw_demo`.

    Raises:
        LstError: If the font is missing.
    """
    return {
        "format": _FORMAT,
        "parameters": parameters,
        "versions": {
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "freetype": str(features.version("freetype2")),
            "libjpeg": str(features.version("jpg")),
            "font": _hash(find_font().read_bytes()),
        },
    }


def find_complete(directory: Path, record: dict[str, Any]) -> DemoSet | None:
    """Give the set in `directory` if it is the one asked for, whole and unchanged."""
    try:
        marker = load_json(directory / MARKER, "lst demo")
        if not marker["complete"] or any(marker[key] != record[key] for key in record):
            return None
        for split in ("train", "val"):
            if _hash(read_regular(directory / f"{split}.json")) != marker["sha256"][split]:
                return None
            files = list((directory / "images" / split).glob("*.jpg"))
            if len(files) != marker["counts"][f"{split}_images"]:
                return None
        return _describe(directory, marker, reused=True)
    except (LstError, OSError, ValueError, KeyError, TypeError):
        return None


def claim(directory: Path, record: dict[str, Any]) -> None:
    """Mark the directory as ours and remove what an earlier set left there.

    Raises:
        LstError: If the directory holds something that was not drawn here, or cannot be
            written.
    """
    names = ("train.json", "val.json", "images")
    if not (directory / MARKER).exists():
        strangers = [name for name in names if (directory / name).exists()]
        if strangers:
            raise LstError(
                f"{directory / strangers[0]} was not drawn by lst demo and will not be replaced",
                hint="choose an empty directory",
            )
    _write_marker(directory, {**record, "complete": False})
    for split in ("train", "val"):
        (directory / f"{split}.json").unlink(missing_ok=True)
        for path in sorted((directory / "images" / split).glob("[0-9]*.jpg")):
            path.unlink()


def complete(
    directory: Path, record: dict[str, Any], hashes: dict[str, str], counts: dict[str, int]
) -> DemoSet:
    """Declare the set whole; nothing may be written to it afterwards.

    Args:
        directory: Where it lies.
        record: What `describe_request` gave.
        hashes: SHA-256 of each annotation file, by split.
        counts: The numbers of images and instances, named as in `DemoSet`.

    Raises:
        LstError: If the directory cannot be written.
    """
    marker = {**record, "complete": True, "sha256": hashes, "counts": counts}
    _write_marker(directory, marker)
    return _describe(directory, marker, reused=False)


def _write_marker(directory: Path, marker: dict[str, Any]) -> None:
    save_json(marker, directory / MARKER)


def _describe(directory: Path, marker: dict[str, Any], *, reused: bool) -> DemoSet:
    return DemoSet(
        train_json=directory / "train.json",
        val_json=directory / "val.json",
        images_dir=directory / "images",
        classes=marker["parameters"]["classes"],
        reused=reused,
        **marker["counts"],
    )


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
