from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask

from lst_cli.ap import results_file
from lst_cli.ap.results_file import Boxed, Masked, ResultsFile, Scored, measure_masks
from lst_cli.errors import LstError

RLE = {"size": [4, 5], "counts": "62O1"}
ROW = {"image_id": 5, "category_id": 1, "score": 0.5, "bbox": [0, 1, 2, 3], "segmentation": RLE}


def file_of(folder, content):
    path = folder / "results.json"
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ResultsFile(path)


def rows_of(source, record=Boxed):
    return [one for _, records in source.blocks(record) for one in records]


def error_of(source, record=Boxed):
    with pytest.raises(LstError) as caught:
        rows_of(source, record)
    assert str(source.path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_every_row_is_read_with_the_fields_that_are_wanted(tmp_path):
    calls: list[tuple[int, int | None]] = []
    source = file_of(tmp_path, [ROW | {"score": n / 7, "image_id": n - 2} for n in range(5)])
    source = ResultsFile(source.path, lambda what, done, total: calls.append((done, total)))
    found = rows_of(source)
    assert calls == [(source.path.stat().st_size,) * 2]
    assert [(one.image_id, one.category_id, one.score) for one in found] == [
        (n - 2, 1, n / 7) for n in range(5)
    ]
    assert [one.bbox for one in found] == [(0, 1, 2, 3)] * 5
    assert not hasattr(rows_of(source, Scored)[0], "bbox")
    shapes = [source.decode_mask(0, one.segmentation) for one in rows_of(source, Masked)]
    assert shapes == [((4, 5), "62O1")] * 5


def test_a_file_is_read_in_blocks_with_the_row_of_the_first(tmp_path):
    source = file_of(tmp_path, [ROW | {"category_id": n, "note": "x" * 900} for n in range(2000)])
    blocks = list(source.blocks(Scored))
    assert len(blocks) > 2
    assert [one.category_id for _, block in blocks for one in block] == list(range(2000))
    assert all(block[0].category_id == first for first, block in blocks)


def test_more_fields_and_whole_numbers_do_no_harm(tmp_path):
    row = {"id": 3, "area": "?", "note": {"a": [1, {}]}, **ROW, "score": 1, "bbox": [1, 2, 3, 4]}
    (found,) = rows_of(file_of(tmp_path, [row]))
    assert (found.score, found.bbox) == (1.0, (1.0, 2.0, 3.0, 4.0))
    assert isinstance(found.score, float)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{}", "the top level is an object, not a list"),
        (json.dumps([ROW, ROW])[:-25], 'ends after .* in the middle of "detections"'),
        ("[" * 10**5 + "]" * 10**5, "expected an object, got a list"),
        ('[{"image_id": ' + "[" * 10**5 + "]" * 10**5 + "}]", "detection in row 0"),
        ('[{"note": ' + "[" * 10**5 + "]" * 10**5 + "}]", "nested too deeply"),
        ([ROW, 7], "detection in row 1: expected an object, got a whole number"),
    ],
)
def test_what_is_no_list_of_detections_is_refused(tmp_path, content, message):
    error = error_of(file_of(tmp_path, content))
    assert re.search(message, error.message), error.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5.5}, "field image_id: expected a whole number, got a number"),
        ({"image_id": 2**63}, "field image_id: expected a whole number <= 9223372036854775807"),
        ({"category_id": -(10**40)}, "field category_id: expected a whole number >= -92233720368"),
        ({"category_id": True}, "field category_id: expected a whole number, got true or false"),
        ({"score": "high"}, "field score: expected a number, got text"),
        ({"score": 10**400}, "field score: number out of range"),
        ({"score": float("nan")}, "field score: NaN is not a number (line 1, byte "),
        ({"bbox": [0, 0, float("inf"), 1]}, "field bbox: Infinity is not a number"),
        ({"bbox": [0, 0, 1]}, "field bbox: expected four numbers"),
        ({"bbox": [0, 0, 1, 1, 1]}, "field bbox: expected four numbers"),
        ({"bbox": {"x": 1}}, "field bbox: expected a list, got an object"),
        ({"bbox": [0, 0, 1, None]}, "field bbox[3]: expected a number, got null"),
    ],
)
def test_a_bad_field_is_named_with_its_row(tmp_path, change, message):
    error = error_of(file_of(tmp_path, [ROW, ROW, ROW | change]))
    assert f"detection in row 2, {message}" in error.message


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox", "segmentation"])
def test_a_missing_field_is_named_with_its_row_unless_it_is_not_asked_for(tmp_path, key):
    source = file_of(tmp_path, [ROW, {name: ROW[name] for name in ROW if name != key}])
    error = error_of(source, Masked if key == "segmentation" else Boxed)
    assert f"detection in row 1: object missing required field {key}" in error.message
    if key in ("bbox", "segmentation"):
        assert error.hint == f"--iou-type {'segm' if key == 'bbox' else 'bbox'}"
        assert len(rows_of(source, Scored)) == 2


@pytest.mark.parametrize(
    "shape",
    [
        None, 7, "62O1", [], [[0, 0, 4, 0, 4, 4]], {}, {"size": [4, 5]}, {"counts": "62O1"},
        {"size": [4], "counts": "62O1"}, {"size": [4.5, 5], "counts": "62O1"},
        {"size": [4, 5], "counts": [6, 2, 12]}, {"size": [4, 5], "counts": None},
    ],
)  # fmt: skip
def test_other_shapes_than_compressed_runs_are_not_parsed(tmp_path, shape):
    source = file_of(tmp_path, [ROW | {"segmentation": shape}])
    (record,) = rows_of(source, Masked)
    with pytest.raises(LstError, match="detection 8 has a segmentation that is not a compressed"):
        source.decode_mask(8, record.segmentation)


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in error_of(ResultsFile(tmp_path / "none.json")).message
    with pytest.raises(LstError, match="it is a directory, not a regular file"):
        rows_of(ResultsFile(tmp_path))


# --- areas of masks ------------------------------------------------------------------------------

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
        b"/", b"p", b"z0",  # the letters before the first and behind the last
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
