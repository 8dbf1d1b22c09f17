"""A results file: a list of detections in LVIS or COCO format, read in blocks.

Areas of its masks follow from their run lengths. COCO writes each run in digits of five bits,
lowest first, in the letters from "0" on; from the fourth run on it is the difference to the run
two before it. pycocotools does not check runs, and reads beyond those that do not fill the image:
they are refused before it sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.json_stream import ListStream
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent, stage

RESULTS_HINT = (
    "give a results file: a list of image_id, category_id, score, and bbox (x, y, width, height) "
    "or segmentation (compressed RLE)"
)

_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Side = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Scored(msgspec.Struct, gc=False):
    """A detection without its shape."""

    image_id: _Id
    category_id: _Id
    score: float


class Boxed(Scored, gc=False):
    """A detection with its box."""

    bbox: tuple[float, float, float, float]


class Masked(msgspec.Struct, gc=False):
    """The mask of a detection."""

    segmentation: msgspec.Raw


class _CompressedRle(msgspec.Struct, gc=False):
    size: tuple[_Side, _Side]  # height, width
    counts: str


_RLE = msgspec.json.Decoder(_CompressedRle)


@dataclass(frozen=True)
class ResultsFile:
    """A file with a list of detections."""

    path: Path
    progress: Progress = silent
    sha256: str = ""  # when lst wrote it; empty if that is not known
    hint: str = RESULTS_HINT  # what makes the file again

    def blocks(self, record: type[Any]) -> Iterator[tuple[int, list[Any]]]:
        """Read the file in blocks: the row of the first record, and the records.

        `record` is a msgspec struct with the fields that are wanted. A file that is not the one
        that lst wrote is refused, before its content is used.
        """
        changed = LstError(f"{self.path}: changed or damaged after lst wrote it", self.hint)
        stream = ListStream(
            self.path,
            {"detections": msgspec.json.Decoder(list[record])},  # type: ignore[valid-type]
            list_hint=self.hint,
            progress=stage(self.progress, "reading detections"),
            digest=bool(self.sha256),
        )
        try:
            for _, first, records in stream:
                yield first, records
        except LstError as error:
            if self.sha256:
                raise changed from error
            for field, other in (("bbox", "segm"), ("segmentation", "bbox")):
                if f"missing required field {field}" in error.message:
                    raise LstError(error.message, f"--iou-type {other}") from error
            raise
        if stream.sha256 != self.sha256:
            raise changed

    def decode_mask(self, row: int, segmentation: msgspec.Raw) -> tuple[tuple[int, int], str]:
        """Height and width of a mask, and its compressed run lengths."""
        try:
            rle = _RLE.decode(segmentation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LstError(
                f"{self.path}: detection {row} has a segmentation that is not a compressed RLE: "
                f"{str(error).replace('`', '')}",
                RESULTS_HINT,
            ) from error
        return rle.size, rle.counts


# --- areas of masks ------------------------------------------------------------------------------

_MASKS_AT_ONCE = 512  # so that the columns of digits stay in the cache
_MOST_DIGITS = 6  # 30 bits: more than any image that COCO's tools can hold has pixels

_LETTERS = np.arange(256) - 48
_DIGIT = (_LETTERS & 0x1F).astype(np.int32)
_LAST_DIGIT = ((_LETTERS & 0x1F) ^ 0x10).astype(np.int32) - 0x10  # its highest bit is a sign


def measure_masks(
    counts: Sequence[bytes], pixels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The area of each mask, and the positions of those whose runs do not fill their image.

    Example:
        >>> areas, broken = measure_masks([b"622", b"62"], np.array([10, 10]))
        >>> areas.tolist()[0], broken.tolist()
        (2.0, [1])
    """
    areas = np.zeros(len(counts))
    whole = np.zeros(len(counts), dtype=np.bool_)
    for start in range(0, len(counts), _MASKS_AT_ONCE):
        part = slice(start, start + _MASKS_AT_ONCE)
        areas[part], whole[part] = _measure(counts[part], pixels[part])
    return areas, np.flatnonzero(~whole)


def _measure(
    counts: Sequence[bytes], pixels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    lengths = np.array([len(text) for text in counts])
    ends = np.cumsum(lengths)
    letters = np.frombuffer(b"".join(counts), dtype=np.uint8)
    digits = letters - np.uint8(48)  # wraps below "0"
    last = digits < 32  # of a number: it has no bit that says that more follows
    # A text must have letters, all of them digits, and end with a number.
    sound = lengths > 0
    sound[sound] = last[ends[sound] - 1]
    if digits.max(initial=0) > 63:
        sound[np.searchsorted(ends, np.flatnonzero(digits > 63), side="right")] = False
    if not sound.all():
        areas, whole = np.zeros(len(counts), dtype=np.int64), np.zeros(len(counts), dtype=np.bool_)
        rows = np.flatnonzero(sound).tolist()
        if rows:
            areas[rows], whole[rows] = _measure([counts[row] for row in rows], pixels[rows])
        return areas, whole

    number_ends = np.flatnonzero(last)  # (numbers of all masks,)
    values, long = _numbers(letters, number_ends)
    stops = np.searchsorted(number_ends, ends)  # behind each mask's last number
    first = np.concatenate(([0], stops[:-1]))
    heads = values[first]
    values[first] = 0  # the first run is nobody's predecessor
    total, inside = heads.astype(np.int64), np.zeros(len(counts), dtype=np.int64)
    # Sums of 32 bits could not tell a larger image's runs from others.
    whole = (heads >= 0) & (heads <= pixels) & (pixels < 2**31)
    # Every other number, of all masks in one go; in a mask they begin at its first or second.
    for parity in (0, 1):
        sums, longest = _every_other(values[parity::2], (first + 1 - parity) // 2, stops, parity)
        total += sums
        inside += np.where((first & 1) == parity, 0, sums)
        whole &= longest <= pixels
    whole &= total == pixels
    whole[np.searchsorted(stops, long, side="right")] = False
    return inside, whole


def _numbers(
    letters: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers as they are written, and the positions of those with too many digits."""
    values = _LAST_DIGIT[letters[ends]]
    widths = np.diff(ends, prepend=-1)
    more = np.flatnonzero(widths > 1)
    for place in range(1, _MOST_DIGITS):
        values[more] = (values[more] << 5) | _DIGIT[letters[ends[more] - place]]
        more = more[widths[more] > place + 1]
    return values, more


def _every_other(
    values: NDArray[np.int32], first: NDArray[np.int64], stops: NDArray[np.int64], parity: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum and largest of every other run of each mask, a negative one counting as very large.

    `values` are every other number of all masks, `first` is where each mask begins among them,
    `stops` is behind each mask's last one among all numbers.
    """
    lengths = (stops + 1 - parity) // 2 - first
    sums, longest = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)
    some = np.flatnonzero(lengths)
    if len(some):
        first, lengths = first[some], lengths[some]
        # Sums may wrap around; their differences do not mind.
        runs = np.cumsum(values, dtype=np.int32)
        runs -= np.repeat(runs[first] - values[first], lengths)
        sums[some] = np.add.reduceat(runs, first, dtype=np.int64)
        longest[some] = np.maximum.reduceat(runs.view(np.uint32), first)
    return sums, longest
