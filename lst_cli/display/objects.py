"""Objects on images, and their masks as pictures need them: decoded, resized, outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.segmentations import Segmentation, decode_counts, draw_mask
from lst_cli.errors import LstError

Mask = NDArray[np.bool_]

_MUCH_LARGER = 4  # in pixels; up to this an image's masks are drawn whole and reduced


@dataclass(frozen=True)
class PanelObject:
    """One object to draw on a validation image."""

    label: str  # the name of its class
    box: tuple[float, float, float, float]  # (x, y, width, height) in pixels of the image
    segmentation: Segmentation | None = None
    score: float | None = None  # confidence of a prediction; None for ground truth
    category_id: int | None = None  # drawn where no font has the letters of its name


@dataclass(frozen=True)
class Panel:
    """One validation image with what is there and what was found."""

    image: Path | NDArray[np.uint8]  # a file, or pixels of shape (H, W, 3), RGB
    title: str  # usually the file name
    ground_truth: Sequence[PanelObject] = ()  # of the classes seen so far
    predictions: Sequence[PanelObject] = ()  # those worth showing; the caller has chosen
    # (height, width) that the annotations state for a file; as a viewer shows it, if None.
    size: tuple[int, int] | None = None


def mask_of(
    one: PanelObject, size: tuple[int, int], title: str, shown: tuple[int, int] | None = None
) -> Mask:
    """Give the mask of an object, its box if it has none, in an image of some (width, height).

    Its shape is the (height, width) that the image is shown at, by default its own. A mask that
    cannot be decoded is an LstError that calls the image `title`.
    """
    if one.segmentation is None:
        x, y, wide, high = one.box
        mask = np.zeros(size[::-1], dtype=bool)
        mask[round(y) : round(y + high), round(x) : round(x + wide)] = True
        return resize_mask(mask, shown or size)
    try:
        return show_mask(one.segmentation, size, shown or size)
    except ValueError as error:
        message = f"cannot draw a mask of {one.label} on {title}: {error}"
        raise LstError(message, "lst check") from error


def show_mask(segmentation: Segmentation, size: tuple[int, int], shown: tuple[int, int]) -> Mask:
    """Decode the mask of an image of one (width, height) at another that it is shown at.

    Of an image that is much larger, a scan, only the pixels that are shown are looked up. A mask
    for an image of another size, or whose runs do not fill it, is a ValueError.
    """
    from pycocotools import mask as coco_mask

    width, height = size
    if isinstance(segmentation, dict) and list(segmentation["size"]) != [height, width]:
        raise ValueError(f"mask of size {segmentation['size']} on {[height, width]}")
    lengths = draw_mask(segmentation, height, width)
    if width * height <= _MUCH_LARGER * shown[0] * shown[1]:
        return resize_mask(coco_mask.decode(lengths).astype(bool), shown)
    runs = decode_counts(lengths["counts"].decode())
    edges = np.cumsum(runs)
    if not len(edges) or runs.min() < 0 or edges[-1] != width * height:
        raise ValueError(f"the runs of its mask do not fill {[height, width]}")
    xs = ((np.arange(shown[0]) + 0.5) * width / shown[0]).astype(np.int64)
    ys = ((np.arange(shown[1]) + 0.5) * height / shown[1]).astype(np.int64)
    mask = np.zeros((shown[1], shown[0]), dtype=bool)
    if len(edges) > 1:
        # Columns before the first pixel of the object and behind its last are empty.
        last = edges[-2] if len(edges) % 2 else edges[-1]
        near = (xs >= edges[0] // height) & (xs <= (last - 1) // height)
        places = xs[near][:, None] * height + ys  # (columns, rows): COCO counts down columns
        mask[:, near] = (np.searchsorted(edges, places, side="right") % 2 == 1).T
    return mask


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Bring a mask to another (width, height)."""
    from PIL import Image

    # Enlarged as a grey image and cut at half, an edge is smooth and not stairs.
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) >= 128


def ring_around(mask: Mask, thickness: int, *, outside: bool = False) -> Mask:
    """Give the pixels outside a mask within so many of its border.

    `outside` says whether what lies beyond the image counts as in the mask.
    """
    grown = mask
    for _ in range(thickness):
        wide = np.pad(grown, 1, constant_values=outside)
        grown = grown | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return grown & ~mask


def outline_of(mask: Mask, thickness: int = 2) -> Mask:
    """Give the pixels of a mask within so many of its border or the image's."""
    return ring_around(~mask, thickness, outside=True)
