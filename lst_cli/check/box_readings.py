"""Which other meaning four numbers of a box may have: corners, shares of the image, and so on.

Edges are left, top, right and bottom in pixels, shape (n, 4); sizes are width and height of the
image of each box, shape (n, 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_UNITS: tuple[tuple[str, float, float], ...] = (  # name, whole image, half a step of rounding
    ("", 0.0, 0.0),
    ("in shares of the image (0 to 1)", 1.0, 0.005),
    ("in percent of the image", 100.0, 0.5),
    ("in thousandths of the image", 1000.0, 0.5),
)
# Columns of the box that hold left, top, and then right and bottom or width and height.
_LAYOUTS: tuple[tuple[str, tuple[int, int, int, int], str], ...] = (
    ("", (0, 1, 2, 3), "size"),
    ("as corners (left, top, right, bottom)", (0, 1, 2, 3), "corner"),
    ("with the centre first (centre x, centre y, width, height)", (0, 1, 2, 3), "centre"),
    ("with rows first (top, left, height, width)", (1, 0, 3, 2), "size"),
    ("as corners, rows first (top, left, bottom, right)", (1, 0, 3, 2), "corner"),
    (
        "with the centre first, rows first (centre y, centre x, height, width)",
        (1, 0, 3, 2),
        "centre",
    ),
    ("as left, right, top, bottom", (0, 2, 1, 3), "corner"),
    ("with width and height exchanged", (0, 1, 3, 2), "size"),
)


@dataclass(frozen=True)
class Reading:
    """A meaning that a box may have.

    Attributes:
        name: To follow "boxes" in a sentence.
        edges: The edges that boxes in images of some sizes have if they mean this.
        rounding: Share of the image's sides by which rounding may move an edge.
        either: Whether right boxes beside masks of this meaning look the same.
        of_masks: Whether masks have the meaning, and `edges` is to read their extents.
    """

    name: str
    edges: Callable[[FloatArray, FloatArray], FloatArray]
    rounding: float = 0.0
    either: bool = False
    of_masks: bool = False


def edges_of(boxes: FloatArray) -> FloatArray:
    """Edges of boxes as they should be: left, top, width, height."""
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)


def _reading(
    columns: tuple[int, ...],
    ends: str,
    whole: float,
    name: str,
    step: float,
    of_masks: bool = False,
) -> Reading:
    def edges(boxes: FloatArray, sizes: FloatArray) -> FloatArray:
        first, second = boxes[:, columns[:2]], boxes[:, columns[2:]]
        if ends == "size":
            second = first + second
        elif ends == "centre":
            first, second = first - second / 2, first + second / 2
        found = np.concatenate((first, second), axis=1)
        return found * np.tile(sizes / whole, 2) if whole else found

    rows_first = (columns, ends, whole) == ((1, 0, 3, 2), "size", 0.0)
    return Reading(name, edges, step / whole if whole else 0.0, rows_first, of_masks)


def _moved(name: str, move: Callable[[Any, Any, Any, Any], tuple[Any, Any]]) -> Reading:
    """A reading of pixel boxes, each point (x, y) of which lies elsewhere in its image."""

    def edges(boxes: FloatArray, sizes: FloatArray) -> FloatArray:
        ends, (w, h) = edges_of(boxes), sizes.T
        x0, y0 = move(ends[:, 0], ends[:, 1], w, h)
        x1, y1 = move(ends[:, 2], ends[:, 3], w, h)
        low, high = np.sort(((x0, x1), (y0, y1)), axis=1).swapaxes(0, 1)
        edges: FloatArray = np.concatenate((low, high)).T
        return edges

    return Reading(name, edges, either=True)


_QUARTER = "of images turned by 90 degrees (an EXIF orientation was not applied)"

_LAYOUT_READINGS = tuple(
    _reading(columns, ends, whole, name, step)
    for (unit, whole, step), (layout, columns, ends) in product(_UNITS, _LAYOUTS)
    if (name := ", ".join(word for word in (unit, layout) if word))
)
PIXEL_LAYOUTS = tuple(reading for reading in _LAYOUT_READINGS if not reading.rounding)
"""What boxes in pixels may be; in other units all would lie inside their images."""

_MOVED = (
    _moved("measured from the bottom of the image", lambda x, y, w, h: (x, h - y)),
    _moved("of mirrored images", lambda x, y, w, h: (w - x, y)),
    _moved("of images turned by 180 degrees", lambda x, y, w, h: (w - x, h - y)),
    _moved(_QUARTER, lambda x, y, w, h: (y * w / h, h - x * h / w)),
    _moved(_QUARTER, lambda x, y, w, h: (w - y * w / h, x * h / w)),
    _moved(_QUARTER, lambda x, y, w, h: (y, w - x)),
    _moved(_QUARTER, lambda x, y, w, h: (h - y, x)),
)
_MASKS = tuple(
    _reading(columns, "corner", whole, unit + rows, step, of_masks=True)
    for (unit, whole, step), (rows, columns) in product(
        _UNITS[1:], (("", (0, 1, 2, 3)), (", with rows first (y before x)", (1, 0, 3, 2)))
    )
)
READINGS = (*_LAYOUT_READINGS, *_MASKS, *_MOVED)
"""What boxes and masks that do not agree may be, the likeliest first."""
