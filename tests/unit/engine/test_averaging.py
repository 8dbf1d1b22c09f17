from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lst_cli.engine.averaging import WeightAverage

SCALE = "roi_heads.box_predictor.cls_score.scale"


class Two(nn.Module):
    """One weight that is trained, one that is not, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.full((2,), 7.0), requires_grad=False)
        self.register_buffer("count", torch.tensor(3))


def follow(average: WeightAverage, model: Two, values: list[float]) -> None:
    """Updates after which the first weight has these values, and the second ten times them."""
    for value in values:
        with torch.no_grad():
            model.trained.copy_(torch.tensor([value, 10 * value]))
        average.update()


def given_by(decay: float, values: list[float]) -> float:
    model = Two()
    average = WeightAverage(model, decay)
    follow(average, model, values)
    average.give()
    first, second = model.trained.tolist()
    assert second == pytest.approx(10 * first, rel=1e-4, abs=1e-2)
    return float(first)


@pytest.mark.parametrize("decay", [0.9, 0.2])
def test_the_average_follows_its_recurrence(decay: float) -> None:
    # Early on the decays are 2/11, 3/12, 4/13, ...: at 0.2 only the first is below the limit.
    keeps = {0.9: [2 / 11, 3 / 12, 4 / 13], 0.2: [2 / 11, 0.2, 0.2]}[decay]
    expected = 1.0  # the first update takes the weights as they are
    for keep, value in zip(keeps, [2.0, 4.0, 8.0], strict=True):
        expected = keep * expected + (1 - keep) * value
    assert given_by(decay, [1.0, 2.0, 4.0, 8.0]) == pytest.approx(expected)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=30)
def test_the_average_lies_among_the_weights_that_there_were(
    values: list[float], decay: float
) -> None:
    found = given_by(decay, values)
    assert min(values) - 1e-3 <= found <= max(values) + 1e-3


def test_weights_are_replaced_only_when_the_average_is_given() -> None:
    model: Any = Two()
    parameter = model.trained
    average = WeightAverage(model, 0.9)
    follow(average, model, [1.0, 3.0])
    assert model.trained.tolist() == [3.0, 30.0]
    average.give()
    assert model.trained is parameter
    assert model.trained.requires_grad
    assert model.trained[0].item() == pytest.approx(2 / 11 + 3 * 9 / 11)
    assert model.frozen.tolist() == [7.0, 7.0]
    assert model.count.item() == 3


def test_only_what_is_trained_is_held_and_saved() -> None:
    state = WeightAverage(Two(), 0.9).state()
    assert sum(tensor.numel() for tensor in state.values()) == 3  # two weights and the count


def test_an_average_that_goes_on_from_its_state_is_the_one_that_never_stopped() -> None:
    whole = given_by(0.5, [1.0, 5.0, -3.0, 4.0, 9.0])
    model = Two()
    average = WeightAverage(model, 0.5)
    follow(average, model, [1.0, 5.0, -3.0])
    state = {name: tensor.clone() for name, tensor in average.state().items()}
    follow(average, model, [100.0])  # the state is a thing of its own
    other = Two()
    resumed = WeightAverage(other, 0.5)
    resumed.restore(state)
    follow(resumed, other, [4.0, 9.0])
    resumed.give()
    assert other.trained[0].item() == whole
