"""Parts of images with masks in them, for figures whose text is beside the pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lst_cli.display.masks import mask_of, outline_of, resize_mask, ring_around
from lst_cli.display.panels import Colour, open_image
from lst_cli.display.records import Panel, PanelObject

Window = tuple[int, int, int, int]
"""(left, top, width, height), in pixels of an image."""

_FILL = 0.35  # how much of a mask's colour covers the image
_OUTLINE = 1 / 130  # of a drawing's width
_AROUND = 2.2  # how much wider than an object its window is
_SMALLEST = 64  # pixels: an object of ten pixels needs its surroundings to be known


def choose_window(
    box: tuple[float, float, float, float], size: tuple[int, int], aspect: float = 4 / 3
) -> Window:
    """Choose the part of an image of some (width, height) that shows an object and what is around.

    The part has the whole box (x, y, width, height) of the object in it, and `aspect` for width
    over height as far as the image allows.

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
    panel: Panel, window: Window, shown: Sequence[tuple[PanelObject, Colour]], width: int
) -> NDArray[np.uint8]:
    """Draw a part of an image, and the masks of objects in it in their colours.

    An object without a mask is its box.

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
    thickness = max(2, round(width * _OUTLINE))
    for one, colour in shown:
        whole = mask_of(one, picture.size, panel.title)
        mask = resize_mask(whole[top : top + high, left : left + wide], size)
        pixels[mask] = pixels[mask] * (1 - _FILL) + np.array(colour, dtype=np.float32) * _FILL
        pixels[outline_of(mask, thickness)] = colour
        # White around the colour: in grey, one of the two stands out from any background.
        pixels[ring_around(mask, thickness)] = 255
    return np.asarray(pixels.round().clip(0, 255), dtype=np.uint8)
