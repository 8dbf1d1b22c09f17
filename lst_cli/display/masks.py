"""Masks as pictures need them: decoded, resized, outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.run_lengths import decode_counts

_MUCH_LARGER = 4  # in pixels; up to this an image's masks are drawn whole and reduced


def decode_mask(
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Decode a COCO segmentation.

    Args:
        segmentation: An RLE, compressed or not, or a list of polygons.
        size: (width, height) of the image, in pixels.

    Returns:
        Shape (height, width).

    Raises:
        ValueError: If it is neither, or was made for an image of another size.
    """
    from pycocotools import mask as coco_mask

    mask: NDArray[np.bool_] = coco_mask.decode(_run_lengths(segmentation, size)).astype(bool)
    return mask


def show_mask(
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]],
    size: tuple[int, int],
    shown: tuple[int, int],
) -> NDArray[np.bool_]:
    """Decode a COCO segmentation at the size it is shown at.

    Of an image that is much larger only the pixels that are shown are looked up: a scan has
    hundreds of times as many, and each of its objects a mask.

    Args:
        segmentation: As `decode_mask` takes it.
        size: (width, height) of the image.
        shown: (width, height) that it is shown at.

    Returns:
        Shape of `shown`, (height, width).

    Raises:
        ValueError: As `decode_mask`.
    """
    width, height = size
    if width * height <= _MUCH_LARGER * shown[0] * shown[1]:
        return resize_mask(decode_mask(segmentation, size), shown)
    edges = np.cumsum(decode_counts(_run_lengths(segmentation, size)["counts"]))
    if not len(edges) or edges[-1] != width * height:
        raise ValueError(f"the runs of its mask do not fill {[height, width]}")
    xs = ((np.arange(shown[0]) + 0.5) * width / shown[0]).astype(np.int64)
    ys = ((np.arange(shown[1]) + 0.5) * height / shown[1]).astype(np.int64)
    mask = np.zeros((shown[1], shown[0]), dtype=bool)
    if len(edges) > 1:
        # Columns before the first pixel of the object and behind its last are empty.
        last = edges[-2] if len(edges) % 2 else edges[-1]
        near = (xs >= edges[0] // height) & (xs <= (last - 1) // height)
        places = xs[near][:, None] * height + ys  # (columns, rows): COCO counts down columns
        mask[:, near] = (np.searchsorted(edges, places, side="right") % 2 == 1).T
    return mask


def _run_lengths(
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]], size: tuple[int, int]
) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    width, height = size
    try:
        if isinstance(segmentation, Mapping):
            if [int(side) for side in segmentation["size"]] != [height, width]:
                raise ValueError(f"mask of size {segmentation['size']} on {[height, width]}")
            if not isinstance(segmentation["counts"], (str, bytes)):
                return dict(coco_mask.frPyObjects(dict(segmentation), height, width))
            counts = segmentation["counts"]
            return {
                "size": [height, width],
                "counts": counts.encode("ascii") if isinstance(counts, str) else counts,
            }
        polygons = [list(polygon) for polygon in segmentation]
        return dict(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a segmentation: {error}") from error


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Bring a mask to another (width, height)."""
    from PIL import Image

    # Enlarged as a grey image and cut at half, an edge is smooth and not stairs.
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) >= 128


def outline_of(mask: NDArray[np.bool_], thickness: int = 2) -> NDArray[np.bool_]:
    """Give the pixels of a mask within so many of its border."""
    inside = mask
    for _ in range(thickness):
        padded = np.pad(inside, 1)
        inside = (
            inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        )
    return mask & ~inside


def ring_around(mask: NDArray[np.bool_], thickness: int = 2) -> NDArray[np.bool_]:
    """Give the pixels outside a mask within so many of its border."""
    grown = mask
    for _ in range(thickness):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask
