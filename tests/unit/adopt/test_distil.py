"""What the boxes of a training set are called by a model whose classes are in another order."""

from __future__ import annotations

import pytest
import torch

from lst_cli.adopt.distil import Kept

pytestmark = pytest.mark.engine

CLASSES = 8


def kept(names: list[int], boxes: int = 10, right: int = 7) -> Kept:
    """So many boxes a class; so many of these have the name of the class, others any name."""
    annotated = torch.arange(CLASSES).repeat_interleave(boxes)
    place = torch.arange(boxes).repeat(CLASSES)
    called = torch.where(place < right, torch.tensor(names)[annotated], (annotated + place) % 3)
    nothing = torch.zeros(0)
    return Kept(nothing, nothing, nothing, annotated, called)


@pytest.mark.parametrize(
    ("names", "other", "exchanged"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], False, {}),
        ([7, 6, 5, 4, 3, 2, 1, 0], True, None),
        ([1, 2, 3, 4, 5, 6, 7, 0], True, None),
        ([0, 1, 2, 4, 3, 5, 6, 7], False, {3: 4, 4: 3}),
        ([0, 1, 2, 4, 5, 3, 6, 7], False, {3: 4, 4: 5, 5: 3}),
        ([0, 1, 2, 4, 4, 5, 6, 7], False, {}),  # class 3 only looks like class 4
        ([0, 1, 2, 4, 3, 4, 5, 7], False, {3: 4, 4: 3}),  # 5 looks like 4, and 6 like 5
    ],
)
def test_names_in_another_order_are_told_from_classes_that_look_alike(names, other, exchanged):
    found = kept(names)
    assert (found.find_other_order() is not None) == other
    if exchanged is not None:
        assert dict(found.find_exchanged()) == exchanged


def test_few_boxes_say_nothing_about_the_order():
    assert kept([7, 6, 5, 4, 3, 2, 1, 0], boxes=2, right=2).find_other_order() is None
    assert kept([1, 0, 2, 3, 4, 5, 6, 7], boxes=3, right=3).find_exchanged() == []
    assert kept([0] * CLASSES, boxes=0).find_exchanged() == []
