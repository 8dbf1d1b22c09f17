from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.ap.calibration import (
    STRENGTHS,
    Calibration,
    choose_images,
    choose_strength,
    logit_shift,
    phase_shift,
)


def test_the_shift_divides_exponentiated_logits_by_a_power_of_the_counts() -> None:
    shift = logit_shift([100, 4, 1], 0.5)
    assert np.exp(-shift) == pytest.approx([1 / 10, 1 / 2, 1.0])
    assert logit_shift([100, 4, 1], 0.0).tolist() == [0, 0, 0]


def test_base_classes_alone_lose_or_gain_the_strength() -> None:
    assert phase_shift(4, 2, 0.5).tolist() == [0.5, 0.5, 0, 0]
    assert phase_shift(4, 2, -1).tolist() == [-1, -1, 0, 0]
    assert phase_shift(2, 2, 1).tolist() == [1, 1]
    assert phase_shift(0, 0, 1).tolist() == []


@settings(deadline=None)
@given(
    logits=st.lists(st.floats(-10, 10), min_size=5, max_size=5),
    strength=st.sampled_from([one for one in STRENGTHS["phases"] if one != 0]),
)
def test_later_classes_gain_where_base_classes_lose_and_keep_their_odds_against_the_background(
    logits: list[float], strength: float
) -> None:
    # Three base classes, one later one, the background.
    before = np.exp(logits) / np.exp(logits).sum()
    shifted = np.array(logits) - np.append(phase_shift(4, 3, strength), 0.0)
    after = np.exp(shifted) / np.exp(shifted).sum()
    assert np.sign(after[3] - before[3]) == np.sign(strength)
    assert after[3] / after[4] == pytest.approx(before[3] / before[4])
    assert after[0] / after[1] == pytest.approx(before[0] / before[1])


@pytest.mark.parametrize("way", ["norcal", "phases"])
def test_no_correction_is_among_what_is_tried_and_nothing_is_tried_twice(way) -> None:
    assert 0.0 in STRENGTHS[way]
    assert list(STRENGTHS[way]) == sorted(set(STRENGTHS[way]))


def test_a_choice_that_does_not_say_its_way_is_one_of_norcal() -> None:
    older = {
        "format": 1, "model_sha256": "m", "seed": 0, "tried_with": {}, "wanted": 200,
        "images": 3, "strength": 0.3, "box_ap": {"0.3": 0.5},
    }  # fmt: skip
    assert Calibration.model_validate(older).way == "norcal"


def test_the_weakest_of_the_best_strengths_is_chosen() -> None:
    assert choose_strength({0.0: 0.3, 0.2: 0.31, 0.4: 0.31, 1.0: 0.1}) == 0.2
    assert choose_strength({0.0: 0.3, 0.2: 0.3}) == 0.0
    assert choose_strength({-2.0: 0.3, -0.5: 0.3, 1.0: 0.3}) == -0.5
    assert choose_strength({-0.5: 0.2, 0.0: 0.2, 0.5: 0.3}) == 0.5


def test_every_class_has_its_image_before_any_has_two() -> None:
    images = [np.arange(50), np.array([60, 61]), np.array([70]), np.zeros(0, dtype=np.int64)]
    for seed in range(5):
        chosen = choose_images(images, 3, seed)
        assert len(chosen) == 3
        assert 70 in chosen
        assert np.isin(chosen, [60, 61]).sum() == 1
        assert (chosen < 50).sum() == 1
    assert choose_images(images, 3, 0).tolist() == choose_images(images, 3, 0).tolist()


def test_there_may_be_fewer_images_than_wanted_and_none_stands_twice() -> None:
    images = [np.array([1, 2]), np.array([2, 3])]
    assert choose_images(images, 10, 0).tolist() == [1, 2, 3]
    assert choose_images([], 10, 0).tolist() == []
