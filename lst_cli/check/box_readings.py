"""Which other meaning four numbers of a box may have: corners, shares of the image, and so on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """A meaning that the four numbers of a box may have, in an image of width w and height h."""

    name: str  # to follow "boxes" in a sentence
    layout: Callable[..., tuple[Any, Any, Any, Any]]  # left, top, right, bottom of a, b, c, d, w, h
    whole: float = 0  # a side of the image in these numbers; 0 for pixels
    rounding: float = 0  # share of the image's sides by which rounding may move an edge
    either: bool = False  # whether right boxes beside masks of this meaning look the same
    of_masks: bool = False  # whether masks have the meaning, and their extents are to be read

    def edges(self, boxes: FloatArray, sizes: FloatArray) -> FloatArray:
        """Left, top, right and bottom in pixels, shape (n, 4), of boxes that mean this."""
        edges: FloatArray = np.stack(self.layout(*boxes.T, *sizes.T), axis=1)
        return edges * np.tile(sizes / self.whole, 2) if self.whole else edges


_UNITS: tuple[tuple[str, float, float], ...] = (
    ("", 0, 0),
    ("in shares of the image (0 to 1)", 1, 0.005),
    ("in percent of the image", 100, 0.005),
    ("in thousandths of the image", 1000, 0.0005),
)
_LAYOUTS: dict[str, Callable[..., tuple[Any, Any, Any, Any]]] = {
    "": lambda a, b, c, d, *_: (a, b, a + c, b + d),
    "as corners (left, top, right, bottom)": lambda a, b, c, d, *_: (a, b, c, d),
    "with the centre first (centre x, centre y, width, height)": lambda a, b, c, d, *_: (
        (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    ),
    "with rows first (top, left, height, width)": lambda a, b, c, d, *_: (b, a, b + d, a + c),
    "as corners, rows first (top, left, bottom, right)": lambda a, b, c, d, *_: (b, a, d, c),
    "with the centre first, rows first (centre y, centre x, height, width)": (
        lambda a, b, c, d, *_: (b - d / 2, a - c / 2, b + d / 2, a + c / 2)
    ),
    "as left, right, top, bottom": lambda a, b, c, d, *_: (a, c, b, d),
    "with width and height exchanged": lambda a, b, c, d, *_: (a, b, a + d, b + c),
}
_MASK_LAYOUTS: dict[str, Callable[..., tuple[Any, Any, Any, Any]]] = {
    "": lambda a, b, c, d, *_: (a, b, c, d),
    ", with rows first (y before x)": lambda a, b, c, d, *_: (b, a, d, c),
}
_QUARTER = "of images turned by 90 degrees (an EXIF orientation was not applied)"
_MOVED: tuple[tuple[str, Callable[..., tuple[Any, Any, Any, Any]]], ...] = (
    (
        "measured from the bottom of the image",
        lambda a, b, c, d, w, h: (a, h - (b + d), a + c, h - b),
    ),
    ("of mirrored images", lambda a, b, c, d, w, h: (w - (a + c), b, w - a, b + d)),
    (
        "of images turned by 180 degrees",
        lambda a, b, c, d, w, h: (w - (a + c), h - (b + d), w - a, h - b),
    ),
    # The boxes are those of the turned image, scaled to the other's size or not.
    (
        _QUARTER,
        lambda a, b, c, d, w, h: (b * w / h, h - (a + c) * h / w, (b + d) * w / h, h - a * h / w),
    ),
    (
        _QUARTER,
        lambda a, b, c, d, w, h: (w - (b + d) * w / h, a * h / w, w - b * w / h, (a + c) * h / w),
    ),
    (_QUARTER, lambda a, b, c, d, w, h: (b, w - (a + c), b + d, w - a)),
    (_QUARTER, lambda a, b, c, d, w, h: (h - (b + d), a, h - b, a + c)),
)

_LAYOUT_READINGS = tuple(
    Reading(name, layout, whole, rounding, either=name.startswith("with rows first"))
    for (unit, whole, rounding), (words, layout) in product(_UNITS, _LAYOUTS.items())
    if (name := ", ".join(filter(None, (unit, words))))
)
PIXEL_LAYOUTS = tuple(reading for reading in _LAYOUT_READINGS if not reading.whole)
"""What boxes in pixels may be; in other units all would lie inside their images."""

READINGS = (
    *_LAYOUT_READINGS,
    *(
        Reading(unit + words, layout, whole, rounding, of_masks=True)
        for (unit, whole, rounding), (words, layout) in product(_UNITS[1:], _MASK_LAYOUTS.items())
    ),
    *(Reading(name, layout, either=True) for name, layout in _MOVED),
)
"""What boxes and masks that do not agree may be, the likeliest first."""
