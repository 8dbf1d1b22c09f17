from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask

from lst_cli.annotations.segmentations import decode_counts
from lst_cli.ap import results_file
from lst_cli.ap.results_file import measure_masks

BIG = 2**29 - 1  # the most that six digits hold


def spell(numbers: list[int]) -> bytes:
    """Numbers in digits of five bits, lowest first, from the format's description."""
    text = bytearray()
    for number in numbers:
        while True:
            digit, number = number & 0x1F, number >> 5
            more = number != (-1 if digit & 0x10 else 0)
            text.append(48 + digit + (0x20 if more else 0))
            if not more:
                break
    return bytes(text)


def pack(runs: list[int]) -> bytes:
    """Compressed run lengths: from the fourth on they are differences."""
    return spell([run - runs[at - 2] if at > 2 else run for at, run in enumerate(runs)])


def measure(*texts: bytes, pixels: int) -> tuple[list[float], list[int]]:
    areas, broken = measure_masks(texts, np.full(len(texts), pixels))
    return areas.tolist(), broken.tolist()


PIXELS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1)
)
RUNS = st.lists(st.integers(0, 5000), min_size=1, max_size=12)


@settings(deadline=None)
@given(st.lists(PIXELS, max_size=6))
def test_areas_are_pycocotools_areas(masks):
    rles = [mask.encode(np.asfortranarray(one)) for one in masks]
    counts = [rle["counts"] for rle in rles]
    areas, broken = measure_masks(counts, np.array([one.size for one in masks], dtype=np.int64))
    assert areas.tolist() == [mask.area(rle) for rle in rles] == [one.sum() for one in masks]
    assert broken.tolist() == []
    assert areas.dtype == np.float64


@settings(deadline=None)
@given(st.lists(st.tuples(RUNS, st.integers(-2, 2)), min_size=1, max_size=6))
def test_runs_that_fill_their_image_are_summed_and_others_are_named(masks):
    # Runs of no pixel included, which pycocotools reads though it writes none.
    pixels = np.array([sum(runs) + short for runs, short in masks])
    areas, broken = measure_masks([pack(runs) for runs, _ in masks], pixels)
    assert broken.tolist() == [row for row, (_, short) in enumerate(masks) if short]
    for area, (runs, short) in zip(areas.tolist(), masks, strict=True):
        assert short or area == sum(runs[1::2])


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.lists(st.integers(48, 111), max_size=8).map(bytes),
            RUNS.map(pack),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 6000),
)
def test_what_is_whole_is_what_a_reader_of_one_text_takes(texts, pixels):
    expected = []
    for row, text in enumerate(texts):
        if re.search(rb"[P-o]{6}", text):  # seven digits
            expected.append(row)
            continue
        try:
            runs = decode_counts(text.decode("latin-1"))
        except ValueError:
            expected.append(row)
            continue
        if not len(runs) or (runs < 0).any() or runs.sum() != pixels:
            expected.append(row)
    _, broken = measure_masks(texts, np.full(len(texts), pixels))
    assert broken.tolist() == expected


EXTREME = st.sampled_from([BIG, -BIG - 1, 2**28, -(2**28), 2**26, 3, 1, 0, -1])


@settings(deadline=None, max_examples=200)
@given(st.lists(EXTREME, min_size=1, max_size=40), st.integers(0, 2**31 - 1), st.booleans())
def test_sums_that_leave_32_bits_are_not_taken_for_small_ones(numbers, pixels, wrapped):
    runs: list[int] = []
    for place, number in enumerate(numbers):
        runs.append(number + runs[place - 2] if place > 2 else number)
    if wrapped:  # the sum as 32 bits hold it
        pixels = sum(runs) % 2**32 % 2**31
    whole = min(runs) >= 0 and sum(runs) == pixels
    assert measure(spell(numbers), pixels=pixels)[1] == ([] if whole else [0])


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\x00", b" ", b"\xff", "\u00e9".encode(), b"6\n2O1",
        b"/", b"p",  # the letters before the first and behind the last
        b"P", b"62O1P", b"o" * 1000,  # the number goes on
        b"o" * 1000 + b"0", b"PPPPPP0", b"PPPPPPP1",  # more than six digits
        b"oZPPPP0",  # 10 but for the first of seven digits
        b"X4", pack([12, -2]), pack([-1, 5, 6]),  # below nothing
        pack([2, 3, 4, -1, 2]), pack([2, 3, 4, 1, -1, 1]),  # although all sum up to 10
        pack([11]), pack([9]), pack([10, 1]),
        pack([0, 2**34]), pack([0, 10 + 2**32]), pack([2**34, 0, -(2**34), 10]),
    ],
)  # fmt: skip
def test_broken_texts_are_refused_beside_good_ones(text):
    good, other = pack([3, 7]), pack([0, 2, 6, 1, 1])
    areas, broken = measure(good, text, other, pixels=10)
    assert broken == [1]
    assert (areas[0], areas[2]) == (7, 3)
    assert measure(text, pixels=10)[1] == [0]
    assert measure(text, text, pixels=10)[1] == [0, 1]
    assert measure(pack([BIG]), pack([0, BIG]), pixels=BIG) == ([0, BIG], [])


def test_many_masks_are_measured_in_parts(monkeypatch):
    texts = [pack([3, place, 10 - place]) for place in range(11)]
    texts[4] = b""
    pixels = np.full(11, 13)
    whole = [one.tolist() for one in measure_masks(texts, pixels)]
    assert whole == [[0, 1, 2, 3, 0, 5, 6, 7, 8, 9, 10], [4]]
    for size in (1, 2, 5, 11):
        monkeypatch.setattr(results_file, "_MASKS_AT_ONCE", size)
        assert [one.tolist() for one in measure_masks(texts, pixels)] == whole
