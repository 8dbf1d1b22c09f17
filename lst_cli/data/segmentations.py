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

SegmentationFault = Literal[
    "no-polygon",
    "short-polygon",
    "some-short-polygons",
    "far-polygon",
    "rle-size",
    "rle-counts",
    "empty-mask",
]
"""What can be wrong with a segmentation; "some-short-polygons" alone leaves a mask."""

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
