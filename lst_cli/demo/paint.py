"""The colours, light and grain of one demo image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from lst_cli.demo import textures
from lst_cli.demo.layout import Layout, draw_scribble
from lst_cli.demo.textures import Color

Floats = np.ndarray[Any, np.dtype[np.float32]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_MIN_CONTRAST = 0.3  # between an object's colour and the background's, black to white is 1
_MIN_LIGHTNESS_STEP = 0.15
_MIN_DIFFERENCE = 0.2  # between the colours of two objects of an image


def paint_layout(rng: np.random.Generator, layout: Layout) -> Bytes:
    """Paint an image: background, strokes, objects from the lowest up, then the camera.

    An object's colours and texture say nothing about its class; only its shape does.

    Args:
        rng: Source of chance.
        layout: What lies where.

    Returns:
        sRGB, shape (H, W, 3).
    """
    size = layout.stroke.shape[0]
    ground = _choose_ground(rng)
    image = _paint_ground(rng, size, ground)
    light = rng.uniform(0, 2 * math.pi)  # the direction light comes from
    depth = rng.uniform(0.25, 0.55)  # how dark shadows are
    for _ in range(int(rng.integers(0, 4))):
        scribble = draw_scribble(rng, size, size * rng.uniform(0.01, 0.05))
        color = _near(rng, ground, 0.16)
        image = _blend(
            image,
            textures.color_field(np.ones((1, 1), np.float32), [color] * 2),
            scribble * np.float32(rng.uniform(0.5, 0.9) / 255),
        )
    colors: list[Color] = []
    for coverage in (*layout.coverages, layout.stroke):
        if coverage.any():
            colors.append(_choose_surface(rng, ground, colors))
            image = _paint_object(rng, image, coverage, colors[-1], light, depth)
    return _photograph(rng, image, light)


def _choose_ground(rng: np.random.Generator) -> Color:
    lightness = rng.uniform(0.28, 0.5) if rng.random() < 0.45 else rng.uniform(0.68, 0.92)
    return lightness, rng.uniform(0.015, 0.085), rng.random()


def _choose_surface(rng: np.random.Generator, ground: Color, others: Sequence[Color]) -> Color:
    """Choose an object's colour that stands out from the background and from other objects."""
    for attempt in range(100):
        color = (rng.uniform(0.3, 0.9), rng.uniform(0.09, 0.2), rng.random())
        if (
            textures.color_distance(color, ground) >= _MIN_CONTRAST
            and abs(color[0] - ground[0]) >= _MIN_LIGHTNESS_STEP
            # Many objects leave less and less room between their colours.
            and all(
                textures.color_distance(color, other) >= _MIN_DIFFERENCE * (1 - attempt / 100)
                for other in others
            )
        ):
            return color
    return (0.9 if ground[0] < 0.6 else 0.3), 0.15, ground[2] + 0.5


def _near(rng: np.random.Generator, color: Color, spread: float) -> Color:
    lightness, chroma, hue = color
    step = rng.uniform(0.5, 1.0) * spread * (1 if rng.random() < 0.5 else -1)
    return (
        float(np.clip(lightness + step, 0.12, 0.97)),
        float(np.clip(chroma * rng.uniform(0.6, 1.3), 0.0, 0.22)),
        hue + rng.uniform(-0.08, 0.08),
    )


def _paint_ground(rng: np.random.Generator, size: int, ground: Color) -> Floats:
    draw = textures.BACKGROUNDS[int(rng.integers(len(textures.BACKGROUNDS)))]
    field = draw(rng, size, size, size * rng.uniform(0.06, 0.22))
    # A second, faint field keeps large areas from looking computed.
    field = 0.82 * field + 0.18 * textures.draw_noise(rng, size, size, size * 0.3)
    return textures.color_field(field, [ground, _near(rng, ground, 0.12), _near(rng, ground, 0.2)])


def _paint_object(
    rng: np.random.Generator,
    image: Floats,
    coverage: Bytes,
    color: Color,
    light: float,
    depth: float,
) -> Floats:
    size = coverage.shape[0]
    alpha = np.asarray(coverage / np.float32(255), np.float32)
    rows = np.flatnonzero(coverage.any(axis=1))
    side = max(8, int(rows[-1] - rows[0]) if rows.size else 0)
    draw = textures.SURFACES[int(rng.integers(len(textures.SURFACES)))]
    field = draw(rng, size, size, side * rng.uniform(0.12, 0.35))
    surface = textures.color_field(field, [color, _near(rng, color, rng.uniform(0.06, 0.2))])

    reach = max(1.0, 0.05 * side)
    x, y = math.cos(light), math.sin(light)
    height = _blur(coverage, 0.5 * reach)
    # Edges that face the light are bright and those that turn away are dark.
    slope = x * np.gradient(height, axis=1) + y * np.gradient(height, axis=0)
    bevel = np.clip(slope * reach, -0.6, 0.6) * rng.uniform(0.3, 0.9)
    surface = np.where(
        bevel[..., None] < 0,
        surface * (1 + bevel[..., None]),
        surface + (1 - surface) * bevel[..., None],
    )

    shadow = _shift(_blur(coverage, reach), round(x * 1.2 * reach), round(y * 1.2 * reach))
    shaded = np.asarray(image * (1 - depth * shadow[..., None]), np.float32)
    return _blend(shaded, np.asarray(surface, np.float32), alpha)


def _photograph(rng: np.random.Generator, image: Floats, light: float) -> Bytes:
    """Light the scene unevenly, blur it slightly and add grain."""
    size = image.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - np.float32(0.5)
    fall = rng.uniform(0.0, 0.28)
    lit = 1 - fall * (x * math.cos(light) + y * math.sin(light)) - 0.3 * fall * (x * x + y * y)
    image = np.clip(image * lit[..., None] * np.float32(rng.uniform(0.92, 1.06)), 0, 1)
    picture = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
    if rng.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(0.5, 4.0)
    pixels = np.clip(np.asarray(picture, np.float32) + grain + 0.5, 0, 255)
    return np.asarray(pixels, np.uint8)


def _blend(under: Floats, over: Floats, alpha: Floats) -> Floats:
    weight = alpha[..., None]
    return np.asarray(under * (1 - weight) + over * weight, np.float32)


def _blur(coverage: Bytes, radius: float) -> Floats:
    blurred = Image.fromarray(coverage).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(np.asarray(blurred) / np.float32(255), np.float32)


def _shift(field: Floats, right: int, down: int) -> Floats:
    """Move a field, filling with zeros."""
    result = np.zeros_like(field)
    height, width = field.shape
    to_rows = slice(max(0, down), height + min(0, down))
    to_columns = slice(max(0, right), width + min(0, right))
    from_rows = slice(max(0, -down), height + min(0, -down))
    from_columns = slice(max(0, -right), width + min(0, -right))
    result[to_rows, to_columns] = field[from_rows, from_columns]
    return result
