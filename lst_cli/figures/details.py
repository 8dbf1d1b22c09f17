"""Parts of images with masks in them, for figures that write beside pictures and not on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lst_cli.display.masks import decode_mask, outline_of, resize_mask, ring_around
from lst_cli.display.panels import open_image
from lst_cli.display.records import Panel, PanelObject
from lst_cli.errors import LstError

Window = tuple[int, int, int, int]
"""(left, top, width, height), in pixels of an image."""

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

_FILL = 0.35  # how much of a mask's colour covers the image
_OUTLINE = 1 / 130  # of a drawing's width
_AROUND = 2.2  # how much wider than an object its window is
_SMALLEST = 64  # pixels: an object of ten pixels needs its surroundings to be known


def choose_window(
    box: tuple[float, float, float, float], size: tuple[int, int], aspect: float = 4 / 3
) -> Window:
    """Choose the part of an image that shows an object and what is around it.

    Args:
        box: (x, y, width, height) of the object.
        size: (width, height) of the image.
        aspect: Width over height of the part, as far as the image has it.

    Returns:
        A window inside the image with the whole box in it.

    Example:
        >>> choose_window((100, 100, 40, 30), (640, 480))
        (76, 82, 88, 66)
    """
    x, y, wide, high = box
    height = max(_AROUND * high, _AROUND * wide / aspect, _SMALLEST / aspect)
    width = min(round(height * aspect), size[0])
    height = min(max(round(width / aspect), round(high)), size[1])
    left = min(max(round(x + wide / 2 - width / 2), 0), size[0] - width)
    top = min(max(round(y + high / 2 - height / 2), 0), size[1] - height)
    return left, top, width, height


def draw_detail(
    panel: Panel,
    window: Window,
    shown: Sequence[tuple[PanelObject, Colour]],
    width: int,
) -> NDArray[np.uint8]:
    """Draw a part of an image and the masks of objects in it.

    Args:
        panel: The image.
        window: The part.
        shown: Objects, and the colour of each; one without a mask is its box.
        width: Pixels of the drawing.

    Returns:
        RGB of the window's shape, (height, width, 3).

    Raises:
        LstError: If the image cannot be read or a mask cannot be decoded.
    """
    from PIL import Image

    picture = open_image(panel)
    left, top, wide, high = window
    size = (width, max(1, round(width * high / wide)))
    part = picture.crop((left, top, left + wide, top + high))
    pixels = np.array(part.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)  # (H, W, 3)
    for one, colour in shown:
        mask = mask_of(one, picture.size, panel.title)[top : top + high, left : left + wide]
        _paint(pixels, resize_mask(mask, size), np.array(colour, dtype=np.float32))
    drawn: NDArray[np.uint8] = pixels.round().clip(0, 255).astype(np.uint8)
    return drawn


def mask_of(one: PanelObject, size: tuple[int, int], title: str) -> NDArray[np.bool_]:
    """Give the mask of an object, its box if it has none.

    Args:
        one: The object.
        size: (width, height) of the image.
        title: What to call the image in an error.

    Returns:
        Shape (height, width).

    Raises:
        LstError: If the mask cannot be decoded.
    """
    if one.segmentation is None:
        x, y, wide, high = one.box
        mask = np.zeros(size[::-1], dtype=bool)
        mask[round(y) : round(y + high), round(x) : round(x + wide)] = True
        return mask
    try:
        return decode_mask(one.segmentation, size)
    except ValueError as error:
        raise LstError(
            f"cannot draw a mask of {one.label} on {title}: {error}", "lst check"
        ) from error


def _paint(
    pixels: NDArray[np.float32], mask: NDArray[np.bool_], colour: NDArray[np.float32]
) -> None:
    thickness = max(2, round(pixels.shape[1] * _OUTLINE))
    pixels[mask] = pixels[mask] * (1 - _FILL) + colour * _FILL
    pixels[outline_of(mask, thickness)] = colour
    # White around the colour: in grey, one of the two stands out from any background.
    pixels[ring_around(mask, thickness)] = 255
