from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.samples.paste import CutOut, boxes_of, paste
from lst_cli.settings.models import PasteSettings

USUAL = PasteSettings()
AS_IS = PasteSettings(scale=(1.0, 1.0), largest=1.0, brightness=0.0)
NOTHING = np.zeros((0, 10, 20), dtype=bool)


def square(side: int = 4, colour: int = 200, label: int = 0) -> CutOut:
    return CutOut(
        label, np.full((side, side, 3), colour, dtype=np.uint8), np.ones((side, side), dtype=bool)
    )


def picture(height: int = 10, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), 10, dtype=np.uint8)


def mask_of(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((1, 10, 20), dtype=bool)
    mask[0, top:bottom, left:right] = True
    return mask


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_object_lies_whole_in_the_picture_with_its_mask_and_box():
    before = picture()
    pasted = paste(before, NOTHING, [square()], rng(), AS_IS)
    assert pasted.masks.shape == (1, 10, 20)
    assert pasted.picture[pasted.masks[0]].max() == 200
    assert (pasted.picture[~pasted.masks[0]] == 10).all()
    [(left, top, right, bottom)] = boxes_of(pasted.masks).tolist()
    assert (right - left, bottom - top) == (4, 4)
    assert (left >= 0, right <= 20, top >= 0, bottom <= 10) == (True,) * 4
    assert (before == 10).all()


def test_masks_are_cut_where_something_covers_them():
    whole = np.ones((1, 10, 20), dtype=bool)
    pasted = paste(picture(), whole, [square()], rng(), AS_IS)
    assert pasted.origin.tolist() == [0, 1]
    assert (pasted.masks[0] == ~pasted.masks[1]).all()
    assert whole.all()


def test_what_is_mostly_covered_is_no_object_any_more():
    full = CutOut(0, np.zeros((10, 20, 3), np.uint8), np.ones((10, 20), bool))
    half = np.ones((10, 20), dtype=bool)
    half[:, 10:] = False
    masks = np.concatenate([mask_of(0, 0, 2, 2), mask_of(0, 0, 10, 20)])
    assert paste(picture(), masks, [full], rng(), AS_IS).origin.tolist() == [2]
    covers_half = [CutOut(0, full.pixels, half)]
    assert paste(picture(), masks, covers_half, rng(), AS_IS).origin.tolist()[-2:] == [1, 2]
    # An object may be covered by the next one as well.
    assert paste(picture(), NOTHING, [full, full], rng(), AS_IS).origin.tolist() == [1]


def test_a_soft_edge_is_mixed_inside_the_object_alone():
    pasted = paste(picture(), NOTHING, [square(6)], rng(), AS_IS)
    inside = pasted.picture[pasted.masks[0]][:, 0]
    assert (pasted.picture[~pasted.masks[0]] == 10).all()
    assert (inside == 200).sum() == 16
    assert set(inside.tolist()) == {94, 137, 200}  # 4, 6 and 9 of 9 pixels at corner, edge, middle


def test_what_is_larger_than_the_picture_becomes_smaller():
    big = square(400)
    pasted = paste(picture(), NOTHING, [big], rng(), USUAL)
    [box] = boxes_of(pasted.masks)
    assert (box[2] - box[0], box[3] - box[1]) == (6, 6)  # 0.6 of ten pixels


@pytest.mark.parametrize("side", [1, 2, 5])
def test_tiny_objects_stay_or_are_left_out(side):
    for seed in range(20):
        pasted = paste(picture(), NOTHING, [square(side)], rng(seed), USUAL)
        assert len(pasted.origin) == 1
    holes = CutOut(0, square(9).pixels, np.zeros((9, 9), dtype=bool))
    holes.mask[0, 0] = True
    shrunk = PasteSettings(scale=(0.1, 0.1))
    assert paste(picture(), NOTHING, [holes], rng(), shrunk).origin.tolist() == []


def test_nothing_pasted_changes_nothing():
    pasted = paste(picture(), mask_of(1, 1, 3, 3), [], rng(), USUAL)
    assert (pasted.picture == 10).all()
    assert pasted.origin.tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(1, 60), max_size=4), st.integers(0)
)
def test_masks_never_overlap_and_a_seed_says_everything(height, width, sides, seed):
    objects = [square(side, colour=50 * place) for place, side in enumerate(sides)]
    nothing = np.zeros((0, height, width), dtype=bool)
    one, other = (
        paste(picture(height, width), nothing, objects, rng(seed), USUAL) for _ in range(2)
    )
    assert one.masks.sum(axis=0).max(initial=0) <= 1
    assert (one.picture == other.picture).all()
    assert (one.origin == other.origin).all()
    boxes = boxes_of(one.masks)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
