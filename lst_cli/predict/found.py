"""What a model found in images that nobody annotated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lst_cli.errors import LstError

FORMAT = 1
"""Version of predictions.json."""

SCORE = 0.3
"""Lowest score of an object, unless another is wanted; the report's pictures have the same."""


@dataclass(frozen=True)
class FoundObject:
    """One object.

    Attributes:
        name: Of its class.
        category_id: Of its class.
        score: In [0, 1].
        box: x, y, width, height in pixels of the upright image.
        rle: Compressed run lengths of its mask.
    """

    name: str
    category_id: int
    score: float
    box: tuple[float, float, float, float]
    rle: dict[str, Any]


@dataclass(frozen=True)
class FoundImage:
    """One image and what is in it.

    Attributes:
        path: Its file.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        objects: The best first.
        picture: The image with its objects drawn, below the directory of all pictures; None if
            none was asked for, or it could not be drawn.
        not_drawn: Why it could not be drawn; empty if it was, or was not asked for.
    """

    path: Path
    height: int
    width: int
    objects: tuple[FoundObject, ...]
    picture: Path | None = None
    not_drawn: str = ""


@dataclass(frozen=True)
class Predictions:
    """What the model of a phase found.

    Attributes:
        phase: t.
        score: Objects with a lower one are left out.
        images: The images, in the order in which they were named.
        left_out: Images that could not be used, and why.
    """

    phase: int
    score: float
    images: tuple[FoundImage, ...]
    left_out: tuple[tuple[Path, LstError], ...] = ()

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
    picture = {} if image.picture is None else {"picture": readable(image.picture.as_posix())}
    if image.not_drawn:
        picture = {"not_drawn": readable(image.not_drawn)}
    return {
        "file": readable(image.path),
        **picture,
        "width": image.width,
        "height": image.height,
        "objects": [
            {
                "class": one.name,
                "category_id": one.category_id,
                "score": one.score,
                "bbox": list(one.box),
                "segmentation": one.rle,
            }
            for one in image.objects
        ],
    }


def readable(path: Path | str) -> str:
    """A path as text that can be written: of a name in another encoding some letters are lost."""
    return os.fsencode(path).decode("utf-8", "replace")
