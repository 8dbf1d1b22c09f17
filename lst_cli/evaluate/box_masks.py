"""Predicted masks to run lengths, without ever drawing a full image.

A mask of 28x28 probabilities lies in a box that covers a small part of its image. It is enlarged
there alone, and run lengths of the whole image follow from those of the part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

_DOUBT = np.float32(1e-5)
"""A probability so near to the threshold is computed again as detectron2 does it: what the order
of its additions changes is well below."""

_THRESHOLD = np.float32(0.5)


def encode_box_masks(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int
) -> list[dict[str, Any]]:
    """Enlarge masks to their boxes and encode them as masks of the image.

    The bytes are those of `detectron2.layers.paste_masks_in_image` on a CPU, encoded by
    `pycocotools.mask.encode`.

    Args:
        masks: Probabilities inside each box, shape (N, S, S).
        boxes: XYXY in pixels of the image, of positive width and height, shape (N, 4).
        height: Of the image.
        width: Of the image.

    Returns:
        For each mask its `size` and compressed `counts`, as text.

    Example:
        >>> box = np.array([[1.0, 0.0, 3.0, 2.0]], dtype=np.float32)
        >>> encode_box_masks(np.ones((1, 28, 28), dtype=np.float32), box, height=2, width=4)
        [{'size': [2, 4], 'counts': '242'}]
    """
    masks = np.ascontiguousarray(masks, dtype=np.float32)
    boxes = np.asarray(boxes, dtype=np.float32)
    runs = [
        runs_of(draw_in_box(mask, box, height, width), *corner_of(box), height, width)
        for mask, box in zip(masks, boxes, strict=True)
    ]
    return [{"size": [height, width], "counts": counts} for counts in compress_runs(runs)]


def corner_of(box: NDArray[np.float32]) -> tuple[int, int]:
    """Column and row of the image where what `draw_in_box` gives begins."""
    return max(int(np.floor(box[0])) - 1, 0), max(int(np.floor(box[1])) - 1, 0)


def draw_in_box(
    mask: NDArray[np.float32], box: NDArray[np.float32], height: int, width: int
) -> NDArray[np.bool_]:
    """Enlarge one mask to the part of the image around its box.

    Args:
        mask: Probabilities, shape (S, S).
        box: XYXY in pixels.
        height: Of the image.
        width: Of the image.

    Returns:
        Whether a pixel belongs to the object, columns first, shape (columns, rows).
    """
    left, top = corner_of(box)
    right = min(int(np.ceil(box[2])) + 1, width)
    bottom = min(int(np.ceil(box[3])) + 1, height)
    xs = _places(left, right, box[0], box[2])
    ys = _places(top, bottom, box[1], box[3])
    if np.isfinite(mask).all():
        # Bilinear interpolation is one matrix for the rows and one for the columns.
        across, down = _weights(xs, mask.shape[1]), _weights(ys, mask.shape[0])
        values = (across @ mask.T) @ down.T  # (columns, rows)
        inside: NDArray[np.bool_] = values >= _THRESHOLD + _DOUBT
        likely = values > _THRESHOLD - _DOUBT
    else:
        inside = np.zeros((len(xs), len(ys)), dtype=np.bool_)
        likely = ~inside
    if np.count_nonzero(likely) != np.count_nonzero(inside):
        columns, rows = np.nonzero(likely & ~inside)
        inside[columns, rows] = _sample(mask, xs[columns], ys[rows]) >= _THRESHOLD
    return inside


def runs_of(
    part: NDArray[np.bool_], left: int, top: int, height: int, width: int
) -> NDArray[np.int64]:
    """Run lengths of an image of which a part is known, and nothing lies outside.

    Args:
        part: Columns first, shape (columns, rows).
        left: Column of the image where it begins.
        top: Row where it begins.
        height: Of the image.
        width: Of the image.

    Returns:
        Lengths of runs down one column after the other, background first.

    Example:
        >>> part = np.array([[True, True], [False, True]])
        >>> runs_of(part, left=1, top=0, height=3, width=4).tolist()
        [3, 2, 2, 1, 4]
    """
    columns, rows = part.shape
    # An empty row above and below: no run then goes from one column into the next.
    framed = np.zeros((columns, rows + 1), dtype=np.bool_)
    framed[:, :-1] = part
    flat = framed.reshape(-1)
    changes = np.empty(len(flat), dtype=np.bool_)
    changes[:1] = flat[:1]
    np.not_equal(flat[1:], flat[:-1], out=changes[1:])
    edges = np.flatnonzero(changes)  # where runs begin and end, by turns
    edges += edges // (rows + 1) * (height - rows - 1) + (left * height + top)
    if rows == height and len(edges):
        # A run may begin where the one of the column before has ended.
        apart = edges[1:-1:2] != edges[2::2]
        edges = edges[np.concatenate(([True], np.repeat(apart, 2), [True]))]
    pixels = height * width
    if len(edges) and edges[-1] == pixels:
        return np.diff(edges, prepend=0)
    return np.diff(edges, prepend=0, append=pixels)


def compress_runs(runs: list[NDArray[np.int64]]) -> list[str]:
    """Write run lengths as COCO does; `decode_counts` reads them.

    Args:
        runs: Run lengths of each mask.

    Returns:
        A text for each mask.

    Example:
        >>> compress_runs([np.array([6, 2, 5, 1]), np.array([40])])
        ['625O', 'X1']
    """
    if not runs:
        return []
    sizes = np.array([len(one) for one in runs])
    ends = np.cumsum(sizes)
    values = np.concatenate(runs)
    rest = values.copy()
    rest[2:] -= values[:-2]
    # The first three of a mask stand as they are.
    firsts = ((ends - sizes)[:, None] + np.arange(3)).reshape(-1)
    firsts = firsts[(np.arange(3) < sizes[:, None]).reshape(-1)]
    rest[firsts] = values[firsts]
    digits = np.zeros((len(rest), 8), dtype=np.uint8)
    used = np.zeros(len(rest), dtype=np.int64)
    open_rows = np.arange(len(rest))
    for place in range(8):
        digit = rest & 0x1F
        rest = rest >> 5
        more = np.where(digit & 0x10, rest != -1, rest != 0)
        digits[open_rows, place] = 48 + digit + 32 * more
        used[open_rows] = place + 1
        open_rows, rest = open_rows[more], rest[more]
        if not len(open_rows):
            break
    text = digits[digits != 0].tobytes().decode("ascii")
    stops = np.cumsum(used)[ends - 1].tolist()
    return [text[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _places(start: int, stop: int, low: np.float32, high: np.float32) -> NDArray[np.float32]:
    """Centres of pixels, in [-1, 1] from one side of the box to the other."""
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    # A box can be thinner than any number.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        places: NDArray[np.float32] = (centres - low) / (high - low) * np.float32(2) - np.float32(1)
    return places


def _weights(places: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """How much each cell of a mask's side counts at each place, shape (places, S)."""
    cells = (places + np.float32(1)) * np.float32(side / 2) - np.float32(0.5)
    reach = np.float32(1) - np.abs(cells[:, None] - np.arange(side, dtype=np.float32))
    weights: NDArray[np.float32] = np.maximum(reach, np.float32(0))
    return weights


def _sample(
    mask: NDArray[np.float32], xs: NDArray[np.float32], ys: NDArray[np.float32]
) -> NDArray[np.float32]:
    grid = torch.from_numpy(np.stack([xs, ys], axis=1))[None, None]  # (1, 1, points, 2)
    values = F.grid_sample(torch.from_numpy(mask)[None, None], grid, align_corners=False)
    sampled: NDArray[np.float32] = values[0, 0, 0].numpy()
    return sampled
