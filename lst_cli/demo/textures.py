"""Procedural textures: grey fields between 0 and 1, coloured by a ramp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

Floats = np.ndarray[Any, np.dtype[np.float32]]
Field = Callable[[np.random.Generator, int, int, float], Floats]
Color = tuple[float, float, float]  # OKLCH: lightness 0..1, chroma 0..0.3, hue in turns

_RAMP_STEPS = 64
_FEWEST_PATCHES = 3
_MOST_PATCHES = 24


def draw_noise(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw clouds: three octaves of smoothly enlarged random grids."""
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        cell = max(2.0, period / 2**octave)
        rows, columns = math.ceil(height / cell) + 2, math.ceil(width / cell) + 2
        grid = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
        size = (math.ceil(columns * cell), math.ceil(rows * cell))
        smooth = np.asarray(grid.resize(size, Image.Resampling.BICUBIC))
        total += smooth[:height, :width] / 2**octave
    return _stretch(total)


def draw_gradient(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw a straight or round slope over the whole field."""
    x, y = _grid(rng, height, width)
    if rng.random() < 0.5:
        return _stretch(x)
    return _stretch(np.hypot(x - width * rng.uniform(-0.3, 0.3), y))


def draw_stripes(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw parallel bands, soft or sharp."""
    x, _ = _grid(rng, height, width)
    return _sharpen(rng, np.sin(2 * np.pi * (x / period + rng.random())))


def draw_waves(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw bent bands, like wood or marble."""
    x, _ = _grid(rng, height, width)
    bend = draw_noise(rng, height, width, 3 * period)
    return _sharpen(rng, np.sin(2 * np.pi * (x / period + rng.uniform(0.8, 2.0) * bend)))


def draw_checks(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw a chessboard at an angle."""
    x, y = _grid(rng, height, width)
    return _sharpen(rng, 1.6 * np.sin(np.pi * x / period) * np.sin(np.pi * y / period))


def draw_dots(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw a lattice of round dots."""
    x, y = _grid(rng, height, width)
    u, v = x / period, y / period
    u = u + 0.5 * (np.floor(v) % 2)  # every other row is shifted by half a step
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5) * period
    radius = rng.uniform(0.22, 0.38) * period
    return np.asarray(np.clip(radius - distance + 0.5, 0.0, 1.0), np.float32)


def draw_bricks(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw a wall of bricks with joints and a shade of its own for every brick."""
    x, y = _grid(rng, height, width)
    row = np.floor(y / period)
    along = x / (2 * period) + 0.5 * (row % 2)
    column = np.floor(along)
    joint = np.minimum(along - column, 1 - along + column) * 2 * period
    joint = np.minimum(joint, np.minimum(y / period - row, 1 - y / period + row) * period)
    shades = rng.random((64, 64), dtype=np.float32)
    shade = 0.45 + 0.55 * shades[row.astype(int) % 64, column.astype(int) % 64]
    return np.asarray(shade * np.clip(joint - 0.3, 0.0, 1.0), np.float32)


def draw_patches(rng: np.random.Generator, height: int, width: int, period: float) -> Floats:
    """Draw a mosaic: every pixel takes the shade of the nearest of some random points."""
    count = int(np.clip(height * width / period**2, _FEWEST_PATCHES, _MOST_PATCHES))
    points = rng.random((count, 2), dtype=np.float32) * np.array([height, width], np.float32)
    shades = rng.random(count, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None, None] - points[:, 0]
    x = np.arange(width, dtype=np.float32)[None, :, None] - points[:, 1]
    return _stretch(shades[np.argmin(x * x + y * y, axis=2)])


BACKGROUNDS: tuple[Field, ...] = (
    draw_noise,
    draw_gradient,
    draw_stripes,
    draw_waves,
    draw_checks,
    draw_dots,
    draw_bricks,
    draw_patches,
)
SURFACES: tuple[Field, ...] = (
    draw_noise,
    draw_gradient,
    draw_stripes,
    draw_waves,
    draw_checks,
    draw_dots,
)


def color_field(field: Floats, colors: Sequence[Color]) -> Floats:
    """Colour a field by a ramp that passes through some colours evenly.

    Args:
        field: Values from 0 to 1, shape (H, W).
        colors: Two or more colours, the first for 0 and the last for 1.

    Returns:
        sRGB between 0 and 1, shape (H, W, 3).
    """
    lab = np.array([_oklab(color) for color in colors])
    stops = np.linspace(0.0, 1.0, len(colors))
    steps = np.linspace(0.0, 1.0, _RAMP_STEPS)
    ramp = np.stack([np.interp(steps, stops, lab[:, channel]) for channel in range(3)], axis=1)
    index = np.clip(field * (_RAMP_STEPS - 1) + 0.5, 0, _RAMP_STEPS - 1).astype(np.int64)
    return np.asarray(_oklab_to_srgb(ramp)[index], np.float32)


def color_distance(first: Color, second: Color) -> float:
    """Tell how far apart two colours look: 0 for the same, 1 for black and white."""
    return float(np.linalg.norm(np.subtract(_oklab(first), _oklab(second))))


def _oklab(color: Color) -> Color:
    lightness, chroma, hue = color
    return (
        lightness,
        chroma * math.cos(2 * math.pi * hue),
        chroma * math.sin(2 * math.pi * hue),
    )


def _oklab_to_srgb(lab: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # Ottosson, "A perceptual color space for image processing", 2020.
    to_lms = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_linear.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(srgb)


def _grid(rng: np.random.Generator, height: int, width: int) -> tuple[Floats, Floats]:
    """Give pixel coordinates from the middle, turned by a random angle."""
    angle = rng.uniform(0, 2 * math.pi)
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x -= width / 2
    y -= height / 2
    return cosine * x + sine * y, cosine * y - sine * x


def _sharpen(rng: np.random.Generator, wave: Floats) -> Floats:
    hardness = rng.uniform(1.0, 6.0)
    bent = 0.5 + 0.5 * np.tanh(hardness * wave) / math.tanh(hardness)
    return np.asarray(np.clip(bent, 0.0, 1.0), np.float32)


def _stretch(field: Floats) -> Floats:
    low, high = float(field.min()), float(field.max())
    if high <= low:
        return np.full_like(field, 0.5)
    return np.asarray((field - low) / (high - low), np.float32)
