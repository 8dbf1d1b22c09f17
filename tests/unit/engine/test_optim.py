from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lst_cli.engine.optim import (
    build_optimizer,
    freeze,
    lr_factor,
    set_lr,
)
from lst_cli.errors import LstError
from lst_cli.settings.models import BaseSettings, StepSettings

pytestmark = pytest.mark.engine


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "bottom_up": nn.Linear(2, 2),
                "fpn": nn.Linear(2, 2),
                "bottom_up_side": nn.Linear(2, 2),
            }
        )
        self.heads = nn.Linear(2, 2)


def groups_of(model: nn.Module, **settings: Any) -> dict[str, dict[str, Any]]:
    """Options of each trained parameter by its name."""
    optimizer = build_optimizer(model, BaseSettings(**settings))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group) for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(dict(found))  # each once
    return dict(found)


def test_freezing_stops_what_begins_with_a_prefix_and_nothing_else() -> None:
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


def test_a_prefix_that_fits_nothing_is_named_with_the_ones_that_exist() -> None:
    with pytest.raises(LstError, match=r"'backbon\.fpn'") as caught:
        freeze(Network(), ["backbone.fpn", "backbon.fpn"])
    assert caught.value.hint is not None
    assert "backbone.bottom_up" in caught.value.hint
    assert "heads.weight" in caught.value.hint


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", "SGD"), ("adamw", "AdamW")])
def test_biases_and_the_bottom_up_network_have_their_own_rates(optimizer: str, kind: str) -> None:
    groups = groups_of(
        Network(),
        optimizer=optimizer,
        lr=0.1,
        weight_decay=0.01,
        bias_lr_factor=2.0,
        bias_weight_decay=0.0,
        backbone_lr_factor=0.5,
    )
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
    assert type(build_optimizer(Network(), BaseSettings(optimizer=optimizer))).__name__ == kind


def test_momentum_is_sgds() -> None:
    assert groups_of(Network(), momentum=0.7)["heads.weight"]["momentum"] == 0.7
    assert groups_of(Network())["heads.weight"]["momentum"] == 0.9


def test_the_papers_base_phase_divides_by_ten_after_epochs_6_and_8() -> None:
    schedule = BaseSettings(warmup_iterations=0)
    factors = [lr_factor(i, 1000, schedule) for i in range(1000)]
    assert factors == [1.0] * 600 + [0.1] * 200 + [0.01] * 200


def test_later_phases_divide_once() -> None:
    schedule = StepSettings(warmup_iterations=0)
    assert [lr_factor(i, 10, schedule) for i in range(10)] == [1.0] * 6 + [0.1] * 4


def test_warm_up_rises_in_a_line_from_its_factor_to_one() -> None:
    schedule = BaseSettings(warmup_iterations=4, warmup_factor=0.2)
    factors = [lr_factor(i, 100, schedule) for i in range(6)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_warm_up_takes_a_quarter_of_a_phase_at_most() -> None:
    schedule = BaseSettings(warmup_iterations=500, warmup_factor=0.5)
    factors = [lr_factor(i, 8, schedule) for i in range(8)]
    assert factors == pytest.approx([0.5, 0.75, 1, 1, 1, 0.1, 0.01, 0.01])
    assert lr_factor(0, 1, schedule) == 1.0


def test_decay_also_holds_where_warm_up_has_not_ended() -> None:
    schedule = BaseSettings(epochs=10, decay_epochs=(1.0,), warmup_iterations=20, warmup_factor=0.5)
    assert lr_factor(10, 100, schedule) == pytest.approx(0.075)


def test_setting_the_rate_keeps_the_ratios_and_is_no_product_of_products() -> None:
    optimizer = torch.optim.SGD(
        [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1, 2)]
    )
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    for _ in range(3):
        set_lr(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]
