"""The sum over parts of a batch is the batch: losses, gradients, kept features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage

from lst_cli.engine.optim import freeze
from lst_cli.modeling.distillation import Teacher
from lst_cli.modeling.parts import Counts, Part

pytestmark = pytest.mark.engine


@pytest.fixture
def batch(make_batch):
    """Four images, the last of which is larger and has no object that counts."""
    items = [*make_batch((0, 1), (5, 2), (6, 5)), *make_batch((-1, -1), side=96)]
    return [{**item, "position": 40 + place} for place, item in enumerate(items)]


@pytest.fixture
def student(first, make_model) -> tuple[Any, Teacher]:
    """A model of seven classes, and a teacher of five."""
    kind = {"class_loss": ("softmax", "sigmoid")[first - 1]}
    previous, student = make_model(5, seed=1, model=kind), make_model(7, rois=8, model=kind)
    return student, Teacher(previous.backbone, previous.roi_heads, student.backbone)


def losses_and_gradients(
    model: Any, teacher: Teacher, parts: list[list[dict[str, Any]]], counts: list[Counts]
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Sums over the parts of a batch, whose counts are the first."""

    def whole(own: Counts) -> Counts:
        counts.append(own)
        return counts[0]

    sums: dict[str, float] = {}
    model.zero_grad()
    for seed, part in enumerate(parts):
        torch.manual_seed(seed)  # what torch would draw does not matter
        with EventStorage():
            losses = model.losses(part, teacher, part=Part((3, 1), (96, 96), whole))
        torch.stack([*losses.values()]).sum().backward()
        sums = {name: sums.get(name, 0.0) + loss.item() for name, loss in losses.items()}
    return sums, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("first", [1, 2])
def test_losses_and_gradients_of_parts_add_up_to_those_of_the_batch(student, batch, first):
    model, teacher = student
    freeze(model, ["backbone.bottom_up"])
    counts: list[Counts] = []
    whole, gradients = losses_and_gradients(model, teacher, [batch], counts)
    sums, summed = losses_and_gradients(model, teacher, [batch[:first], batch[first:]], counts)
    assert set(whole) == {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask",
                          "loss_distill"}  # fmt: skip
    assert all(whole.values())
    assert sums == pytest.approx(whole, rel=1e-5)
    assert Counts(*map(sum, zip(*counts[1:], strict=True))) == counts[0]
    assert summed.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(summed[name], gradient, rtol=1e-3, atol=1e-5, msg=name)
