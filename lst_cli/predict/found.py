"""What a model found in images that nobody annotated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lst_cli.errors import LstError

if TYPE_CHECKING:
    from lst_cli.display.records import PanelObject

FORMAT = 1
"""Version of predictions.json."""

SCORE = 0.3
"""Lowest score of an object, unless another is wanted; the report's pictures have the same."""


@dataclass(frozen=True)
class FoundImage:
    """One image and what is in it."""

    path: Path
    height: int  # of the upright image, in pixels
    width: int
    objects: tuple[PanelObject, ...]  # the best first
    # the image with its objects drawn, below the directory of all pictures; None if none was
    # asked for, or it could not be drawn
    picture: Path | None = None
    not_drawn: str = ""  # why it could not be drawn


@dataclass(frozen=True)
class Predictions:
    """What the model of a phase found."""

    phase: int
    score: float  # objects with a lower one are left out
    images: tuple[FoundImage, ...]  # in the order in which they were named
    left_out: tuple[tuple[Path, LstError], ...] = ()  # images that could not be used, and why

    def as_dict(self) -> dict[str, Any]:
        """The content of predictions.json."""
        return {
            "format": FORMAT,
            "phase": self.phase,
            "score": self.score,
            "images": [_image_dict(image) for image in self.images],
            "left_out": [
                {"file": readable(path), "reason": readable(error.message)}
                for path, error in self.left_out
            ],
        }


def _image_dict(image: FoundImage) -> dict[str, Any]:
    picture = image.not_drawn or (image.picture and image.picture.as_posix())
    return {
        "file": readable(image.path),
        **({"not_drawn" if image.not_drawn else "picture": readable(picture)} if picture else {}),
        "width": image.width,
        "height": image.height,
        "objects": [
            {
                "class": one.label,
                "category_id": one.category_id,
                "score": one.score,
                "bbox": list(one.box),
                "segmentation": one.segmentation,
            }
            for one in image.objects
        ],
    }


def readable(path: Path | str) -> str:
    """A path as text that can be written; a name in another encoding loses some letters."""
    return os.fsencode(path).decode("utf-8", "replace")
