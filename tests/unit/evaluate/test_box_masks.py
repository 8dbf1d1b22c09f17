from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.layers import paste_masks_in_image
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from lst_cli.annotations.segmentations import decode_counts
from lst_cli.evaluate.detector import encode_box_masks

# Next to the threshold, at it, and where sigmoids saturate.
PLATEAUS = (0.0, 0.5, 1.0, 0.49999997, 0.4999999, 0.500001, 1e-30)


def draw_masks(rng: np.random.Generator, count: int, side: int = 28) -> NDArray[np.float32]:
    ys, xs = np.mgrid[:side, :side] / side - rng.uniform(0.3, 0.7, (2, 1, 1))

    def draw(kind: int) -> Any:
        if kind == 0:
            return rng.random((side, side))
        if kind == 1:
            return np.full((side, side), rng.choice(PLATEAUS))
        if kind == 2:
            return rng.choice([0, 0.25, 0.5, 0.75, 1], size=(side, side))
        if kind == 3:
            return 0.5 + rng.normal(size=(side, side)) * 1e-6
        if kind == 4:
            return 1 / (1 + np.exp(-30 * rng.normal(size=(side, side))))
        hill = 8 * (0.15 - xs**2 * rng.uniform(0.5, 2) - ys**2) / rng.uniform(0.05, 1)
        return 1 / (1 + np.exp(-hill))

    return np.array([draw(kind) for kind in rng.integers(0, 8, count)], dtype=np.float32)


def draw_boxes(
    rng: np.random.Generator, count: int, height: int, width: int
) -> NDArray[np.float32]:
    """All of them touch the image."""
    size = np.array([width, height])

    def draw(kind: int) -> list[float]:
        corner = rng.random(2) * size * 0.999
        if kind == 0:
            return [0, 0, width, height]
        if kind == 1:  # thinner than a pixel, down to no number at all
            return [*corner, *(corner + 10.0 ** rng.uniform(-40, 0, 2))]
        if kind == 2:  # on the pixel grid
            corner = np.floor(corner)
            return [*corner, *(corner + rng.integers(1, 9, 2))]
        if kind == 3:  # beyond the image
            return [*(corner - rng.random(2) * size), *(corner + rng.random(2) * size)]
        if kind == 4:  # the full height, so that a column's end meets the next one's start
            return [corner[0], 0, corner[0] + 1 + rng.random() * width, height]
        if kind == 5:  # without an extent
            return [*corner, *(corner + rng.choice([0, 0.5], 2))]
        return [*corner, *(corner + rng.random(2) * (size - corner))]

    return np.array([draw(kind) for kind in rng.integers(0, 9, count)], dtype=np.float32)


def pasted(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], height: int, width: int
) -> list[dict[str, Any]]:
    """The way of detectron2: full images, then run lengths."""
    full = paste_masks_in_image(
        torch.from_numpy(masks), torch.from_numpy(boxes), (height, width), threshold=0.5
    )
    rles = mask_api.encode(np.asfortranarray(full.numpy().astype(np.uint8).transpose(1, 2, 0)))
    return [{"size": [height, width], "counts": rle["counts"].decode()} for rle in rles]


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10**9),
    size=st.sampled_from([(1, 1), (1, 9), (7, 1), (2, 2), (20, 33), (33, 20), (96, 64)]),
    side=st.sampled_from([28, 28, 28, 14, 1]),
)
def test_the_bytes_are_those_of_masks_drawn_on_full_images(seed, size, side):
    rng = np.random.default_rng(seed)
    masks, boxes = draw_masks(rng, 20, side), draw_boxes(rng, 20, *size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = encode_box_masks(masks, boxes, *size)
    assert ours == pasted(masks, boxes, *size)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_mask_that_is_not_finite_is_drawn_as_far_as_it_is(value):
    masks = draw_masks(np.random.default_rng(1), 4)
    masks[:, 5, 7] = value
    boxes = np.array([[3, 4, 50, 40]] * 4, dtype=np.float32)
    assert encode_box_masks(masks, boxes, 60, 80) == pasted(masks, boxes, 60, 80)


def test_a_box_outside_its_image_has_an_empty_mask_of_jsons_own_types():
    box = np.array([[50, 50, 60, 60]], dtype=np.float32)
    [rle] = encode_box_masks(np.ones((1, 28, 28), np.float32), box, 20, 30)
    assert decode_counts(rle["counts"]).tolist() == [600]
    assert type(rle["counts"]) is str
    assert [type(side) for side in rle["size"]] == [int, int]
    assert encode_box_masks(np.zeros((0, 28, 28), np.float32), box[:0], 20, 30) == []
