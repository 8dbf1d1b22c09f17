"""Masks as pictures need them: decoded, resized, outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


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

    width, height = size
    try:
        if isinstance(segmentation, Mapping):
            if [int(side) for side in segmentation["size"]] != [height, width]:
                raise ValueError(f"mask of size {segmentation['size']} on {[height, width]}")
            if isinstance(segmentation["counts"], (str, bytes)):
                rle = dict(segmentation)
            else:
                rle = coco_mask.frPyObjects(dict(segmentation), height, width)
        else:
            polygons = [list(polygon) for polygon in segmentation]
            rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        mask: NDArray[np.bool_] = coco_mask.decode(rle).astype(bool)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a segmentation: {error}") from error
    return mask


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
