from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.phases.replay import Occurrences, base_data
from lst_cli.phases.sampling import (
    ClassAwareSampler,
    ObjectSampler,
    RepeatFactorSampler,
    lacking_objects,
    pasted_objects,
    repeat_factors,
)

# Images of each class: the first is everywhere, the last in one image of ten.
ROWS = np.arange(10, 20)
IMAGES_OF = (ROWS, np.array([11, 12, 13]), np.array([12]))

OCCURRENCES = Occurrences.of(
    np.concatenate(IMAGES_OF), np.repeat(np.arange(3), [len(rows) for rows in IMAGES_OF]), 3
)

set_of_classes = st.lists(
    st.sets(st.integers(0, 30), min_size=1, max_size=20), min_size=1, max_size=6
)


def arrays(classes):
    return tuple(np.array(sorted(images)) for images in classes)


# --- repeat factors ------------------------------------------------------------------------------


def test_the_rarest_class_of_an_image_decides_its_factor():
    # Shares 1, 0.3 and 0.1; sqrt(0.4 / 0.3) = 1.1547 and sqrt(0.4 / 0.1) = 2.
    factors = repeat_factors(ROWS, IMAGES_OF, 0.4)
    np.testing.assert_allclose(factors, [1, 1.154700538, 2, 1.154700538, 1, 1, 1, 1, 1, 1])
    assert repeat_factors(ROWS, IMAGES_OF, 0.1).tolist() == [1.0] * 10
    nothing = np.zeros(0, dtype=np.int64)
    assert repeat_factors(nothing, [nothing], 0.5).tolist() == []


@pytest.mark.engine
@settings(deadline=None, max_examples=25)
@given(set_of_classes, st.sampled_from([0.001, 0.1, 0.5, 1.0]))
def test_factors_are_detectron2s(classes, threshold):
    from detectron2.data.samplers import RepeatFactorTrainingSampler

    images_of = arrays(classes)
    images = np.unique(np.concatenate(images_of))
    records = [
        # Two annotations of a class in an image count once.
        {
            "annotations": [
                {"category_id": k} for k, rows in enumerate(images_of) if i in rows for _ in "ab"
            ]
        }
        for i in images
    ]
    theirs = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, threshold)
    np.testing.assert_allclose(
        repeat_factors(images, images_of, threshold), theirs.numpy(), rtol=1e-6
    )


def test_an_epoch_rounds_each_factor_up_or_down():
    sampler = RepeatFactorSampler(ROWS, np.array([1, 1.25, 2.5, 3, 1, 1, 1, 1, 1, 1]), 0)
    assert len(sampler) == 14
    epochs = [Counter(sampler.epoch_images(epoch).tolist()) for epoch in range(2000)]
    for shown in epochs:
        assert shown[11] in (1, 2)
        assert shown[12] in (2, 3)
        assert shown[13] == 3
        assert all(shown[row] == 1 for row in (10, *range(14, 20)))
    means = [sum(shown[row] for shown in epochs) / 2000 for row in (11, 12)]
    assert means == pytest.approx([1.25, 2.5], abs=0.05)


def test_seed_and_epoch_decide_what_is_shown_and_in_which_order():
    def epoch(seed, number):
        return RepeatFactorSampler(ROWS, np.full(10, 1.5), seed).epoch_images(number).tolist()

    assert epoch(0, 3) == epoch(0, 3)
    assert epoch(0, 3) != epoch(0, 4)
    assert epoch(0, 3) != epoch(1, 3)
    assert epoch(0, 3) != sorted(epoch(0, 3))


# --- class-aware ---------------------------------------------------------------------------------


def draws(sampler, epochs):
    return np.concatenate([sampler.epoch_images(epoch) for epoch in range(epochs)]).tolist()


@pytest.mark.parametrize(
    ("classes", "length"),
    [
        (tuple(np.array([label]) for label in range(4)), 6),  # one image each: turns of classes
        ((np.arange(3),), 4),  # turns of the images of one class
    ],
)
def test_all_have_their_turn_before_any_has_another_also_across_epochs(classes, length):
    shown = draws(ClassAwareSampler(classes, length=length, seed=0), 24 // length)
    size = sum(map(len, classes))
    turns = [shown[start : start + size] for start in range(0, 24, size)]
    assert all(sorted(turn) == list(range(size)) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1


def test_a_class_without_images_has_no_turn():
    classes = (np.array([1]), np.zeros(0, dtype=np.int64), np.array([2]))
    assert Counter(draws(ClassAwareSampler(classes, 4, 0), 2)) == {1: 4, 2: 4}


@settings(deadline=None, max_examples=30)
@given(set_of_classes, st.integers(0, 5), st.integers(0, 3))
def test_class_aware_epochs_have_their_length_and_repeat_with_the_seed(classes, seed, epoch):
    images_of = arrays(classes)
    images = np.unique(np.concatenate(images_of))
    sampler = ClassAwareSampler(images_of, len(images), seed)
    shown = sampler.epoch_images(epoch)
    assert len(shown) == len(sampler) == len(images)
    assert set(shown.tolist()) <= set(images.tolist())
    again = ClassAwareSampler(images_of, len(images), seed)
    assert again.epoch_images(epoch).tolist() == shown.tolist()


# --- as a phase ----------------------------------------------------------------------------------


def test_rare_classes_come_up_more_often_with_either_sampler():
    def share_of_image_12(sampling):
        data = base_data(OCCURRENCES, range(3), 0, sampling, repeat_threshold=0.9)
        shown = np.concatenate([data.epoch_entries(epoch).images for epoch in range(50)])
        return float((shown == 12).mean())

    assert share_of_image_12("uniform") == 0.1
    # A third of the draws for its own class, and a third of another third, and 1 in 10 of the last.
    assert share_of_image_12("class-aware") == pytest.approx(1 / 3 + 1 / 9 + 1 / 30, abs=0.03)
    # 3 of 3 + 2 * 1.732 + 7 in expectation.
    assert share_of_image_12("repeat-factor") == pytest.approx(3 / (10 + 3.464), abs=0.02)


def test_only_the_classes_of_the_base_matter():
    data = base_data(OCCURRENCES, range(1, 2), 0, "class-aware")
    assert sorted(data.epoch_entries(0).images.tolist()) == [11, 12, 13]
    data = base_data(OCCURRENCES, range(2), 0, "repeat-factor", repeat_threshold=0.3)
    assert len(data) == 10  # class 2 repeats nothing


# --- objects that are pasted ---------------------------------------------------------------------


def test_pasted_objects_are_drawn_by_the_weights_of_their_classes():
    objects = (np.array([0, 1]), np.array([2]), np.array([3, 4, 5]))
    sampler = ObjectSampler(objects, np.array([1.0, 0.0, 3.0]), (0, 4), 0, 1)
    draws = [sampler.at(position) for position in range(3000)]
    assert Counter(map(len, draws)) == pytest.approx(dict.fromkeys(range(5), 600), rel=0.1)
    drawn = Counter(np.concatenate(draws).tolist())
    shares = {0: 750, 1: 750, 3: 1500, 4: 1500, 5: 1500}
    assert drawn == pytest.approx(shares, rel=0.1)
    assert [len(ObjectSampler(objects, np.ones(3), (6, 6), 0, 1).at(p)) for p in range(3)] == [
        6
    ] * 3
    even = ObjectSampler(objects, np.ones(3), (4, 4), 0, 1)
    classes = [0, 0, 1, 2, 2, 2]
    rounds = np.concatenate([even.at(position) for position in range(9)]).reshape(-1, 3)
    assert all(sorted(classes[one] for one in each) == [0, 1, 2] for each in rounds.tolist())
    nothing = ObjectSampler(objects, np.zeros(3), (2, 2), 0, 1)
    assert len(nothing.at(0)) == 0


def test_pasted_objects_are_a_function_of_seed_phase_and_position():
    objects = tuple(np.arange(10) + 10 * label for label in range(5))

    def at(position: int, *key: int) -> list[int]:
        return ObjectSampler(objects, np.ones(5), (5, 5), *key).at(position).tolist()

    assert at(5, 0, 1) == at(5, 0, 1)
    assert len({str(one) for one in (at(5, 0, 1), at(6, 0, 1), at(5, 1, 1), at(5, 0, 2))}) == 4


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0, 200))
def test_what_is_lacking_lifts_the_rarest_classes_to_one_level(shown, objects):
    lacking = lacking_objects(np.array(shown), objects)
    assert lacking.sum() == pytest.approx(objects)
    assert (lacking >= 0).all()
    level = (np.array(shown) + lacking)[lacking > 1e-9]
    assert level == pytest.approx(level.mean() if len(level) else level)
    assert not len(level) or min(shown, default=0) <= level.mean()
    # A class without any has as many as the level, or more.
    if len(level):
        assert (np.array(shown)[lacking <= 1e-9] >= level.mean() - 1e-6).all()


@pytest.mark.parametrize(
    ("classes", "expected"),
    [("seen", [3.0] * 4), ("new", [0.0, 0.0, 6.0, 6.0]), ("lacking", [0.0, 2.0, 5.0, 5.0])],
)
def test_the_classes_of_pasted_objects_are_a_choice(classes, expected):
    assert pasted_objects(classes, np.array([9, 4, 1, 1]), range(2, 4), 12.0).tolist() == expected
