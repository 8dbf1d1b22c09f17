"""One instance's mask as the annotation file gives it: polygons or runs.

Polygons are lists of x and y in turn, in pixels. A run-length encoding (RLE)
counts pixels of background and object in turn, column by column, beginning with
background; its counts are a list of numbers or COCO's compressed text.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from lst_cli.errors import LstError

Segmentation = list[list[float]] | dict[str, Any]

Rle = dict[str, Any]
"""A mask as pycocotools takes it: `size` (height, width) and compressed `counts`."""

SegmentationFault = Literal[
    "no-segmentation",
    "unreadable-segmentation",
    "huge-image",
    "no-polygon",
    "short-polygon",
    "far-polygon",
    "rle-size",
    "rle-counts",
    "empty-mask",
    "some-short-polygons",
]

FAULTS: dict[SegmentationFault, str] = {
    "no-segmentation": "no segmentation",
    "unreadable-segmentation": "a segmentation that is neither polygons nor an RLE",
    "huge-image": "a mask in an image too large to draw masks in",
    "no-polygon": "an empty list of polygons",
    "short-polygon": "no polygon of three points or more",
    "far-polygon": "a polygon far outside the image",
    "rle-size": "an RLE of another size than the image",
    "rle-counts": "an RLE whose runs do not fill the image",
    "empty-mask": "an RLE that marks no pixel",
    "some-short-polygons": "some polygons of fewer than three points, which are ignored",
}
"""What can be wrong with a segmentation: what an annotation has."""

USABLE: frozenset[SegmentationFault | None] = frozenset((None, "some-short-polygons"))
"""The outcomes of `find_fault` that leave a mask to train on and to score."""

MOST_PIXELS = 2**29
"""Masks are drawn in smaller images: six digits of a run length hold no more."""

_MOST_DIGITS = 7  # 35 bits: more than any image has pixels


class _Runs(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[list[float]] | _Runs)


def parse_segmentation(raw: bytes) -> Segmentation:
    """Decode the segmentation of one annotation.

    Args:
        raw: JSON text, as `lst_cli.data.lvis.read_segmentations` gives it.

    Returns:
        Polygons, or an RLE as ``{"size": [height, width], "counts": ...}``.

    Raises:
        LstError: If it is neither.

    Example:
        >>> parse_segmentation(b"[[1, 2, 3, 4, 5, 6.5]]")
        [[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]]
        >>> parse_segmentation(b'{"counts": [3, 1], "size": [2, 2]}')
        {'size': [2, 2], 'counts': [3, 1]}
    """
    try:
        segmentation: list[list[float]] | _Runs = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = raw[:40].decode("utf-8", "replace") + ("..." if len(raw) > 40 else "")
        raise LstError(
            f"a segmentation is neither polygons nor an RLE: {text or 'nothing'} "
            f"({str(error).replace('`', '')})",
            "lst check names the annotation",
        ) from error
    if isinstance(segmentation, _Runs):
        return {"size": list(segmentation.size), "counts": segmentation.counts}
    return segmentation


def usable_polygons(polygons: list[list[float]]) -> list[list[float]]:
    """Leave out polygons that enclose nothing: fewer than three points, or half a point.

    They must never reach pycocotools, which takes four numbers for a box.

    Example:
        >>> usable_polygons([[0, 0, 4, 0, 4, 4], [1, 1, 2, 2]])
        [[0, 0, 4, 0, 4, 4]]
    """
    return [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]


def examine(
    raw: bytes, height: int, width: int
) -> tuple[Segmentation | None, SegmentationFault | None]:
    """Decode the segmentation of one annotation and say what is wrong with it, if anything.

    Args:
        raw: JSON text; empty if the annotation has no segmentation.
        height: The image's height in pixels.
        width: The image's width in pixels.

    Returns:
        What could be decoded, and the fault, see `find_fault`.

    Example:
        >>> examine(b"[[0, 0, 4, 0, 4, 4]]", 6, 6)
        ([[0.0, 0.0, 4.0, 0.0, 4.0, 4.0]], None)
        >>> examine(b"", 6, 6)
        (None, 'no-segmentation')
    """
    if raw in (b"", b"null"):
        return None, "no-segmentation"
    try:
        segmentation = parse_segmentation(raw)
    except LstError:
        return None, "unreadable-segmentation"
    return segmentation, find_fault(segmentation, height, width)


def draw_mask(segmentation: Segmentation, height: int, width: int) -> Rle:
    """Rasterise a usable segmentation; polygons that enclose nothing are left out.

    Args:
        segmentation: One in which `find_fault` finds nothing that leaves no mask.
        height: The image's height in pixels.
        width: The image's width in pixels.
    """
    from pycocotools import mask

    drawn: Rle
    if isinstance(segmentation, list):
        drawn = mask.merge(mask.frPyObjects(usable_polygons(segmentation), height, width))
    elif isinstance(segmentation["counts"], str):
        drawn = {"size": segmentation["size"], "counts": segmentation["counts"].encode("ascii")}
    else:
        drawn = mask.frPyObjects(segmentation, height, width)
    return drawn


def extent_and_area(
    segmentation: Segmentation, height: int, width: int
) -> tuple[tuple[float, float, float, float], float]:
    """The box around a usable segmentation (left, top, width, height) and the area of its mask.

    Example:
        >>> extent_and_area([[1, 2, 4, 2, 4, 6, 1, 6]], 10, 20)
        ((1.0, 2.0, 3.0, 4.0), 12.0)
    """
    from pycocotools import mask

    drawn = draw_mask(segmentation, height, width)
    if isinstance(segmentation, dict):
        left, top, wide, high = map(float, mask.toBbox(drawn))
        return (left, top, wide, high), float(mask.area(drawn))
    points = np.concatenate([np.reshape(one, (-1, 2)) for one in usable_polygons(segmentation)])
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (float(left), float(top), right - left, bottom - top), float(mask.area(drawn))


def find_fault(segmentation: Segmentation, height: int, width: int) -> SegmentationFault | None:
    """Say what is wrong with a segmentation, if anything.

    Args:
        segmentation: What `parse_segmentation` returned.
        height: The image's height in pixels.
        width: The image's width in pixels.

    Returns:
        The fault, or None. An RLE must be of the image's size and its runs
        must fill it; polygons may leave the image by no more than its size,
        since drawing takes time and memory by their length.
    """
    if height * width >= MOST_PIXELS:
        return "huge-image"
    if isinstance(segmentation, dict):
        return _find_run_fault(segmentation, height, width)
    if not segmentation:
        return "no-polygon"
    polygons = usable_polygons(segmentation)
    if not polygons:
        return "short-polygon"
    for polygon in polygons:
        xs, ys = polygon[::2], polygon[1::2]
        if min(xs) < -width or max(xs) > 2 * width or min(ys) < -height or max(ys) > 2 * height:
            return "far-polygon"
    return None if len(polygons) == len(segmentation) else "some-short-polygons"


def decode_counts(counts: str) -> npt.NDArray[np.int64]:
    """Decode COCO's compressed run lengths.

    Each number is written in digits of five bits, lowest first, and from the
    third on as the difference to the number two before it.

    Args:
        counts: The compressed text.

    Returns:
        The run lengths, int64, background first.

    Raises:
        ValueError: If the text is not such a list.

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


def _find_run_fault(
    segmentation: dict[str, Any], height: int, width: int
) -> SegmentationFault | None:
    if list(segmentation["size"]) != [height, width]:
        return "rle-size"
    counts = segmentation["counts"]
    try:
        runs = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (ValueError, OverflowError):
        return "rle-counts"
    pixels = height * width
    if ((runs < 0) | (runs > pixels)).any() or runs.sum() != pixels:
        return "rle-counts"
    return "empty-mask" if not runs[1::2].any() else None
