"""Predicted masks to run lengths, without ever drawing a full image.

A mask of 28x28 probabilities lies in a box that covers a small part of its image. Only this part
is drawn; the run lengths of the whole image follow from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from torch.nn import functional as F

_THRESHOLD = np.float32(0.5)
# A probability this near to the threshold is computed again as detectron2 does it: the order of
# additions changes far less.
_DOUBT = np.float32(1e-5)


def encode_box_masks(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int
) -> list[dict[str, Any]]:
    """Enlarge masks to their boxes and encode them as masks of the image.

    The bytes are those of `detectron2.layers.paste_masks_in_image` on a CPU, encoded by
    `pycocotools.mask.encode`, as text. Masks are probabilities inside each box, shape (N, S, S);
    boxes are XYXY in pixels of the image, of positive width and height, shape (N, 4).

    Example:
        >>> box = np.array([[1.0, 0.0, 3.0, 2.0]], dtype=np.float32)
        >>> encode_box_masks(np.ones((1, 28, 28), dtype=np.float32), box, height=2, width=4)
        [{'size': [2, 4], 'counts': '242'}]
    """
    masks = np.ascontiguousarray(masks, dtype=np.float32)
    size = [height, width]
    runs = [
        {"size": size, "counts": _runs_in_image(mask, box, height, width)}
        for mask, box in zip(masks, np.asarray(boxes, dtype=np.float32), strict=True)
    ]
    compressed = mask_api.frPyObjects(runs, height, width) if runs else []
    return [{"size": size, "counts": rle["counts"].decode("ascii")} for rle in compressed]


def _runs_in_image(
    mask: NDArray[np.float32], box: NDArray[np.float32], height: int, width: int
) -> NDArray[np.int64]:
    """Enlarge one mask to the part of the image around its box, and give the image's runs."""
    left, top = (max(int(np.floor(low)) - 1, 0) for low in box[:2])
    right, bottom = (
        min(int(np.ceil(high)) + 1, end) for high, end in zip(box[2:], (width, height), strict=True)
    )
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
    return runs_of(inside, left, top, height, width)


def runs_of(
    part: NDArray[np.bool_], left: int, top: int, height: int, width: int
) -> NDArray[np.int64]:
    """Run lengths, column by column, of an image with an object in one part (columns, rows) of it.

    The part begins at the column `left` and the row `top` of the image.
    """
    columns, rows = part.shape
    # An empty row above and below: no run then goes from one column into the next.
    framed = np.zeros((columns, rows + 1), dtype=np.bool_)
    framed[:, :-1] = part
    edges = np.flatnonzero(np.diff(framed.reshape(-1), prepend=False))  # of runs, by turns
    edges += edges // (rows + 1) * (height - rows - 1) + (left * height + top)
    if rows == height and len(edges):
        # A run may begin where the one of the column before has ended.
        apart = edges[1:-1:2] != edges[2::2]
        edges = edges[np.concatenate(([True], np.repeat(apart, 2), [True]))]
    runs = np.diff(edges, prepend=0, append=height * width)
    return runs if runs[-1] else runs[:-1]


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
    return np.asarray(np.maximum(reach, np.float32(0)))


def _sample(
    mask: NDArray[np.float32], xs: NDArray[np.float32], ys: NDArray[np.float32]
) -> NDArray[np.float32]:
    grid = torch.from_numpy(np.stack([xs, ys], axis=1))[None, None]  # (1, 1, points, 2)
    values = F.grid_sample(torch.from_numpy(mask)[None, None], grid, align_corners=False)
    return np.asarray(values[0, 0, 0])
