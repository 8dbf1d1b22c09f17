from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.phases.replay import (
    ALL_CLASSES,
    Occurrences,
    base_data,
    choose_few,
    few_data,
    instances_per_class,
    iterations_of,
    replay_counts,
    step_data,
)


def occurrences_of(*rows: dict[int, int]) -> Occurrences:
    """One {image: instances} dict a class."""
    pairs = [(i, k) for k, row in enumerate(rows) for i, n in row.items() for _ in range(n)]
    images, labels = (np.array(column) for column in zip(*pairs, strict=True))
    return Occurrences.of(images, labels, len(rows))


FREQUENT = dict.fromkeys(range(8), 3)  # 24 instances, 3 an image
MIDDLE = {0: 2, 2: 2, 4: 1}  # 5 instances in 3 images
RARE = {1: 1, 2: 3}  # 4 instances


@pytest.mark.parametrize(
    ("instances", "images", "replay", "expected"),
    [
        ([24, 5, 4], [8, 3, 2], "balanced", [2, 3]),  # the ceilings of 4 / 3 and 4 / (5 / 3)
        # 49 / (49 / 3) is 3.0000000000000004 in floating point, and not rounded up.
        ([147, 49], [9, 7], "balanced", [3]),
        ([2, 100], [2, 50], "balanced", [2]),  # no more than there are
        ([24, 5, 4], [8, 3, 2], "none", [0, 0]),
        ([24, 5, 4], [8, 3, 2], "all", [8, 3]),
    ],
)
def test_old_classes_are_replayed(instances, images, replay, expected):
    new = range(len(images) - 1, len(images))
    assert replay_counts(np.array(instances), np.array(images), new, replay).tolist() == expected


def test_an_entry_is_an_image_and_one_class():
    data = step_data(occurrences_of(FREQUENT, MIDDLE, RARE), range(1, 3), 1, seed=0)
    pairs = sorted(zip(data.fixed.labels.tolist(), data.fixed.images.tolist(), strict=True))
    # Image 2 holds both new classes and is in twice.
    assert pairs == [(1, 0), (1, 2), (1, 4), (2, 1), (2, 2)]


def test_base_entries_are_images_in_which_all_classes_count():
    data = base_data(occurrences_of(FREQUENT, MIDDLE, RARE), range(2), seed=0)
    assert data.fixed.images.tolist() == list(range(8))
    assert set(data.fixed.labels.tolist()) == {ALL_CLASSES}
    assert len(data) == 8


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.integers(1, 12))
def test_all_images_of_a_class_come_up_before_any_comes_twice(seed, epochs):
    data = step_data(occurrences_of(FREQUENT, MIDDLE, RARE), range(2, 3), 2, seed)
    uses: dict[int, Counter[int]] = {0: Counter(), 1: Counter()}
    for epoch in range(epochs):
        drawn = data.draw_replay(epoch)
        for image, label in zip(drawn.images.tolist(), drawn.labels.tolist(), strict=True):
            uses[label][image] += 1
        for label, images in ((0, FREQUENT), (1, MIDDLE)):
            counts = [uses[label][image] for image in images]
            assert max(counts) - min(counts) <= 1


def test_the_same_seed_draws_the_same_and_another_does_not():
    def draw(seed: int) -> list[int]:
        data = step_data(occurrences_of(FREQUENT, MIDDLE, RARE), range(2, 3), 2, seed)
        return data.epoch_entries(3).images.tolist()

    assert draw(1) == draw(1)
    assert any(draw(1) != draw(seed) for seed in range(2, 6))


def test_every_epoch_has_the_same_number_of_entries():
    data = step_data(occurrences_of(FREQUENT, MIDDLE, RARE), range(2, 3), 2, seed=0)
    assert {len(data.epoch_entries(epoch)) for epoch in range(5)} == {len(data)} == {7}


def test_instances_are_counted_for_the_class_of_the_entry_only():
    occurrences = occurrences_of(FREQUENT, MIDDLE, RARE)
    data = step_data(occurrences, range(2, 3), 2, seed=0)
    totals = instances_per_class(data.epoch_entries(0), occurrences, 3)
    assert totals[0] == 6  # two images with three each
    assert totals[2] == 4
    base = instances_per_class(base_data(occurrences, range(2), 0).fixed, occurrences, 3)
    assert base.tolist() == [24, 5, 4]


def test_published_iterations_round_halves_to_even():
    found = [iterations_of(10, entries, 8) for entries in (41626, 20834, 8022, 1911)]
    assert found == [52032, 26042, 10028, 2389]


# --- few images ----------------------------------------------------------------------------------


def test_few_images_show_every_old_class():
    # Image 2 shows all three; image 0 then adds most to what still lacks.
    occurrences = occurrences_of(FREQUENT, MIDDLE, RARE, {5: 1})
    assert choose_few(occurrences, 3, 2, seed=0).tolist() == [2]
    assert choose_few(occurrences, 3, 4, seed=0).tolist() == [0, 1, 2]
    assert choose_few(occurrences, 3, 100, seed=0).tolist() == list(range(8))
    assert choose_few(occurrences, 0, 4, seed=0).tolist() == []


@settings(max_examples=50)
@given(
    st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 5), min_size=1), min_size=1),
    st.integers(1, 6),
)
def test_each_old_class_is_shown_often_enough_or_whole(rows, instances):
    occurrences = occurrences_of(*rows)
    chosen = choose_few(occurrences, len(rows), instances, seed=3)
    for row in rows:
        shown = sum(count for image, count in row.items() if image in chosen)
        assert shown >= min(instances, sum(row.values()))


def test_few_data_balances_old_and_new_classes_by_instances():
    data = few_data(occurrences_of(FREQUENT, MIDDLE, RARE, {5: 1, 8: 1}), range(3, 4), 2, 0, 4)
    assert data.fixed.images.tolist() == [5, 8, 5, 8]  # 4 instances, of a class with 2
    assert data.few.images.tolist() == [0, 1, 2]
    assert data.replay_counts().tolist() == [3, 2, 2]
    assert (len(data), data.replay_entries, data.images().tolist()) == (7, 3, [0, 1, 2, 5, 8])
    entries = data.epoch_entries(3)
    assert Counter(entries.images.tolist()) == Counter([5, 8, 5, 8, 0, 1, 2])
    assert set(entries.labels.tolist()) == {ALL_CLASSES}
    # Without instances nothing is replayed.
    data = few_data(occurrences_of(FREQUENT, RARE), range(1, 2), 1, 0, 0)
    assert data.fixed.images.tolist() == [1, 2]
    assert data.replay_entries == 0


def test_few_images_of_a_base_phase_show_every_class_and_all_classes_count_in_them():
    occurrences = occurrences_of(FREQUENT, MIDDLE, RARE, {5: 1})
    data = base_data(occurrences, range(3), 0, "few", few_instances=4)
    assert data.images().tolist() == [0, 1, 2]
    assert (len(data), set(data.epoch_entries(1).labels.tolist())) == (3, {ALL_CLASSES})
