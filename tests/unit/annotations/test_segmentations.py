from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from lst_cli.annotations.segmentations import (
    decode_counts,
    measure,
    parse_segmentation,
)
from lst_cli.errors import LstError

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1.0, 2.5, 3.0, 4.0, 5.0, 6.0]],
        [],
        {"size": [4, 6], "counts": [3, 21]},
        {"size": [4, 6], "counts": "62O1"},
    ],
)
def test_polygons_and_runs_are_parsed(segmentation):
    assert parse_segmentation(json.dumps(segmentation).encode()) == segmentation


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"7",
        b"[1, 2, 3, 4, 5, 6]",
        b'[["a", "b"]]',
        b"[[1e999, 2]]",
        b'{"size": [4], "counts": []}',
        b'{"counts": []}',
        b'{"size": [4, 6], "counts": [1.5]}',
        b"[[1, NaN]]",
        b'{"more": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    ],
)
def test_anything_else_is_refused(raw):
    with pytest.raises(LstError, match="neither polygons nor an RLE"):
        parse_segmentation(raw)


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        ([SQUARE], None),
        ([SQUARE, SQUARE], None),
        ([], "no-polygon"),
        ([[]], "short-polygon"),
        ([[1, 1, 4, 4]], "short-polygon"),
        ([[1, 1, 4, 4, 5, 5, 6]], "short-polygon"),
        ([SQUARE, [1, 1, 4, 4]], "some-short-polygons"),
        ([[-5, 0, 9, 0, 9, 9]], None),
        ([[0, 0, 1e9, 0, 9, 9]], "far-polygon"),
        ([[0, 0, 9, 0, 9, -1e9]], "far-polygon"),
        ({"size": [10, 20], "counts": [50, 30, 120]}, None),
        ({"size": [20, 10], "counts": [50, 30, 120]}, "rle-size"),
        ({"size": [10, 20], "counts": [50, 30]}, "rle-counts"),
        ({"size": [10, 20], "counts": [250, -50]}, "rle-counts"),
        ({"size": [10, 20], "counts": [2**70]}, "rle-counts"),
        ({"size": [10, 20], "counts": []}, "rle-counts"),
        ({"size": [10, 20], "counts": ""}, "rle-counts"),
        ({"size": [10, 20], "counts": "é"}, "rle-counts"),
        ({"size": [10, 20], "counts": "P"}, "rle-counts"),
        ({"size": [10, 20], "counts": "oooooooooooooooo1"}, "rle-counts"),
        ({"size": [10, 20], "counts": [200]}, "empty-mask"),
        ({"size": [10, 20], "counts": [150, 0, 50]}, "empty-mask"),
    ],
)
def test_faults_are_told_by_kind(segmentation, fault):
    assert measure(segmentation, height=10, width=20)[0] == fault


def test_a_last_number_that_goes_on_is_refused():
    with pytest.raises(ValueError, match="not a list of run lengths"):
        decode_counts("1P")


@settings(deadline=None, max_examples=150)
@given(
    mask=arrays.arrays(
        np.uint8,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.integers(0, 1),
    ),
    repeat=st.integers(1, 300),
)
def test_compressed_runs_decode_to_the_mask_they_encode(mask, repeat):
    tall = np.asfortranarray(np.repeat(mask, repeat, axis=0))
    encoded = coco_mask.encode(tall)
    runs = decode_counts(encoded["counts"].decode())
    assert np.repeat(np.arange(len(runs)) % 2, runs).tolist() == tall.ravel(order="F").tolist()
    segmentation = {"size": list(tall.shape), "counts": encoded["counts"].decode()}
    assert measure(segmentation, *tall.shape)[0] == (None if tall.any() else "empty-mask")
