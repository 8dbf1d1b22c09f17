"""Areas of many masks at once, from their compressed run lengths.

COCO writes each run in digits of five bits, lowest first, in the letters from "0" on; from the
fourth run on it is the difference to the run two before it. pycocotools believes whatever it is
given, and reads beyond runs that do not fill the image: they are refused before it sees them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MASKS_AT_ONCE = 512  # so that the columns of digits stay in the cache
_MOST_DIGITS = 6  # 30 bits: more than any image that COCO's tools can hold has pixels

_LETTERS = np.arange(256) - 48
_DIGIT = (_LETTERS & 0x1F).astype(np.int32)
_LAST_DIGIT = ((_LETTERS & 0x1F) ^ 0x10).astype(np.int32) - 0x10  # its highest bit is a sign


def measure_masks(
    counts: Sequence[bytes], pixels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The area of each mask, and the positions of broken ones.

    Those are masks whose runs are not numbers or do not fill the pixels of their image.

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

    Args:
        values: Every other number of all masks: differences to the run before among them.
        first: Where each mask begins among them.
        stops: Behind each mask's last number, among all numbers.
        parity: Of the place of `values` among all numbers.
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
