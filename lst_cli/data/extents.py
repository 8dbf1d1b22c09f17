"""What a mask reaches, without drawing it."""

from __future__ import annotations

import numpy as np

from lst_cli.data.segmentations import Segmentation, decode_counts, usable_polygons

Extent = tuple[float, float, float, float]

UNKNOWN: Extent = (np.nan, np.nan, np.nan, np.nan)


def mask_extent(segmentation: Segmentation) -> Extent:
    """Left, top, right and bottom of a mask in pixels; NaN if it has none.

    Example:
        >>> mask_extent([[1, 2, 4, 2, 4, 6], [0, 3, 1, 3, 1, 5]])
        (0, 2, 4, 6)
        >>> mask_extent({"size": [4, 3], "counts": [5, 2, 5]})
        (1, 1, 2, 3)
    """
    if isinstance(segmentation, dict):
        return _run_extent(segmentation["counts"], segmentation["size"][0])
    polygons = usable_polygons(segmentation)
    if not polygons:
        return UNKNOWN
    xs, ys = [one[::2] for one in polygons], [one[1::2] for one in polygons]
    return min(map(min, xs)), min(map(min, ys)), max(map(max, xs)), max(map(max, ys))


def _run_extent(counts: str | list[int], height: int) -> Extent:
    """Extent of runs, column by column; NaN if they are not runs or mark nothing."""
    try:
        runs = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (ValueError, OverflowError):
        return UNKNOWN
    if height < 1 or not runs[1::2].any() or (runs < 0).any():
        return UNKNOWN
    ends = np.cumsum(runs)[1::2]
    starts, last = ends - runs[1::2], ends - 1
    starts, last = starts[last >= starts], last[last >= starts]
    left, right = int(starts[0]) // height, int(last[-1]) // height + 1
    if (last // height > starts // height).any():  # to the bottom of a column, and on at the top
        return left, 0, right, height
    return left, int((starts % height).min()), right, int((last % height).max()) + 1
