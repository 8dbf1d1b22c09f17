"""The objects of one demo image: which there are, where they lie, what of each can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lst_cli.errors import LstError

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

FONT = "DejaVuSans-Bold.ttf"
SOURCE_SIDE = 192  # pixels; larger than any glyph is pasted, so that posing only shrinks
HEAVIEST = 3  # outlines from 0 to this many steps are added to vary the stroke width
MAX_ANGLE = 25.0  # degrees to either side
MIN_VISIBLE = 0.5  # of an object's own pixels; below, another place is tried
MIN_PIXELS = 30  # visible ones of an object, however small the image
_SIDES = (0.21, 0.48)  # an object's longer side as a fraction of the image's
_CLUSTERED = 0.3  # chance that an object is put against one that is there already
_STROKE_IN_FRONT = 0.35  # chance
_SUPERSAMPLING = 3
_TRIES = 60
_RESTARTS = 30


class Glyph(NamedTuple):
    """One class of the demo set."""

    name: str
    character: str
    definition: str  # for the `def` field of LVIS categories


# Chosen so that no two are alike under 25 degrees of rotation, nor when one of them is
# mirrored, since training flips images: no 6 with 9, no N with Z, no 2 with S. Kinds are
# mixed, so that a smaller set (the first few) has letters, digits and symbols too.
GLYPHS: tuple[Glyph, ...] = (
    Glyph("black star", "\N{BLACK STAR}", "a filled star with five points"),
    Glyph("letter A", "A", "the capital letter A"),
    Glyph("digit 4", "4", "the digit four"),
    Glyph("heart", "\N{BLACK HEART SUIT}", "the suit of hearts of playing cards"),
    Glyph("telephone", "\N{BLACK TELEPHONE}", "a telephone with a dial and a handset"),
    Glyph("letter S", "S", "the capital letter S"),
    Glyph("airplane", "\N{AIRPLANE}", "an airplane seen from above"),
    Glyph("digit 8", "8", "the digit eight"),
    Glyph("umbrella", "\N{UMBRELLA}", "an open umbrella with a curved handle"),
    Glyph("letter K", "K", "the capital letter K"),
    Glyph("chess knight", "\N{BLACK CHESS KNIGHT}", "a chess knight, a horse's head"),
    Glyph("gear", "\N{GEAR}", "a toothed wheel"),
    Glyph("letter M", "M", "the capital letter M"),
    Glyph("anchor", "\N{ANCHOR}", "an anchor of a ship"),
    Glyph("flower", "\N{BLACK FLORETTE}", "a blossom with rounded petals"),
    Glyph("letter R", "R", "the capital letter R"),
    Glyph("chess queen", "\N{BLACK CHESS QUEEN}", "a chess queen with her crown"),
    Glyph("peace sign", "\N{PEACE SYMBOL}", "the sign of peace in its circle"),
    Glyph("digit 7", "7", "the digit seven"),
    Glyph("music notes", "\N{BEAMED EIGHTH NOTES}", "two eighth notes joined by a beam"),
    Glyph("snowflake", "\N{SNOWFLAKE}", "a snow crystal with six arms"),
    Glyph("yin yang", "\N{YIN YANG}", "the circle of yin and yang"),
    Glyph("ampersand", "&", "the sign for the word and"),
    Glyph("club", "\N{BLACK CLUB SUIT}", "the suit of clubs of playing cards"),
    Glyph("skull", "\N{SKULL AND CROSSBONES}", "a skull over two crossed bones"),
    Glyph("letter G", "G", "the capital letter G"),
    Glyph("chess rook", "\N{BLACK CHESS ROOK}", "a chess rook, a tower with battlements"),
    Glyph("letter T", "T", "the capital letter T"),
    Glyph("smiling face", "\N{WHITE SMILING FACE}", "a round face that smiles"),
    Glyph("cloud", "\N{CLOUD}", "a single cloud with a flat base"),
    Glyph("letter X", "X", "the capital letter X"),
    Glyph("pointing hand", "\N{BLACK RIGHT POINTING INDEX}", "a hand with one finger out"),
    Glyph("recycling sign", "\N{BLACK UNIVERSAL RECYCLING SYMBOL}", "three arrows in a loop"),
    Glyph("radiation sign", "\N{RADIOACTIVE SIGN}", "a trefoil that warns of radiation"),
    Glyph("euro sign", "\N{EURO SIGN}", "the sign of the euro"),
    Glyph("ship wheel", "\N{WHEEL OF DHARMA}", "a wheel with eight spokes and handles"),
)


@dataclass(frozen=True)
class Layout:
    """The geometry of one image; colours come later. Opacity is from 0 to 255."""

    coverages: Bytes  # opacity of every object, the lowest first, shape (M, H, W)
    stroke: Bytes  # of the unannotated stroke in front of all objects, shape (H, W)
    visible: Bools  # where an object is what one sees, shape (M, H, W); no pixel is of two objects


def arrange_glyphs(rng: np.random.Generator, glyphs: Sequence[Glyph], size: int) -> Layout:
    """Place glyphs in a square image, the first of them lowest.

    Every object keeps at least `MIN_VISIBLE` of its pixels and `MIN_PIXELS` of them, so
    that none has to be left out of the annotations. An LstError is raised if they do not fit.
    """
    for restart in range(_RESTARTS):
        # A crowd that did not fit is tried again with smaller objects.
        placed = _place_all(rng, glyphs, size, shrink=0.96**restart)
        if placed is not None:
            coverages, totals = placed
            stroke = np.zeros((size, size), np.uint8)
            if rng.random() < _STROKE_IN_FRONT:
                thin = draw_scribble(rng, size, size * rng.uniform(0.012, 0.03))
                if _all_visible(coverages, totals, thin):
                    stroke = thin
            return Layout(coverages, stroke, _visible_masks(coverages, stroke))
    raise LstError(
        f"{len(glyphs)} objects do not fit in a demo image of {size} pixels",
        hint="draw larger images or fewer objects per image",
    )


@cache
def find_font() -> Path:
    """Find the file of DejaVu Sans Bold; an LstError if it is missing."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FONT
    if not path.is_file():
        raise LstError(
            f"the demo set needs the font {FONT}, which ships with matplotlib and was not found",
            hint="pip install --force-reinstall matplotlib",
        )
    return path


@cache
def render_glyph(character: str, weight: int = 0) -> Image.Image:
    """Draw one character white on black, without margins, its longer side `SOURCE_SIDE`.

    `weight` steps of outline are added, from 0 to `HEAVIEST`. The image is shared: do not edit it.
    """
    # The basic layout engine gives the same outlines with and without libraqm.
    font = ImageFont.truetype(str(find_font()), 256, layout_engine=ImageFont.Layout.BASIC)
    outline = 2 * weight
    left, top, right, bottom = map(int, font.getbbox(character, stroke_width=outline))
    canvas = Image.new("L", (right - left + 8, bottom - top + 8))
    ImageDraw.Draw(canvas).text(
        (4 - left, 4 - top), character, fill=255, font=font, stroke_width=outline
    )
    glyph = canvas.crop(canvas.getbbox())
    scale = SOURCE_SIDE / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    return glyph.resize((width, height), Image.Resampling.LANCZOS)


def pose_glyph(
    glyph: Glyph,
    side: float,  # the longer one before rotation, in pixels
    angle: float = 0.0,  # in degrees, counter-clockwise
    stretch: float = 1.0,  # width over height, relative to the font's
    shear: float = 0.0,  # slant, in widths per height
    weight: int = 0,  # steps of outline, see `render_glyph`
) -> Bytes:
    """Draw a glyph slanted and rotated: opacity without empty margins, shape (h, w), 0 to 255."""
    source = render_glyph(glyph.character, weight)
    turn = math.radians(angle)
    scale = side / SOURCE_SIDE * _SUPERSAMPLING
    forward = (
        np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        @ np.array([[1.0, shear], [0.0, 1.0]])
        @ np.diag([scale * math.sqrt(stretch), scale / math.sqrt(stretch)])
    )
    # The canvas is a whole number of output pixels with room for every corner.
    half = np.array(source.size) / 2
    reach = np.abs(forward) @ half
    width, height = (2 * _SUPERSAMPLING * (math.ceil(r / _SUPERSAMPLING) + 1) for r in reach)
    inverse = np.linalg.inv(forward)
    offset = half - inverse @ np.array([width / 2, height / 2])
    coefficients = np.column_stack([inverse, offset]).ravel().tolist()
    large = source.transform(
        (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    small = large.reduce(_SUPERSAMPLING)
    return np.asarray(small.crop(small.getbbox()), np.uint8)


def draw_scribble(rng: np.random.Generator, size: int, width: float) -> Bytes:
    """Draw a curved stroke that is no object: its opacity, shape (size, size), 0 to 255."""
    canvas = Image.new("L", (size * _SUPERSAMPLING, size * _SUPERSAMPLING))
    ends = rng.uniform(-0.1, 1.1, size=(4, 2)) * size * _SUPERSAMPLING  # of a Bézier curve
    time = np.linspace(0.0, 1.0, 40)[:, None]
    curve = (
        (1 - time) ** 3 * ends[0]
        + 3 * (1 - time) ** 2 * time * ends[1]
        + 3 * (1 - time) * time**2 * ends[2]
        + time**3 * ends[3]
    )
    thickness = max(1, round(width * _SUPERSAMPLING))
    ImageDraw.Draw(canvas).line(curve.ravel().tolist(), fill=255, width=thickness, joint="curve")
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.uint8)


def _place_all(
    rng: np.random.Generator, glyphs: Sequence[Glyph], size: int, shrink: float
) -> tuple[Bytes, list[int]] | None:
    """Opacity of every object, and its pixels with those outside the image; None if no place."""
    coverages = np.zeros((len(glyphs), size, size), np.uint8)
    no_stroke = np.zeros((size, size), np.uint8)
    totals: list[int] = []
    centers: list[tuple[float, float]] = []
    low, high = (shrink * bound * size for bound in _SIDES)
    for row, glyph in enumerate(glyphs):
        for _ in range(_TRIES):
            side = math.exp(rng.uniform(math.log(low), math.log(high)))
            alpha = pose_glyph(
                glyph,
                side,
                angle=rng.uniform(-MAX_ANGLE, MAX_ANGLE),
                stretch=rng.uniform(0.85, 1.18),
                shear=rng.uniform(-0.12, 0.12),
                weight=int(rng.integers(HEAVIEST + 1)),
            )
            x, y = _choose_center(rng, centers, side, size)
            canvas = Image.new("L", (size, size))
            height, width = alpha.shape
            canvas.paste(Image.fromarray(alpha), (round(x - width / 2), round(y - height / 2)))
            coverages[row] = np.asarray(canvas)
            total = int(np.count_nonzero(alpha >= 128))
            if _all_visible(coverages[: row + 1], [*totals, total], no_stroke):
                totals.append(total)
                centers.append((x, y))
                break
        else:
            return None
    return coverages, totals


def _choose_center(
    rng: np.random.Generator, centers: Sequence[tuple[float, float]], side: float, size: int
) -> tuple[float, float]:
    if centers and rng.random() < _CLUSTERED:
        x, y = centers[int(rng.integers(len(centers)))]
        angle, distance = rng.uniform(0, 2 * math.pi), side * rng.uniform(0.5, 1.0)
        return x + distance * math.cos(angle), y + distance * math.sin(angle)
    # A little of an object may lie outside, as in photographs.
    margin = 0.42 * side
    candidates = rng.uniform(margin, size - margin, size=(3, 2))
    # The loneliest of a few places fills an image better than chance alone.
    apart = [min((math.dist(one, other) for other in centers), default=0.0) for one in candidates]
    x, y = candidates[int(np.argmax(apart))].tolist()
    return x, y


def _visible_masks(coverages: Bytes, stroke: Bytes) -> Bools:
    """Leave to every object the pixels that nothing in front of it takes."""
    masks = coverages >= 128
    taken = stroke >= 128
    for mask in masks[::-1]:
        whole = mask.copy()
        mask &= ~taken
        taken |= whole
    return masks


def _all_visible(coverages: Bytes, totals: Sequence[int], stroke: Bytes) -> bool:
    seen = _visible_masks(coverages, stroke).sum(axis=(1, 2))
    return bool((seen >= np.maximum(MIN_VISIBLE * np.array(totals), MIN_PIXELS)).all())
