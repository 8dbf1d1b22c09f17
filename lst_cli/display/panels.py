"""Images with what was found in them, for a report beside what is there.

Small images are enlarged until masks and labels can be read, large ones reduced until a page can
hold a dozen of them.
"""

from __future__ import annotations

import colorsys
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lst_cli.display import objects
from lst_cli.display.fonts import pieces_of, short_name
from lst_cli.display.objects import Panel, PanelObject
from lst_cli.errors import LstError
from lst_cli.files import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont


class Bounds(NamedTuple):
    """How large an image is shown, in pixels."""

    smallest: int  # the longer side is enlarged to at least this
    largest: int  # and reduced to at most this
    font_share: float  # of the width


PANEL = Bounds(320, 560, 1 / 26)  # legible with two panels in a row on a page
PICTURE = Bounds(640, 1280, 1 / 50)  # has a screen to itself

MOST_DRAWN = 300  # of more objects in an image the most confident are drawn
GAP = 8  # between the two halves of a panel, in pixels

_FILL = 0.42  # how much of a mask's colour covers the image
_SMALLEST_FONT = 12
_LONGEST = 22  # letters of a label's name

# Of a detail.
DETAIL_ASPECT = 4 / 3  # width over height
_DETAIL_FILL = 0.35
_OUTLINE = 1 / 130  # of a drawing's width
_AROUND = 2.2  # how much wider than an object its window is
_SMALLEST_WINDOW = 64  # pixels: an object of ten pixels needs its surroundings to be recognized

# Bright enough to stand out on photographs and apart from each other. Labels are written beside
# each mask, so that no reader depends on colour alone.
_COLOURS = (
    "#009eeb", "#f7901e", "#1ebe82", "#eb60a8", "#fad732",
    "#e14e3c", "#9678f0", "#78cdf0", "#aac83c", "#c8966e",
)  # fmt: skip
# How the first, second, third, ... object of a class differs in hue and lightness from its colour.
_TURNS = (0.0, 0.07, -0.07, 0.04, -0.04, 0.11, -0.11)
_LIGHTER = (0.0, -0.12, 0.14, 0.22, -0.2, 0.06, -0.06)

Colour = tuple[int, int, int]  # RGB, 0 to 255
Box = tuple[float, float, float, float]


@contextmanager
def _errors_named(panel: Panel) -> Iterator[None]:
    try:
        yield
    except LstError:
        raise
    except Exception as error:  # of Pillow's, an unusual image or font
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LstError(f"cannot draw {panel.title}: {reason}", "lst check --decode") from error


def draw_panel(panel: Panel) -> bytes:
    """Draw ground truth (left) beside predictions (right) on the same image, as a JPEG.

    A class has the same colour on both sides, and each of its objects a shade of it. A label
    that would cover another is moved, and left out where there is no room. What cannot be drawn is
    an LstError.
    """
    from PIL import Image

    with _errors_named(panel):
        left, right = _draw(panel, (panel.ground_truth, panel.predictions), PANEL)
        # Mid grey is quiet on a light page and on a dark one; JPEG has no transparency.
        both = Image.new("RGB", (2 * left.width + GAP, left.height), (128, 134, 144))
        both.paste(left, (0, 0))
        both.paste(right, (left.width + GAP, 0))
        return _jpeg(both)


def draw_predictions(panel: Panel, *, comment: str = "") -> bytes:
    """Draw predictions alone, larger and with boxes; `read_comment` finds the comment again."""
    with _errors_named(panel):
        [drawn] = _draw(panel, (panel.predictions,), PICTURE, boxes=True)
        return _jpeg(drawn, comment)


def read_comment(path: Path) -> str:
    """Give the comment in a picture; "" for any other file."""
    from PIL import Image

    try:
        with open_regular(path) as opened, Image.open(opened, formats=["JPEG"]) as file:
            comment = file.info.get("comment", b"")
    except Exception:  # of other bytes than our pictures' the decoders raise every kind
        return ""
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)


def _jpeg(image: Image, comment: str = "") -> bytes:
    file = io.BytesIO()
    # Not optimize, whose guess of the file's size is too small for fine texture in colour.
    image.save(file, format="JPEG", quality=90, subsampling=0, comment=comment.encode())
    return file.getvalue()


def display_size(size: tuple[int, int], bounds: Bounds = PANEL) -> tuple[int, int]:
    """Give the size an image is shown at, with its shape kept.

    Example:
        >>> display_size((128, 96))
        (320, 240)
    """
    longest = max(size)
    target = min(max(longest, bounds.smallest), bounds.largest)
    width, height = (max(1, round(side * target / longest)) for side in size)
    return width, height


def _open_image(panel: Panel) -> Image:
    """Open an image as the network reads it."""
    from PIL import Image

    from lst_cli.images.decode import load_image

    if isinstance(panel.image, Path):
        return load_image(panel.image, panel.size)
    return Image.fromarray(np.ascontiguousarray(panel.image)).convert("RGB")


def choose_colours(
    found: Sequence[PanelObject], labels: Sequence[str]
) -> list[tuple[PanelObject, Colour]]:
    """Give each object a colour: a class its own, and the objects of a class shades of it.

    Of more than `MOST_DRAWN` objects the most confident are kept. `labels` are the classes of all
    that is drawn, in an order that decides their colours.
    """
    names = list(dict.fromkeys(labels))
    seen: Counter[str] = Counter()
    coloured = []
    for one in sorted(found, key=lambda one: -(one.score or 0))[:MOST_DRAWN]:
        coloured.append((one, _shade(names.index(one.label), seen[one.label])))
        seen[one.label] += 1
    return coloured


@cache
def _shade(label: int, number: int) -> Colour:
    """The colour of an object of a class, both numbered."""
    rgb = bytes.fromhex(_COLOURS[label % len(_COLOURS)][1:])
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in rgb))
    hue = (hue + _TURNS[number % len(_TURNS)]) % 1
    lightness = min(max(lightness + _LIGHTER[number % len(_LIGHTER)], 0.3), 0.85)
    red, green, blue = (round(255 * c) for c in colorsys.hls_to_rgb(hue, lightness, saturation))
    return red, green, blue


def _draw(
    panel: Panel, sides: Sequence[Sequence[PanelObject]], bounds: Bounds, *, boxes: bool = False
) -> list[Image]:
    """Draw the image of a panel with the objects of each side."""
    from PIL import Image, ImageDraw

    picture = _open_image(panel)
    canvas = picture.resize(display_size(picture.size, bounds), Image.Resampling.LANCZOS)
    factor = canvas.width / picture.width
    font_size = max(_SMALLEST_FONT, round(canvas.width * bounds.font_share))
    labels = [one.label for side in sides for one in side]
    drawn = []
    for side in sides:
        found = choose_colours(side, labels)
        # Large objects first: what lies on them stays visible. All outlines lie on top.
        by_size = sorted(found, key=lambda pair: -pair[0].box[2] * pair[0].box[3])
        pixels = np.array(canvas, dtype=np.float32)  # (H, W, 3)
        outlines = []
        for one, colour in by_size:
            if one.segmentation is not None:
                mask = objects.mask_of(one, picture.size, panel.title, canvas.size)
                left, top, right, bottom = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
                inside = mask[top:bottom, left:right]
                shown = pixels[top:bottom, left:right]  # a view
                shown[inside] = shown[inside] * (1 - _FILL) + np.array(colour, np.float32) * _FILL
                outlines.append((shown, objects.outline_of(inside), colour))
        for shown, outline, colour in outlines:
            shown[outline] = colour
        image = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for one, colour in by_size:
            if boxes or one.segmentation is None:
                # Where there is a mask the box matters less.
                width = 1 if one.segmentation else 2
                draw.rectangle(_scale_box(one.box, factor), outline=colour, width=width)
        _draw_labels(draw, image.size, found, factor, font_size)
        drawn.append(image)
    return drawn


def _scale_box(box: Box, factor: float) -> Box:
    x, y, width, height = (side * factor for side in box)
    return x, y, x + max(width, 1), y + max(height, 1)


def _draw_labels(
    draw: Any,
    size: tuple[int, int],
    found: list[tuple[PanelObject, Colour]],
    factor: float,
    font_size: int,
) -> None:
    taken: list[Box] = []
    # The most confident predictions first, then the largest objects: they get the room.
    found.sort(key=lambda pair: (-(pair[0].score or 0), -pair[0].box[2] * pair[0].box[3]))
    for one, colour in found:
        name = short_name(one.label, _LONGEST, one.category_id)
        label = name if one.score is None else f"{name} {one.score:.2f}"
        pieces = [(text, _load_font(path, font_size)) for text, path in pieces_of(label)]
        width = sum(draw.textlength(text, font=font) for text, font in pieces) + 6
        height = font_size + 4
        place = _find_place(_scale_box(one.box, factor), (width, height), size, taken)
        if place is None:
            continue
        x, y = place
        taken.append((x, y, x + width, y + height))
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 120
        ink = (16, 20, 26) if light else (255, 255, 255)
        for text, font in pieces:
            draw.text((x + 3, y + height / 2), text, font=font, fill=ink, anchor="lm")
            x += draw.textlength(text, font=font)


def _find_place(
    box: Box, label: tuple[float, float], size: tuple[int, int], taken: Sequence[Box]
) -> tuple[float, float] | None:
    """Find room for a label: above its box, in it, below it, or along its sides."""
    left, top, right, bottom = box
    width, height = label
    if width > size[0] or height > size[1]:
        return None
    centre = (top + bottom - height) / 2
    for x, y in (
        *((left, y) for y in (top - height, top, bottom, bottom - height)),
        *((right - width, y) for y in (top - height, bottom)),
        *((x, centre) for x in ((left + right - width) / 2, right, left - width)),
    ):
        x, y = min(max(x, 0), size[0] - width), min(max(y, 0), size[1] - height)
        if all(
            x >= other[2] or x + width <= other[0] or y >= other[3] or y + height <= other[1]
            for other in taken
        ):
            return round(x), round(y)
    return None


@cache
def _load_font(path: Path, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(path), size)


def choose_window(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of an image of some (width, height) that shows an object and what is around.

    As the box, it is (left, top, width, height). It holds the whole box, and has the shape of
    `DETAIL_ASPECT` as far as the image allows.

    Example:
        >>> choose_window((100, 100, 40, 30), (640, 480))
        (76, 82, 88, 66)
    """
    (x, y, wide, high), aspect = box, DETAIL_ASPECT
    height = max(_AROUND * high, _AROUND * wide / aspect, _SMALLEST_WINDOW / aspect)
    width = min(round(height * aspect), size[0])
    height = min(max(round(width / aspect), round(high)), size[1])
    left = min(max(round(x + wide / 2 - width / 2), 0), size[0] - width)
    top = min(max(round(y + high / 2 - height / 2), 0), size[1] - height)
    return left, top, width, height


def draw_detail(
    panel: Panel, around: Box, shown: Sequence[tuple[PanelObject, Colour]], width: int
) -> NDArray[np.uint8]:
    """Draw the part of an image around a box, see `choose_window`, and masks of objects in it.

    An object without a mask is its box. Raises as `draw_panel` does. Gives RGB, (height, width, 3).
    """
    from PIL import Image

    with _errors_named(panel):
        picture = _open_image(panel)
        left, top, wide, high = choose_window(around, picture.size)
        size = (width, max(1, round(width * high / wide)))
        part = picture.crop((left, top, left + wide, top + high))
        pixels = np.array(part.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
        thickness = max(2, round(width * _OUTLINE))
        for one, colour in shown:
            whole = objects.mask_of(one, picture.size, panel.title)
            mask = objects.resize_mask(whole[top : top + high, left : left + wide], size)
            own = np.array(colour, dtype=np.float32)
            pixels[mask] = pixels[mask] * (1 - _DETAIL_FILL) + own * _DETAIL_FILL
            pixels[objects.outline_of(mask, thickness)] = colour
            # White around the colour: in grey, one of the two stands out from any background.
            pixels[objects.ring_around(mask, thickness)] = 255
        return np.asarray(pixels.round().clip(0, 255), dtype=np.uint8)
