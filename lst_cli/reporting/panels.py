"""Images with what was found in them, for a report beside what is there.

Drawn with Pillow and numpy alone. Small images are enlarged until masks and
labels can be read, large ones reduced until a page can hold a dozen of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lst_cli.errors import LstError
from lst_cli.reporting.canvas import FONT
from lst_cli.reporting.data import Panel, PanelObject
from lst_cli.reporting.masks import decode_mask, outline_of, resize_mask
from lst_cli.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

SMALLEST_SIDE = 320
"""The longer side of an image is enlarged to at least this many pixels."""

LARGEST_SIDE = 560
"""The longer side of an image is reduced to at most this many pixels."""

SMALLEST_PICTURE = 640
LARGEST_PICTURE = 1280
"""The same for an image that is looked at by itself."""

GAP = 8  # between the two halves of a panel, in pixels

_FILL = 0.42  # how much of a mask's colour covers the image
_FONT_SHARE = 1 / 26  # of an image's width: legible with two panels in a row on a page
_PICTURE_FONT_SHARE = 1 / 50  # a picture has a screen to itself
_SMALLEST_FONT = 12

# Bright enough to stand out on photographs and apart from each other. Labels are
# written beside each mask, so no reader needs to tell them by colour alone.
_COLOURS = (
    (0, 158, 235),
    (247, 144, 30),
    (30, 190, 130),
    (235, 96, 168),
    (250, 215, 50),
    (225, 78, 60),
    (150, 120, 240),
    (120, 205, 240),
    (170, 200, 60),
    (200, 150, 110),
)


def draw_panel(panel: Panel) -> bytes:
    """Draw ground truth (left) beside predictions (right) on the same image.

    A class has the same colour on both sides. A label that would cover another
    is moved, and left out where there is no room at all; the mask stays.

    Args:
        panel: The image and its objects.

    Returns:
        A JPEG.

    Raises:
        LstError: If the image cannot be read or a mask cannot be decoded.
    """
    from PIL import Image

    picture = open_image(panel)
    size = display_size(picture.size)
    font_size = max(_SMALLEST_FONT, round(size[0] * _FONT_SHARE))
    canvas = picture.resize(size, Image.Resampling.LANCZOS)
    colours = _choose_colours([*panel.ground_truth, *panel.predictions])
    halves = [
        _draw_objects(canvas, objects, picture.size, colours, font_size, panel.title)
        for objects in (panel.ground_truth, panel.predictions)
    ]
    # Mid grey is quiet on a light page and on a dark one; JPEG has no transparency.
    both = Image.new("RGB", (2 * size[0] + GAP, size[1]), (128, 134, 144))
    both.paste(halves[0], (0, 0))
    both.paste(halves[1], (size[0] + GAP, 0))
    return _jpeg(both)


def draw_predictions(panel: Panel, *, comment: str = "") -> bytes:
    """Draw predictions alone, in the manner of `draw_panel` but larger and with boxes.

    Args:
        panel: The image and its predictions.
        comment: Kept in the file; `read_comment` finds it again.

    Returns:
        A JPEG.

    Raises:
        LstError: If the image cannot be read or a mask cannot be decoded.
    """
    from PIL import Image

    picture = open_image(panel)
    size = display_size(picture.size, SMALLEST_PICTURE, LARGEST_PICTURE)
    canvas = picture.resize(size, Image.Resampling.LANCZOS)
    drawn = _draw_objects(
        canvas,
        panel.predictions,
        picture.size,
        _choose_colours(panel.predictions),
        max(_SMALLEST_FONT, round(max(size) * _PICTURE_FONT_SHARE)),
        panel.title,
        boxes=True,
    )
    return _jpeg(drawn, comment)


def read_comment(path: Path) -> str:
    """Give the comment in a picture; "" for any other file."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            comment = file.info.get("comment", b"")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)


def _jpeg(image: Image, comment: str = "") -> bytes:
    file = io.BytesIO()
    image.save(
        file, format="JPEG", quality=90, subsampling=0, optimize=True, comment=comment.encode()
    )
    return file.getvalue()


def display_size(
    size: tuple[int, int], smallest: int = SMALLEST_SIDE, largest: int = LARGEST_SIDE
) -> tuple[int, int]:
    """Give the size an image is shown at, with its shape kept.

    Example:
        >>> display_size((128, 96))
        (320, 240)
    """
    longest = max(size)
    target = min(max(longest, smallest), largest)
    return (
        max(1, round(size[0] * target / longest)),
        max(1, round(size[1] * target / longest)),
    )


def open_image(panel: Panel) -> Image:
    """Open an image as detectron2 reads it.

    Raises:
        LstError: If it cannot be read.
    """
    from PIL import Image, ImageOps

    if not isinstance(panel.image, Path):
        return Image.fromarray(np.ascontiguousarray(panel.image)).convert("RGB")
    try:
        with Image.open(panel.image) as file:
            # As detectron2 reads it: upright by its EXIF tag, three channels.
            upright = ImageOps.exif_transpose(file)
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LstError(f"cannot read the image {panel.image}: {error}", "lst check") from error


def _choose_colours(objects: Sequence[PanelObject]) -> dict[str, tuple[int, int, int]]:
    names = dict.fromkeys(one.label for one in objects)
    return {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}


def _draw_objects(
    canvas: Image,
    objects: Sequence[PanelObject],
    size: tuple[int, int],
    colours: Mapping[str, tuple[int, int, int]],
    font_size: int,
    title: str,
    *,
    boxes: bool = False,
) -> Image:
    from PIL import Image, ImageDraw

    factor = canvas.size[0] / size[0]
    pixels = np.asarray(canvas, dtype=np.float32).copy()  # (H, W, 3)
    # Large objects first: what lies on them stays visible.
    by_size = sorted(objects, key=lambda one: -one.box[2] * one.box[3])
    outlines = []
    for one in by_size:
        if one.segmentation is None:
            continue
        try:
            mask = decode_mask(one.segmentation, size)
        except ValueError as error:
            raise LstError(
                f"cannot draw a mask of {one.label} on {title}: {error}", "lst check"
            ) from error
        shown = resize_mask(mask, canvas.size)
        colour = np.array(colours[one.label], dtype=np.float32)
        pixels[shown] = pixels[shown] * (1 - _FILL) + colour * _FILL
        outlines.append((outline_of(shown), colour))
    for outline, colour in outlines:
        pixels[outline] = colour
    image = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for one in by_size:
        if boxes or one.segmentation is None:
            # Where there is a mask the box is the lesser news.
            width = 1 if one.segmentation else 2
            draw.rectangle(_scale_box(one.box, factor), outline=colours[one.label], width=width)
    _draw_labels(draw, image.size, objects, factor, colours, font_size)
    return image


def _scale_box(
    box: tuple[float, float, float, float], factor: float
) -> tuple[float, float, float, float]:
    x, y, width, height = (side * factor for side in box)
    return x, y, x + max(width, 1), y + max(height, 1)


def _draw_labels(
    draw: Any,
    size: tuple[int, int],
    objects: Sequence[PanelObject],
    factor: float,
    colours: Mapping[str, tuple[int, int, int]],
    font_size: int,
) -> None:
    font = _load_font(font_size)
    taken: list[tuple[float, float, float, float]] = []
    # The surest predictions first, then the largest objects: they get the room.
    order = sorted(objects, key=lambda one: (-(one.score or 0), -one.box[2] * one.box[3]))
    for one in order:
        text = printable(_label_text(one))
        width = draw.textlength(text, font=font) + 6
        height = font_size + 4
        place = _find_place(_scale_box(one.box, factor), (width, height), size, taken)
        if place is None:
            continue
        x, y = place
        taken.append((x, y, x + width, y + height))
        colour = colours[one.label]
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 120
        ink = (16, 20, 26) if light else (255, 255, 255)
        draw.text((x + 3, y + height / 2), text, font=font, fill=ink, anchor="lm")


def _label_text(one: PanelObject) -> str:
    name = " ".join(one.label.split())
    short = name if len(name) <= 22 else name[:21] + "…"
    return short if one.score is None else f"{short} {one.score:.2f}"


def _find_place(
    box: tuple[float, float, float, float],
    label: tuple[float, float],
    size: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float] | None:
    """Find room for a label: above its box, in it, below it, or along its sides."""
    left, top, right, bottom = box
    width, height = label
    middle = (left + right - width) / 2
    centre = (top + bottom - height) / 2
    wanted = [
        (left, top - height),
        (left, top),
        (left, bottom),
        (left, bottom - height),
        (right - width, top - height),
        (right - width, bottom),
        (middle, centre),
        (right, centre),
        (left - width, centre),
    ]
    for x, y in wanted:
        x = min(max(x, 0), size[0] - width)
        y = min(max(y, 0), size[1] - height)
        if x < 0 or y < 0:
            continue
        free = all(
            x >= other[2] or x + width <= other[0] or y >= other[3] or y + height <= other[1]
            for other in taken
        )
        if free:
            return round(x), round(y)
    return None


def _load_font(size: int) -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    name = f"{FONT.replace(' ', '')}.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size)
