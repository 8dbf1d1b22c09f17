"""The table of what was found in images."""

from __future__ import annotations

from collections import Counter

from lst_cli.annotations.problems import count_of
from lst_cli.display.tables import MISSING, Column, Table, phase_name
from lst_cli.predict.found import FoundImage, Predictions, readable

ROWS = 20
"""Of more images the table shows the first so many."""

# Letters: a row fits a terminal of 80.
_LONGEST_PATH = 28
_LONGEST_NAME = 22
_LONGEST_LIST = 40


def found_table(found: Predictions) -> Table:
    """Make the table of images with what is in them, and the best score of each."""
    shown = found.images[:ROWS]
    classes = {one.category_id for image in found.images for one in image.objects}
    objects = sum(len(image.objects) for image in found.images)
    phase = f"phase {found.phase}" if found.phase else phase_name(0)
    more = len(found.images) - len(shown)
    return Table.of(
        f"{phase}: {count_of(objects, 'object', 'objects')} of "
        f"{count_of(len(classes), 'class', 'classes')} in "
        f"{count_of(len(found.images), 'image', 'images')}, scores of {found.score:g} and more",
        shown,
        (
            Column("image", "image", "text", lambda image: _end_of(readable(image.path))),
            Column("objects", "objects found", "text", objects_text),
            Column("score", "best score", "share", _best_score),
        ),
        f"… and {count_of(more, 'more image', 'more images')}" if more else "",
    )


def _best_score(image: FoundImage) -> float | None:
    return image.objects[0].score if image.objects else None


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
