from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lst_cli.engine.optim import (
    Learner,
    WeightAverage,
    build_optimizer,
    freeze,
    freeze_other_rows,
    lr_factor,
)
from lst_cli.errors import LstError
from lst_cli.settings.models import BaseSettings, StepSettings

pytestmark = pytest.mark.engine


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        parts = ("bottom_up", "fpn", "bottom_up_side")
        self.backbone = nn.ModuleDict({name: nn.Linear(2, 2) for name in parts})
        self.heads = nn.Linear(2, 2)


def groups_of(model: nn.Module, **settings: Any) -> dict[str, dict[str, Any]]:
    """Options of each trained parameter by its name."""
    optimizer = build_optimizer(model, BaseSettings(**settings))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group) for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(dict(found))  # each once
    return dict(found)


def test_freezing_stops_what_begins_with_a_prefix_and_nothing_else():
    model = Network()
    freeze(model, ["backbone.bottom_up.", "heads.bias"])
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        "backbone.fpn.weight",
        "backbone.fpn.bias",
        "backbone.bottom_up_side.weight",
        "backbone.bottom_up_side.bias",
        "heads.weight",
    }
    assert set(groups_of(model)) == trained
    freeze(model, [])
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained


def test_a_prefix_that_fits_nothing_is_named_with_the_ones_that_exist():
    with pytest.raises(LstError, match=r"'backbon\.fpn'") as caught:
        freeze(Network(), ["backbone.fpn", "backbon.fpn"])
    assert "backbone.bottom_up" in str(caught.value.hint)
    assert "heads.weight" in str(caught.value.hint)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_of_a_weight_only_some_rows_can_be_trained(optimizer):
    model = nn.Linear(3, 4, bias=False)
    before = model.weight.detach().clone()
    freeze_other_rows(model.weight, range(1, 3))
    learner = build_optimizer(model, BaseSettings(optimizer=optimizer, weight_decay=0.0))
    for _ in range(2):
        model(torch.ones(2, 3)).square().sum().backward()
        learner.step()
    changed = (model.weight != before).any(dim=1)
    assert changed.tolist() == [False, True, True, False]
    frozen = nn.Parameter(before, requires_grad=False)
    freeze_other_rows(frozen, range(1))
    assert not frozen.requires_grad


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", "SGD"), ("adamw", "AdamW")])
def test_biases_and_the_bottom_up_network_have_their_own_rates(optimizer, kind):
    changes: dict[str, Any] = {"optimizer": optimizer, "lr": 0.1, "weight_decay": 0.01}
    changes |= {"momentum": 0.7}
    rates = {"bias_lr_factor": 2.0, "bias_weight_decay": 0.0, "backbone_lr_factor": 0.5}
    groups = groups_of(Network(), **changes, **rates)
    expected = {
        "heads.weight": (0.1, 0.01),
        "heads.bias": (0.2, 0.0),
        "backbone.fpn.weight": (0.1, 0.01),
        "backbone.bottom_up_side.weight": (0.1, 0.01),
        "backbone.bottom_up.weight": (0.05, 0.01),
        "backbone.bottom_up.bias": (0.1, 0.0),
    }
    for name, (lr, decay) in expected.items():
        assert groups[name]["lr"] == groups[name]["initial_lr"] == pytest.approx(lr), name
        assert groups[name]["weight_decay"] == decay, name
        assert groups[name].get("momentum", 0.7) == 0.7
    assert type(build_optimizer(Network(), BaseSettings(optimizer=optimizer))).__name__ == kind


@pytest.mark.parametrize(
    ("schedule", "iterations", "expected"),
    [
        # The paper's base phase divides by ten after epochs 6 and 8, later phases once.
        (BaseSettings(warmup_iterations=0), 1000, [1.0] * 600 + [0.1] * 200 + [0.01] * 200),
        (StepSettings(warmup_iterations=0), 10, [1.0] * 6 + [0.1] * 4),
        # Warm-up rises in a line from its factor to one, and takes a quarter of a phase at most.
        (BaseSettings(warmup_iterations=4, warmup_factor=0.2, decay_epochs=()), 100,
         [0.2, 0.4, 0.6, 0.8] + [1.0] * 96),
        (BaseSettings(warmup_iterations=500, warmup_factor=0.5), 8,
         [0.5, 0.75, 1, 1, 1, 0.1, 0.01, 0.01]),
        # Decay also holds where warm-up has not ended.
        (BaseSettings(warmup_iterations=20, warmup_factor=0.5, epochs=10, decay_epochs=(1.0,)), 100,
         [*np.linspace(0.5, 0.725, 10), *np.linspace(0.075, 0.0975, 10)] + [0.1] * 80),
        (BaseSettings(), 1, [1.0]),
    ],
)  # fmt: skip
def test_the_learning_rate_warms_up_and_falls_by_tenths(schedule, iterations, expected):
    factors = [lr_factor(i, iterations, schedule) for i in range(iterations)]
    assert factors == pytest.approx(expected)


def test_setting_the_rate_keeps_the_ratios_and_is_no_product_of_products():
    model: Any = Network()
    model.device = torch.device("cpu")
    learner = Learner.of(model, BaseSettings(lr=1, bias_lr_factor=2))
    for _ in range(3):
        learner.set_rate(0.1)
    assert {group["lr"] for group in learner.optimizer.param_groups} == {0.1, 0.2}


# --- the running average -------------------------------------------------------------------------


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


@pytest.mark.parametrize("decay", [0.9, 0.2])
def test_the_average_follows_its_recurrence(decay):
    # Early on the decays are 2/11, 3/12, 4/13, ...: at 0.2 only the first is below the limit.
    keeps = {0.9: [2 / 11, 3 / 12, 4 / 13], 0.2: [2 / 11, 0.2, 0.2]}[decay]
    expected = 1.0  # the first update takes the weights as they are
    for keep, value in zip(keeps, [2.0, 4.0, 8.0], strict=True):
        expected = keep * expected + (1 - keep) * value
    model = Two()
    average = WeightAverage(model, decay)
    follow(average, model, [1.0, 2.0, 4.0, 8.0])
    average.replace_weights()
    assert model.trained.tolist() == pytest.approx([expected, 10 * expected])


def test_only_trained_weights_are_averaged_and_held_and_only_replaced_when_asked():
    model: Any = Two()
    parameter = model.trained
    average = WeightAverage(model, 0.9)
    # Two weights and the count.
    assert sum(tensor.numel() for tensor in average.state_dict().values()) == 3
    follow(average, model, [1.0, 3.0])
    assert model.trained.tolist() == [3.0, 30.0]
    average.replace_weights()
    assert model.trained is parameter
    assert model.trained.requires_grad
    assert model.trained[0].item() == pytest.approx(2 / 11 + 3 * 9 / 11)
    assert model.frozen.tolist() == [7.0, 7.0]
    assert model.count.item() == 3
