"""What a model found in images that nobody annotated, as JSON and as a table."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lst_cli.annotations.problems import count_of
from lst_cli.display.records import PanelObject
from lst_cli.display.tables import MISSING, Column, Table, phase_name
from lst_cli.errors import LstError

FORMAT = 1
"""Version of predictions.json."""

ROWS = 20
"""Of more images the table shows the first so many."""

# Letters: a row fits a terminal of 80.
_LONGEST_PATH = 28
_LONGEST_NAME = 22
_LONGEST_LIST = 40


@dataclass(frozen=True)
class FoundImage:
    """One image and what is in it."""

    path: Path
    height: int  # of the upright image, in pixels
    width: int
    objects: tuple[PanelObject, ...]  # the best first
    picture: Path | None = None  # with its objects drawn, below the directory of all pictures
    not_drawn: str = ""  # why it could not be drawn

    def as_dict(self) -> dict[str, Any]:
        """Its entry in predictions.json."""
        drawn = {"picture": self.picture.as_posix()} if self.picture else {}
        drawn = {"not_drawn": self.not_drawn} if self.not_drawn else drawn
        return {
            "file": readable(self.path),
            **{key: readable(value) for key, value in drawn.items()},
            "width": self.width,
            "height": self.height,
            "objects": [
                {
                    "class": one.label,
                    "category_id": one.category_id,
                    "score": one.score,
                    "bbox": list(one.box),
                    "segmentation": one.segmentation,
                }
                for one in self.objects
            ],
        }


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
            "images": [image.as_dict() for image in self.images],
            "left_out": [
                {"file": readable(path), "reason": readable(error.message)}
                for path, error in self.left_out
            ],
        }


def readable(path: Path | str) -> str:
    """A path as text that can be written; a name in another encoding loses some letters."""
    return os.fsencode(path).decode("utf-8", "replace")


def found_table(found: Predictions) -> Table:
    """Make the table of images with what is in them, and the best score of each."""
    shown = found.images[:ROWS]
    classes = {one.category_id for image in found.images for one in image.objects}
    objects = sum(len(image.objects) for image in found.images)
    phase = f"phase {found.phase}" if found.phase else phase_name(0)
    more = len(found.images) - len(shown)

    def best_score(image: FoundImage) -> float | None:
        return image.objects[0].score if image.objects else None

    return Table.of(
        f"{phase}: {count_of(objects, 'object', 'objects')} of "
        f"{count_of(len(classes), 'class', 'classes')} in "
        f"{count_of(len(found.images), 'image', 'images')}, scores of {found.score:g} and more",
        shown,
        (
            Column("image", "image", "text", lambda one: _end_of(readable(one.path))),
            Column("objects", "objects found", "text", objects_text),
            Column("score", "best score", "share", best_score),
        ),
        f"… and {count_of(more, 'more image', 'more images')}" if more else "",
    )


def objects_text(image: FoundImage) -> str:
    """Count the objects of an image by class, the most frequent first: "2 owl, 1 candle".

    What does not fit a table is counted together; where there is nothing it is an en dash.
    """
    counts = Counter(one.label for one in image.objects).most_common()
    text, left = "", len(image.objects)
    for name, count in counts:
        named = f"{count:,} {_start_of(name)}"
        if text and len(text) + len(named) + 2 > _LONGEST_LIST:
            return f"{text}, {count_of(left, 'other', 'others')}"
        text += f", {named}" if text else named
        left -= count
    return text or MISSING


def _end_of(text: str) -> str:
    return text if len(text) <= _LONGEST_PATH else "…" + text[1 - _LONGEST_PATH :]


def _start_of(text: str) -> str:
    name = " ".join(text.split())
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
