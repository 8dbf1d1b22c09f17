from __future__ import annotations

import numpy as np
import pytest

from lst_cli.evaluation.calibration import choose_images, choose_strength, logit_shift


def test_the_shift_divides_exponentiated_logits_by_a_power_of_the_counts() -> None:
    shift = logit_shift([100, 4, 1], 0.5)
    assert np.exp(-shift) == pytest.approx([1 / 10, 1 / 2, 1.0])
    assert logit_shift([100, 4, 1], 0.0).tolist() == [0, 0, 0]


def test_the_weakest_of_the_best_strengths_is_chosen() -> None:
    assert choose_strength({0.0: 0.3, 0.2: 0.31, 0.4: 0.31, 1.0: 0.1}) == 0.2
    assert choose_strength({0.0: 0.3, 0.2: 0.3}) == 0.0


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
