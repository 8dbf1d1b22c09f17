"""Objects that were cut out of images, pasted into others (Ghiasi et al. 2021).

What is pasted covers what was there before: masks are cut, boxes follow them, and objects of which
too little can still be seen are no objects any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from lst_cli.settings.models import PasteSettings

Pixels = npt.NDArray[np.uint8]  # RGB, shape (h, w, 3)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object in the rectangle that was cut out around it."""

    label: int
    pixels: Pixels
    mask: Mask  # shape (h, w)


@dataclass(frozen=True, eq=False)
class Pasted:
    """An image with the objects that can be seen in it."""

    picture: Pixels  # shape (H, W, 3)
    masks: Mask  # shape (N, H, W)
    # Which object each is, shape (N,), ascending: 0 ... M - 1 were there before, M + p is the p-th
    # that was pasted.
    origin: npt.NDArray[np.int64]


def paste(
    picture: Pixels,
    masks: Mask,
    objects: Sequence[CutOut],
    rng: np.random.Generator,
    rules: PasteSettings,
) -> Pasted:
    """Paste objects one after the other over a picture with M objects, masks of shape (M, H, W).

    Scale, place, mirroring and brightness are drawn. An object of which nothing is left when
    scaled, or too little can be seen in the end, is left out. The arguments stay as they are.
    """
    picture = picture.copy()
    height, width = picture.shape[:2]
    every = [masks.copy()]
    before = [masks.sum(axis=(1, 2))]
    for one in objects:
        one = _scaled(one, rng, rules, (height, width))
        mask: Mask = np.zeros((height, width), dtype=bool)
        tall, wide = one.mask.shape
        top = int(rng.integers(height - tall + 1))
        left = int(rng.integers(width - wide + 1))
        rows, columns = slice(top, top + tall), slice(left, left + wide)
        mask[rows, columns] = one.mask
        below = picture[rows, columns]
        picture[rows, columns] = _mixed(below, one.pixels, _blurred(one.mask))
        for covered in every:
            covered[:, rows, columns] &= ~one.mask
        every.append(mask[None])
        before.append(np.array([one.mask.sum()]))
    found = np.concatenate(every)
    areas, visible = np.concatenate(before), found.sum(axis=(1, 2))
    kept = (visible > 0) & (visible >= rules.visible * areas)
    return Pasted(picture, found[kept], np.flatnonzero(kept))


def boxes_of(masks: Mask) -> npt.NDArray[np.float32]:
    """Left, top, right and bottom of masks that are nowhere empty, shape (N, 4)."""
    rows, columns = (np.logical_or.reduce(masks, axis=axis) for axis in (2, 1))
    height, width = masks.shape[1:]
    edges = (
        columns.argmax(axis=1),
        rows.argmax(axis=1),
        width - columns[:, ::-1].argmax(axis=1),
        height - rows[:, ::-1].argmax(axis=1),
    )
    return np.stack(edges, axis=1).astype(np.float32)


def _scaled(
    one: CutOut, rng: np.random.Generator, rules: PasteSettings, room: tuple[int, int]
) -> CutOut:
    scale = float(np.exp(rng.uniform(*np.log(rules.scale))))  # evenly in its logarithm
    mirrored = bool(rng.random() < 0.5)
    light = float(rng.uniform(1 - rules.brightness, 1 + rules.brightness))
    fits = min(rules.largest * side / own for side, own in zip(room, one.mask.shape, strict=True))
    tall, wide = (max(1, round(min(scale, fits) * side)) for side in one.mask.shape)
    step = -1 if mirrored else 1
    pixels = Image.fromarray(np.ascontiguousarray(one.pixels[:, ::step]))
    mask = Image.fromarray(np.ascontiguousarray(one.mask[:, ::step]).astype(np.uint8) * 255)
    size = (wide, tall)
    resized = np.asarray(pixels.resize(size, Image.Resampling.BILINEAR))
    return CutOut(
        one.label,
        (resized * light).clip(0, 255).astype(np.uint8),
        np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) > 127,
    )


def _blurred(mask: Mask) -> npt.NDArray[np.float32]:
    """Mean over 3 x 3 pixels, 0 outside the object."""
    padded = np.pad(mask.astype(np.float32), 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: npt.NDArray[np.float32] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return mean * mask


def _mixed(below: Pixels, above: Pixels, share: npt.NDArray[np.float32]) -> Pixels:
    weights = share[:, :, None]
    mixed: Pixels = np.rint(above * weights + below * (1 - weights)).astype(np.uint8)
    return mixed
