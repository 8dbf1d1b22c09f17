from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.phases.hold_out import HoldOut, HoldOutRule, hold_out
from lst_cli.phases.replay import Occurrences


def occurrences_of(*classes: list[int]) -> Occurrences:
    """The images of each class, one instance in each."""
    rows = [image for images in classes for image in images]
    labels = [label for label, images in enumerate(classes) for _ in images]
    return Occurrences.of(
        np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int64), len(classes)
    )


def left_of(occurrences: Occurrences, cut: HoldOut) -> np.ndarray:
    return np.array([int((~cut.held[images]).sum()) for images in occurrences.images])


@st.composite
def training_sets(draw: st.DrawFn) -> tuple[Occurrences, int]:
    images = draw(st.integers(1, 40))
    rows = st.lists(st.integers(0, images - 1), unique=True, max_size=images)
    return occurrences_of(*draw(st.lists(rows, min_size=1, max_size=8))), images


CUTS = (st.integers(2, 6), st.floats(0, 1), st.integers(0, 2**40))


def cut_of(occurrences, images, rare=4, share=0.0, seed=0):
    return hold_out(occurrences, images, HoldOutRule(rare, share, seed))


# --- small sets, worked out by hand --------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "images", "held", "left", "demoted"),
    [
        # Class 0 has 2 images, class 1 has 8 of its own; 4 is the border.
        ([[0, 1], range(2, 10)], 10, None, [2, 2], [1]),
        # Images 0 and 1 hold the rare class, and so are the two that class 1 keeps.
        ([[0, 1], range(8)], 8, [*[False] * 2, *[True] * 6], [2, 2], [1]),
        # The rare classes have one image each, all of which class 5 shares: it is not rare.
        ([[0], [1], [2], [3], [4], range(8)], 8, [*[False] * 5, *[True] * 3], [1] * 5 + [5], []),
        # Classes 1 and 2 are in the same images; only the first of them is chosen.
        ([[0], range(1, 9), range(2, 9)], 9, None, None, [1, 2]),
    ],
)
def test_a_class_becomes_as_rare_as_one_that_is_already_if_it_can(
    classes, images, held, left, demoted
):
    occurrences = occurrences_of(*map(list, classes))
    cuts = [cut_of(occurrences, images, seed=seed) for seed in range(5)]
    for cut in cuts:
        assert cut.demoted.tolist() == demoted
        assert left is None or left_of(occurrences, cut).tolist() == left
        assert held is None or cut.held.tolist() == held
    assert held is not None or len({tuple(cut.held) for cut in cuts}) > 1  # by the seed


def test_every_second_class_is_chosen_from_the_most_frequent_on():
    own = [list(range(start, start + n)) for start, n in ((0, 15), (15, 14), (29, 9), (38, 8))]
    cut = cut_of(occurrences_of([46, 47], *own, list(range(48, 64))), 64)
    assert cut.demoted.tolist() == [1, 3]  # 16 images, four times the border, are too many


def test_without_a_rare_class_the_new_ones_have_one_image_two_and_so_on():
    own = [list(range(start, start + 8)) for start in range(0, 48, 8)]
    occurrences = occurrences_of(*own)
    cut = cut_of(occurrences, 48)
    assert cut.demoted.tolist() == [0, 2, 4]
    assert sorted(left_of(occurrences, cut)[cut.demoted].tolist()) == [1, 2, 3]


def test_random_images_follow_until_the_share_is_reached():
    occurrences = occurrences_of([0, 1], list(range(2, 10)), list(range(100)))
    cut = cut_of(occurrences, 100, share=0.3)
    assert int(cut.held.sum()) == 30
    assert left_of(occurrences, cut).tolist() == [2, 2, 70]


def test_images_without_any_object_may_be_set_aside():
    cut = cut_of(occurrences_of([0, 1]), 10, share=1.0)
    assert cut.held.tolist() == [False, False, *[True] * 8]


@pytest.mark.parametrize("classes", [[], [[]], [[0]]])
def test_where_there_is_nothing_to_set_aside_nothing_is(classes):
    cut = cut_of(occurrences_of(*classes), 1, rare=10**18)
    assert cut.held.tolist() == [False]
    assert cut.demoted.tolist() == []
    assert cut_of(occurrences_of([], []), 0, rare=10, share=1.0).held.tolist() == []


# --- laws ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(training_sets(), *CUTS)
def test_what_is_promised_of_the_classes_holds(given_set, rare, share, seed):
    occurrences, images = given_set
    cut = cut_of(occurrences, images, rare, share, seed)
    counts, left = occurrences.image_counts(), left_of(occurrences, cut)
    tail = (counts > 0) & (counts < rare)
    assert left[tail].tolist() == counts[tail].tolist(), "rare classes lose nothing"
    assert (left[counts > 0] > 0).all(), "no class loses all"
    assert cut.demoted.tolist() == np.flatnonzero((counts >= rare) & (left < rare)).tolist()
    if tail.any():  # chosen classes keep as many as a rare one has
        middle = [k for k in np.argsort(-counts, kind="stable") if rare <= counts[k] < 4 * rare]
        assert (left[middle[::2]] >= counts[tail].min()).all()


@settings(deadline=None, max_examples=100)
@given(training_sets(), *CUTS)
def test_the_share_makes_no_further_class_rare_and_is_not_passed(given_set, rare, share, seed):
    occurrences, images = given_set
    without = cut_of(occurrences, images, rare, 0.0, seed)
    cut, again = (cut_of(occurrences, images, rare, share, seed) for _ in range(2))
    assert (cut.held >= without.held).all()
    assert cut.demoted.tolist() == without.demoted.tolist()
    assert cut.held.sum() <= max(round(share * images), without.held.sum())
    assert cut.held.tolist() == again.held.tolist(), "the same seed cuts alike"


# --- size ----------------------------------------------------------------------------------------


def test_a_set_of_lvis_size_is_cut():
    """In 0.1 s when nobody else is at work; pair by pair it would take minutes."""
    rng = np.random.default_rng(0)
    images, classes, pairs = 57_000, 1_203, 230_000
    shares = np.exp(np.linspace(np.log(2_000), 0, classes))
    labels = rng.choice(classes, pairs, p=shares / shares.sum())
    occurrences = Occurrences.of(rng.integers(0, images, pairs), labels, classes)
    cut = hold_out(occurrences, images, HoldOutRule())
    assert int(cut.held.sum()) == 8_550
