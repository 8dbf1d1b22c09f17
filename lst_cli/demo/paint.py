"""The colours, textures, light and grain of one demo image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lst_cli.demo.layout import Bytes, Layout, draw_scribble

Floats = NDArray[np.float32]
Rng = np.random.Generator
Color = tuple[float, float, float]  # OKLCH: lightness 0..1, chroma 0..0.3, hue in turns

_MIN_CONTRAST = 0.3  # between an object's colour and the background's, black to white is 1
_MIN_LIGHTNESS_STEP = 0.15
_MIN_DIFFERENCE = 0.2  # between the colours of two objects of an image
_RAMP_STEPS = 64
# Ottosson, "A perceptual color space for image processing", 2020.
_LAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def paint_layout(rng: Rng, layout: Layout) -> Bytes:
    """Paint an image, sRGB of shape (H, W, 3): background, strokes, objects, then the camera.

    An object's colours and texture say nothing about its class; only its shape does.
    """
    size = layout.stroke.shape[0]
    lightness = rng.uniform(0.28, 0.5) if rng.random() < 0.45 else rng.uniform(0.68, 0.92)
    ground = lightness, rng.uniform(0.015, 0.085), rng.random()
    image = _paint_ground(rng, size, ground)
    light = rng.uniform(0, 2 * math.pi)  # the direction light comes from
    depth = rng.uniform(0.25, 0.55)  # how dark shadows are
    for _ in range(int(rng.integers(0, 4))):
        scribble = draw_scribble(rng, size, size * rng.uniform(0.01, 0.05))
        color = color_field(np.ones((1, 1), np.float32), [_near(rng, ground, 0.16)] * 2)
        image = _blend(image, color, scribble * np.float32(rng.uniform(0.5, 0.9) / 255))
    colors: list[Color] = []
    for coverage in (*layout.coverages, layout.stroke):
        if coverage.any():
            colors.append(_choose_surface(rng, ground, colors))
            image = _paint_object(rng, image, coverage, colors[-1], light, depth)
    return _photograph(rng, image, light)


def _choose_surface(rng: Rng, ground: Color, others: Sequence[Color]) -> Color:
    """Choose an object's colour that stands out from the background and from other objects."""
    for attempt in range(100):
        color = (rng.uniform(0.3, 0.9), rng.uniform(0.09, 0.2), rng.random())
        # Many objects leave less and less room between their colours.
        apart = _MIN_DIFFERENCE * (1 - attempt / 100)
        if (
            color_distance(color, ground) >= _MIN_CONTRAST
            and abs(color[0] - ground[0]) >= _MIN_LIGHTNESS_STEP
            and all(color_distance(color, other) >= apart for other in others)
        ):
            return color
    return (0.9 if ground[0] < 0.6 else 0.3), 0.15, ground[2] + 0.5


def _near(rng: Rng, color: Color, spread: float) -> Color:
    lightness, chroma, hue = color
    step = rng.uniform(0.5, 1.0) * spread * (1 if rng.random() < 0.5 else -1)
    return (
        float(np.clip(lightness + step, 0.12, 0.97)),
        float(np.clip(chroma * rng.uniform(0.6, 1.3), 0.0, 0.22)),
        hue + rng.uniform(-0.08, 0.08),
    )


def _paint_ground(rng: Rng, size: int, ground: Color) -> Floats:
    draw = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    field = draw(rng, size, size * rng.uniform(0.06, 0.22))
    # A second, faint field keeps large areas from looking computed.
    field = 0.82 * field + 0.18 * _noise(rng, size, size * 0.3)
    return color_field(field, [ground, _near(rng, ground, 0.12), _near(rng, ground, 0.2)])


def _paint_object(
    rng: Rng, image: Floats, coverage: Bytes, color: Color, light: float, depth: float
) -> Floats:
    rows = np.flatnonzero(coverage.any(axis=1))
    side = max(8, int(rows[-1] - rows[0]))
    draw = SURFACES[int(rng.integers(len(SURFACES)))]
    field = draw(rng, len(coverage), side * rng.uniform(0.12, 0.35))
    surface = color_field(field, [color, _near(rng, color, rng.uniform(0.06, 0.2))])
    reach = max(1.0, 0.05 * side)
    x, y = math.cos(light), math.sin(light)
    height = _blur(coverage, 0.5 * reach)
    # Edges that face the light are bright and those that turn away are dark.
    slope = x * np.gradient(height, axis=1) + y * np.gradient(height, axis=0)
    bevel = (np.clip(slope * reach, -0.6, 0.6) * rng.uniform(0.3, 0.9))[..., None]
    surface = np.where(bevel < 0, surface * (1 + bevel), surface + (1 - surface) * bevel)

    shadow = _shift(_blur(coverage, reach), round(x * 1.2 * reach), round(y * 1.2 * reach))
    shaded = np.asarray(image * (1 - depth * shadow[..., None]), np.float32)
    alpha = np.asarray(coverage / np.float32(255), np.float32)
    return _blend(shaded, np.asarray(surface, np.float32), alpha)


def _photograph(rng: Rng, image: Floats, light: float) -> Bytes:
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
    height, width = field.shape
    padded = np.pad(field, ((abs(down),) * 2, (abs(right),) * 2))
    top, left = abs(down) - down, abs(right) - right
    return padded[top : top + height, left : left + width]


# Textures: grey fields between 0 and 1, shape (size, size), of details as large as `period`.


def _noise(rng: Rng, size: int, period: float) -> Floats:
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        cell = max(2.0, period / 2**octave)
        cells = math.ceil(size / cell) + 2
        grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        side = math.ceil(cells * cell)
        smooth = np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))
        total += smooth[:size, :size] / 2**octave
    return _stretch(total)


def _gradient(rng: Rng, size: int, period: float) -> Floats:
    x, y = _grid(rng, size)
    if rng.random() < 0.5:
        return _stretch(x)
    return _stretch(np.hypot(x - size * rng.uniform(-0.3, 0.3), y))


def _stripes(rng: Rng, size: int, period: float) -> Floats:
    x, _ = _grid(rng, size)
    return _sharpen(rng, np.sin(2 * np.pi * (x / period + rng.random())))


def _waves(rng: Rng, size: int, period: float) -> Floats:
    x, _ = _grid(rng, size)
    bend = _noise(rng, size, 3 * period)
    return _sharpen(rng, np.sin(2 * np.pi * (x / period + rng.uniform(0.8, 2.0) * bend)))


def _checks(rng: Rng, size: int, period: float) -> Floats:
    x, y = _grid(rng, size)
    return _sharpen(rng, 1.6 * np.sin(np.pi * x / period) * np.sin(np.pi * y / period))


def _dots(rng: Rng, size: int, period: float) -> Floats:
    x, y = _grid(rng, size)
    u, v = x / period, y / period
    u = u + 0.5 * (np.floor(v) % 2)  # every other row is shifted by half a step
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5) * period
    radius = rng.uniform(0.22, 0.38) * period
    return np.asarray(np.clip(radius - distance + 0.5, 0.0, 1.0), np.float32)


def _bricks(rng: Rng, size: int, period: float) -> Floats:
    x, y = _grid(rng, size)
    row = np.floor(y / period)
    along = x / (2 * period) + 0.5 * (row % 2)
    column = np.floor(along)
    joint = np.minimum(along - column, 1 - along + column) * 2 * period
    joint = np.minimum(joint, np.minimum(y / period - row, 1 - y / period + row) * period)
    shades = rng.random((64, 64), dtype=np.float32)
    shade = 0.45 + 0.55 * shades[row.astype(int) % 64, column.astype(int) % 64]
    return np.asarray(shade * np.clip(joint - 0.3, 0.0, 1.0), np.float32)


def _patches(rng: Rng, size: int, period: float) -> Floats:
    count = int(np.clip(size * size / period**2, 3, 24))
    points = rng.random((count, 2), dtype=np.float32) * np.float32(size)
    shades = rng.random(count, dtype=np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32)[..., None] - points.T[:, None, None]
    return _stretch(shades[np.argmin(x * x + y * y, axis=2)])


Texture = Callable[[Rng, int, float], Floats]
SURFACES: tuple[Texture, ...] = (_noise, _gradient, _stripes, _waves, _checks, _dots)
BACKGROUNDS: tuple[Texture, ...] = (*SURFACES, _bricks, _patches)


def _grid(rng: Rng, size: int) -> tuple[Floats, Floats]:
    """Give pixel coordinates from the middle, turned by a random angle."""
    angle = rng.uniform(0, 2 * math.pi)
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
    return cosine * x + sine * y, cosine * y - sine * x


def _sharpen(rng: Rng, wave: Floats) -> Floats:
    hardness = rng.uniform(1.0, 6.0)
    bent = 0.5 + 0.5 * np.tanh(hardness * wave) / math.tanh(hardness)
    return np.asarray(np.clip(bent, 0.0, 1.0), np.float32)


def _stretch(field: Floats) -> Floats:
    low, high = float(field.min()), float(field.max())
    if high <= low:
        return np.full_like(field, 0.5)
    return np.asarray((field - low) / (high - low), np.float32)


def color_field(field: Floats, colors: Sequence[Color]) -> Floats:
    """Colour values from 0 to 1, shape (H, W), by a ramp of colours: sRGB, (H, W, 3), 0 to 1."""
    lab = np.array([_oklab(color) for color in colors])
    stops = np.linspace(0.0, 1.0, len(colors))
    steps = np.linspace(0.0, 1.0, _RAMP_STEPS)
    ramp = np.stack([np.interp(steps, stops, lab[:, channel]) for channel in range(3)], axis=1)
    linear = np.clip((ramp @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    index = np.clip(field * (_RAMP_STEPS - 1) + 0.5, 0, _RAMP_STEPS - 1).astype(np.int64)
    return np.asarray(srgb[index], np.float32)


def color_distance(first: Color, second: Color) -> float:
    """Tell how far apart two colours look: 0 for the same, 1 for black and white."""
    return float(np.linalg.norm(np.subtract(_oklab(first), _oklab(second))))


def _oklab(color: Color) -> Color:
    lightness, chroma, hue = color
    angle = 2 * math.pi * hue
    return lightness, chroma * math.cos(angle), chroma * math.sin(angle)
