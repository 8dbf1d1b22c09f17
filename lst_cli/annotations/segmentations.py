"""One instance's mask as the annotation file gives it: polygons or runs.

Polygons are lists of x and y in turn, in pixels. A run-length encoding (RLE) counts pixels of
background and object in turn, column by column, beginning with background; its counts are a list
of numbers or COCO's compressed text.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Annotated, Any, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt

from lst_cli.errors import LstError

Segmentation = list[list[float]] | dict[str, Any]

Rle = dict[str, Any]
"""A mask as pycocotools takes it: `size` (height, width) and compressed `counts`."""

FAULTS: dict[str, str] = {
    "no-segmentation": "no segmentation",
    "unreadable-segmentation": "a segmentation that is neither polygons nor an RLE",
    "huge-image": "a mask in an image too large to draw masks in",
    "no-polygon": "an empty list of polygons",
    "short-polygon": "no polygon of three points or more",
    "far-polygon": "a polygon far outside the image",
    "rle-size": "an RLE of another size than the image",
    "rle-counts": "an RLE whose runs do not fill the image",
    "empty-mask": "an RLE that marks no pixel",
    "no-pixel": "polygons that cover no pixel of the image, so that nothing can match them",
    "some-short-polygons": "some polygons of fewer than three points, which are ignored",
}
"""What can be wrong with a segmentation: what an annotation has."""

USABLE: frozenset[str | None] = frozenset((None, "no-pixel", "some-short-polygons"))
"""The faults that leave a mask to train on and to score."""

MOST_PIXELS = 2**29
"""Masks are drawn in smaller images: six digits of a run length hold no more."""

Extent = tuple[float, float, float, float]
"""Left, top, right and bottom of a mask in pixels."""

UNKNOWN: Extent = (math.nan, math.nan, math.nan, math.nan)

_THIN = 1.5  # pixels; what is thinner may cover no centre of a pixel
_FEW_NUMBERS = 10  # of a polygon whose area is computed
_MOST_DIGITS = 7  # 35 bits: more than any image has pixels


class _Runs(TypedDict):
    size: Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)]
    counts: str | list[int]


_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[list[float]] | _Runs)


def parse_segmentation(raw: bytes) -> Segmentation:
    """Decode one text of `read_segmentations`; an `LstError` if it is no segmentation.

    Example:
        >>> parse_segmentation(b"[[1, 2, 3, 4, 5, 6.5]]")
        [[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]]
        >>> parse_segmentation(b'{"size": [2, 2], "counts": [3, 1]}')
        {'size': [2, 2], 'counts': [3, 1]}
    """
    try:
        segmentation: Segmentation = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = raw[:40].decode("utf-8", "replace") + ("..." if len(raw) > 40 else "")
        raise LstError(
            f"a segmentation is neither polygons nor an RLE: {text or 'nothing'} "
            f"({str(error).replace('`', '')})",
            "lst check names the annotation",
        ) from error
    return segmentation


def usable_polygons(polygons: list[list[float]]) -> list[list[float]]:
    """Leave out polygons that enclose nothing: fewer than three points, or half a point.

    They must never reach pycocotools, which takes four numbers for a box.

    Example:
        >>> usable_polygons([[0, 0, 4, 0, 4, 4], [1, 1, 2, 2]])
        [[0, 0, 4, 0, 4, 4]]
    """
    return [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]


def usable_part(segmentation: Segmentation) -> Segmentation:
    """A segmentation without polygons that enclose nothing; an RLE as it is."""
    return usable_polygons(segmentation) if isinstance(segmentation, list) else segmentation


def examine(raw: bytes, height: int, width: int) -> tuple[Segmentation | None, str | None, Extent]:
    """Decode the segmentation of one annotation and say what is wrong with it, if anything.

    The text is empty if the annotation has none; the fault and the extent are those of `measure`.

    Example:
        >>> examine(b"[[0, 1, 4, 1, 4, 4]]", 6, 6)
        ([[0.0, 1.0, 4.0, 1.0, 4.0, 4.0]], None, (0.0, 1.0, 4.0, 4.0))
        >>> examine(b"", 6, 6)
        (None, 'no-segmentation', (nan, nan, nan, nan))
    """
    if raw in (b"", b"null"):
        return None, "no-segmentation", UNKNOWN
    try:
        segmentation = parse_segmentation(raw)
    except LstError:
        return None, "unreadable-segmentation", UNKNOWN
    return segmentation, *measure(segmentation, height, width)


def draw_mask(segmentation: Segmentation, height: int, width: int) -> Rle:
    """Rasterise a usable segmentation; polygons that enclose nothing are left out."""
    from pycocotools import mask

    drawn: Rle
    if isinstance(segmentation, list):
        drawn = mask.merge(mask.frPyObjects(usable_polygons(segmentation), height, width))
    elif isinstance(segmentation["counts"], str):
        drawn = {"size": segmentation["size"], "counts": segmentation["counts"].encode("ascii")}
    else:
        drawn = mask.frPyObjects(segmentation, height, width)
    return drawn


def area_of(segmentation: Segmentation, height: int, width: int) -> float:
    """Pixels of the mask of a usable segmentation.

    Example:
        >>> area_of([[1, 2, 4, 2, 4, 6, 1, 6]], 10, 20)
        12.0
    """
    from pycocotools import mask

    return float(mask.area(draw_mask(segmentation, height, width)))


def measure(segmentation: Segmentation, height: int, width: int) -> tuple[str | None, Extent]:
    """Say what is wrong with a segmentation, if anything, and what it reaches.

    An RLE must be of the image's size and its runs must fill it; polygons may leave the image by no
    more than its size, since drawing takes time and memory by their length.
    """
    if height * width >= MOST_PIXELS:
        return "huge-image", UNKNOWN
    if isinstance(segmentation, dict):
        return _measure_runs(segmentation, height, width)
    if not segmentation:
        return "no-polygon", UNKNOWN
    polygons = usable_polygons(segmentation)
    if not polygons:
        return "short-polygon", UNKNOWN
    points = polygons[0] if len(polygons) == 1 else list(chain.from_iterable(polygons))
    xs, ys = points[::2], points[1::2]
    left, top, right, bottom = extent = min(xs), min(ys), max(xs), max(ys)
    if left < -width or right > 2 * width or top < -height or bottom > 2 * height:
        return "far-polygon", UNKNOWN
    if (
        min(right, width) - max(left, 0) < _THIN
        or min(bottom, height) - max(top, 0) < _THIN
        or (len(points) <= _FEW_NUMBERS and _is_line(xs, ys))
    ) and not area_of(segmentation, height, width):
        return "no-pixel", extent
    return None if len(polygons) == len(segmentation) else "some-short-polygons", extent


def _is_line(xs: list[float], ys: list[float]) -> bool:
    """Whether a polygon encloses less than a pixel."""
    twice = sum(xs[at - 1] * ys[at] - xs[at] * ys[at - 1] for at in range(len(xs)))
    return abs(twice) < 2


def decode_counts(counts: str) -> npt.NDArray[np.int64]:
    """Decode COCO's compressed run lengths, background first; a `ValueError` for other text.

    Each number is written in digits of five bits, lowest first, and from the third on as the
    difference to the number two before it.

    Example:
        >>> decode_counts("62O1").tolist()
        [6, 2, -1, 3]
    """
    digits = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if not len(digits):
        return digits
    last = (digits & 0x20) == 0
    if digits.min() < 0 or digits.max() > 63 or not last[-1]:
        raise ValueError("not a list of run lengths")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MOST_DIGITS:
        raise ValueError("a run is too long")
    place = np.arange(len(digits)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 0x1F) << (5 * place), starts)
    runs -= ((digits[ends] & 0x10) != 0) * (1 << (5 * lengths))  # the sign of the last digit
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _measure_runs(
    segmentation: dict[str, Any], height: int, width: int
) -> tuple[str | None, Extent]:
    if list(segmentation["size"]) != [height, width]:
        return "rle-size", UNKNOWN
    counts = segmentation["counts"]
    try:
        runs = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (ValueError, OverflowError):
        return "rle-counts", UNKNOWN
    pixels = height * width
    if ((runs < 0) | (runs > pixels)).any() or runs.sum() != pixels:
        return "rle-counts", UNKNOWN
    ends = np.cumsum(runs)[1::2]
    starts, last = ends - runs[1::2], ends - 1
    starts, last = starts[last >= starts], last[last >= starts]
    if not len(starts):
        return "empty-mask", UNKNOWN
    left, right = int(starts[0]) // height, int(last[-1]) // height + 1
    if (last // height > starts // height).any():  # to the end of a column, on in the next
        return None, (left, 0, right, height)
    return None, (left, int((starts % height).min()), right, int((last % height).max()) + 1)
