"""Where the objects of one demo image lie, and what of each can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lst_cli.demo.glyphs import HEAVIEST, SOURCE_SIDE, Glyph, render_glyph
from lst_cli.errors import LstError

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

MAX_ANGLE = 25.0  # degrees to either side
MIN_VISIBLE = 0.5  # of an object's own pixels; below, another place is tried
MIN_PIXELS = 30  # visible ones of an object, however small the image
_SIDES = (0.21, 0.48)  # an object's longer side as a fraction of the image's
_CLUSTERED = 0.3  # chance that an object is put against one that is there already
_STROKE_IN_FRONT = 0.35  # chance
_SUPERSAMPLING = 3
_TRIES = 60
_RESTARTS = 30


@dataclass(frozen=True)
class Layout:
    """The geometry of one image; colours come later. Opacity is from 0 to 255."""

    coverages: Bytes  # opacity of every object, the lowest first, shape (M, H, W)
    stroke: Bytes  # of the unannotated stroke in front of all objects, shape (H, W)
    visible: Bools  # where an object is what one sees, shape (M, H, W); no pixel is of two objects


def arrange_glyphs(rng: np.random.Generator, glyphs: Sequence[Glyph], size: int) -> Layout:
    """Place glyphs in a square image, the first of them lowest.

    Every object keeps at least `MIN_VISIBLE` of its pixels and `MIN_PIXELS` of them, so
    that none has to be left out of the annotations and the counts come out as planned.

    Raises:
        LstError: If the glyphs do not fit.
    """
    for restart in range(_RESTARTS):
        # A crowd that did not fit is tried again with smaller objects.
        placed = _place_all(rng, glyphs, size, shrink=0.96**restart)
        if placed is not None:
            coverages, totals = placed
            stroke = _draw_front_stroke(rng, coverages, totals)
            return Layout(coverages, stroke, _visible_masks(coverages, stroke))
    raise LstError(
        f"{len(glyphs)} objects do not fit in a demo image of {size} pixels",
        hint="draw larger images or fewer objects per image",
    )


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
    best = 0
    if centers:  # the loneliest of a few places fills an image better than chance alone
        apart = np.linalg.norm(candidates[:, None] - np.array(centers)[None], axis=2)
        best = int(np.argmax(apart.min(axis=1)))
    x, y = candidates[best].tolist()
    return x, y


def _visible_masks(coverages: Bytes, stroke: Bytes) -> Bools:
    """Leave to every object the pixels that nothing in front of it takes."""
    masks = coverages >= 128
    free = stroke < 128
    for row in range(len(masks) - 1, -1, -1):
        own = masks[row].copy()
        masks[row] &= free
        free = free & ~own
    return masks


def _all_visible(coverages: Bytes, totals: Sequence[int], stroke: Bytes) -> bool:
    seen = _visible_masks(coverages, stroke).sum(axis=(1, 2))
    return all(
        pixels >= max(MIN_VISIBLE * total, MIN_PIXELS)
        for pixels, total in zip(seen, totals, strict=True)
    )


def _draw_front_stroke(rng: np.random.Generator, coverages: Bytes, totals: Sequence[int]) -> Bytes:
    """Draw a thin stroke in front of everything, or none: it must hide nothing altogether."""
    size = coverages.shape[1]
    if rng.random() < _STROKE_IN_FRONT:
        stroke = draw_scribble(rng, size, size * rng.uniform(0.012, 0.03))
        if _all_visible(coverages, totals, stroke):
            return stroke
    return np.zeros((size, size), np.uint8)
