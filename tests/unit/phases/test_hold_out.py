from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.phases.hold_out import HoldOut, hold_out
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


RARE = st.integers(2, 6)
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 2**40)


# --- small sets, worked out by hand --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_class_becomes_as_rare_as_one_that_is_already(seed: int) -> None:
    # Class 0 has 2 images, class 1 has 8 of its own; 4 is the border.
    occurrences = occurrences_of([0, 1], list(range(2, 10)))
    cut = hold_out(occurrences, 10, rare=4, share=0.0, seed=seed)
    assert cut.demoted.tolist() == [1]
    assert left_of(occurrences, cut).tolist() == [2, 2]
    assert int(cut.held.sum()) == 6


def test_images_that_stay_anyway_are_kept_first() -> None:
    # Images 0 and 1 hold the rare class, and so are the two that class 1 keeps.
    occurrences = occurrences_of([0, 1], list(range(8)))
    for seed in range(5):
        cut = hold_out(occurrences, 8, rare=4, share=0.0, seed=seed)
        assert cut.held.tolist() == [False, False, *[True] * 6]


def test_a_class_keeps_more_than_it_should_where_its_images_must_stay() -> None:
    # The rare classes 0 to 4 have one image each, all of which class 5 shares.
    occurrences = occurrences_of([0], [1], [2], [3], [4], list(range(8)))
    cut = hold_out(occurrences, 8, rare=4, share=0.0, seed=0)
    assert cut.held.tolist() == [*[False] * 5, True, True, True]
    assert cut.demoted.tolist() == []  # with 5 images it is not rare


def test_every_second_class_is_chosen_from_the_most_frequent_on() -> None:
    own = [list(range(start, start + n)) for start, n in ((0, 15), (15, 14), (29, 9), (38, 8))]
    cut = hold_out(occurrences_of([46, 47], *own, list(range(48, 64))), 64, rare=4, share=0, seed=0)
    assert cut.demoted.tolist() == [1, 3]  # 16 images, four times the border, are too many


def test_without_a_rare_class_the_new_ones_have_one_image_two_and_so_on() -> None:
    own = [list(range(start, start + 8)) for start in range(0, 48, 8)]
    occurrences = occurrences_of(*own)
    cut = hold_out(occurrences, 48, rare=4, share=0.0, seed=0)
    assert cut.demoted.tolist() == [0, 2, 4]
    assert sorted(left_of(occurrences, cut)[cut.demoted].tolist()) == [1, 2, 3]


def test_a_class_that_shares_images_with_one_made_rare_keeps_one_and_is_named() -> None:
    # Classes 1 and 2 are in the same images; only the first of them is chosen.
    occurrences = occurrences_of([0], list(range(1, 9)), list(range(2, 9)))
    for seed in range(5):
        cut = hold_out(occurrences, 9, rare=4, share=0.0, seed=seed)
        assert cut.demoted.tolist() == [1, 2]
        assert left_of(occurrences, cut)[2] == 1


def test_random_images_follow_until_the_share_is_reached() -> None:
    occurrences = occurrences_of([0, 1], list(range(2, 10)), list(range(100)))
    cut = hold_out(occurrences, 100, rare=4, share=0.3, seed=0)
    assert int(cut.held.sum()) == 30
    assert left_of(occurrences, cut).tolist() == [2, 2, 70]


def test_images_without_any_object_may_be_set_aside() -> None:
    cut = hold_out(occurrences_of([0, 1]), 10, rare=4, share=1.0, seed=0)
    assert cut.held.tolist() == [False, False, *[True] * 8]


@pytest.mark.parametrize("occurrences", [occurrences_of(), occurrences_of([]), occurrences_of([0])])
def test_where_there_is_nothing_to_set_aside_nothing_is(occurrences: Occurrences) -> None:
    cut = hold_out(occurrences, 1, rare=10**18, share=0.0, seed=0)
    assert cut.held.tolist() == [False]
    assert cut.demoted.tolist() == []


def test_a_set_without_images_is_cut_into_two_without() -> None:
    assert hold_out(occurrences_of([], []), 0, rare=10, share=1.0, seed=0).held.tolist() == []


# --- laws ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(training_sets(), RARE, SHARES, SEEDS)
def test_what_is_promised_of_the_classes_holds(
    given_set: tuple[Occurrences, int], rare: int, share: float, seed: int
) -> None:
    occurrences, images = given_set
    cut = hold_out(occurrences, images, rare=rare, share=share, seed=seed)
    counts, left = occurrences.image_counts(), left_of(occurrences, cut)
    tail = (counts > 0) & (counts < rare)
    assert left[tail].tolist() == counts[tail].tolist(), "rare classes lose nothing"
    assert (left[counts > 0] > 0).all(), "no class loses all"
    assert cut.demoted.tolist() == np.flatnonzero((counts >= rare) & (left < rare)).tolist()


@settings(deadline=None, max_examples=150)
@given(training_sets(), RARE, SHARES, SEEDS)
def test_chosen_classes_keep_as_many_as_a_rare_one_has(
    given_set: tuple[Occurrences, int], rare: int, share: float, seed: int
) -> None:
    occurrences, images = given_set
    counts = occurrences.image_counts()
    tail = counts[(counts > 0) & (counts < rare)]
    if not len(tail):
        return
    cut = hold_out(occurrences, images, rare=rare, share=share, seed=seed)
    left = left_of(occurrences, cut)
    middle = [k for k in np.argsort(-counts, kind="stable") if rare <= counts[k] < 4 * rare]
    assert (left[middle[::2]] >= tail.min()).all()


@settings(deadline=None, max_examples=100)
@given(training_sets(), RARE, SHARES, SEEDS)
def test_the_share_makes_no_further_class_rare_and_is_not_passed(
    given_set: tuple[Occurrences, int], rare: int, share: float, seed: int
) -> None:
    occurrences, images = given_set
    without = hold_out(occurrences, images, rare=rare, share=0.0, seed=seed)
    cut = hold_out(occurrences, images, rare=rare, share=share, seed=seed)
    assert (cut.held >= without.held).all()
    assert cut.demoted.tolist() == without.demoted.tolist()
    assert cut.held.sum() <= max(round(share * images), without.held.sum())


@settings(deadline=None, max_examples=50)
@given(training_sets(), RARE, SHARES, SEEDS)
def test_the_same_seed_cuts_alike(
    given_set: tuple[Occurrences, int], rare: int, share: float, seed: int
) -> None:
    occurrences, images = given_set
    first, second = (
        hold_out(occurrences, images, rare=rare, share=share, seed=seed) for _ in range(2)
    )
    assert first.held.tolist() == second.held.tolist()
    assert first.demoted.tolist() == second.demoted.tolist()


def test_another_seed_cuts_otherwise() -> None:
    occurrences = occurrences_of([0, 1], list(range(2, 10)))
    cuts = {
        tuple(hold_out(occurrences, 10, rare=4, share=0.0, seed=seed).held) for seed in range(5)
    }
    assert len(cuts) > 1


# --- size ----------------------------------------------------------------------------------------


def test_a_set_of_lvis_size_is_cut() -> None:
    """In 0.1 s when nobody else is at work; pair by pair it would take minutes."""
    rng = np.random.default_rng(0)
    images, classes, pairs = 57_000, 1_203, 230_000
    shares = np.exp(np.linspace(np.log(2_000), 0, classes))
    labels = rng.choice(classes, pairs, p=shares / shares.sum())
    occurrences = Occurrences.of(rng.integers(0, images, pairs), labels, classes)
    cut = hold_out(occurrences, images, rare=10, share=0.15, seed=0)
    assert int(cut.held.sum()) == 8_550
