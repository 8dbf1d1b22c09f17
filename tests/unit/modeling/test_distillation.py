from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage

from lst_cli.engine.optim import freeze
from lst_cli.modeling.distillation import Teacher, distillation_loss
from lst_cli.modeling.grow import grow_state, random_rows
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.rcnn import capture_outputs

pytestmark = pytest.mark.engine

FROZEN = {
    "whole backbone shared": ("backbone",),
    "bottom-up shared": ("backbone.bottom_up",),
    "nothing shared": (),
}


@pytest.fixture(params=FROZEN)
def pair(
    request: pytest.FixtureRequest, five: Any, make_model: Callable[..., Any]
) -> tuple[Any, Any, Teacher, str]:
    """A previous model, its grown student, and the teacher between them."""
    generator = torch.Generator().manual_seed(0)
    student = make_model(8, seed=9)
    rows = random_rows(3, 32, 0.01, generator)
    student.load_state_dict(
        grow_state(five.state_dict(), rows, generator, class_agnostic_boxes=True)
    )
    freeze(student, FROZEN[request.param])
    return five, student, Teacher(five.backbone, five.roi_heads, student.backbone), request.param


@torch.no_grad()
def of_previous(previous: Any, batch: list[dict[str, Any]]) -> torch.Tensor:
    features = previous.backbone(previous.preprocess_image(batch).tensor)
    region = previous.roi_heads.box_features(features, [b["instances"].gt_boxes for b in batch])
    return cosines(region, previous.roi_heads.box_predictor.cls_score.weight[:-1])


@torch.no_grad()
def of_teacher(teacher: Teacher, student: Any, batch: list[dict[str, Any]]) -> torch.Tensor:
    images = student.preprocess_image(batch).tensor
    with capture_outputs(student.backbone.bottom_up) as bottom_up:
        features = student.backbone(images)
    boxes = [b["instances"].gt_boxes for b in batch]
    found: torch.Tensor = teacher(images, bottom_up, features, boxes)
    return found


def test_the_teacher_equals_the_frozen_previous_model_also_while_the_student_learns(
    pair, make_batch
):
    previous, student, teacher, kind = pair
    batch = make_batch((5, 1), (2, 7))
    expected = of_previous(previous, batch)
    assert torch.equal(of_teacher(teacher, student, batch), expected)

    features = student.backbone(student.preprocess_image(batch).tensor)["p4"].detach()
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.01)
    with EventStorage():
        for _ in range(3):
            optimizer.zero_grad()
            sum(student.losses(batch, teacher).values()).backward()
            optimizer.step()
    moved = student.backbone(student.preprocess_image(batch).tensor)["p4"]
    assert torch.equal(features, moved) is (kind == "whole backbone shared")
    assert not torch.equal(of_previous(student, batch)[:, :5], expected)  # it did learn

    assert torch.equal(of_teacher(teacher, student, batch), expected)
    # It keeps nothing of the previous model, which may change.
    with torch.no_grad():
        for parameter in previous.parameters():
            parameter.zero_()
    assert torch.equal(of_teacher(teacher, student, batch), expected)


def test_the_teacher_copies_what_the_student_trains_and_is_neither_trained_nor_part_of_it(
    pair, make_batch
):
    _, student, teacher, kind = pair
    names = [name for name, _ in teacher.named_parameters()]
    assert any("backbone.fpn" in name for name in names) is (kind != "whole backbone shared")
    assert any("backbone.bottom_up" in name for name in names) is (kind == "nothing shared")
    before = list(student.state_dict())
    with EventStorage():
        sum(student.losses(make_batch((5, 1)), teacher).values()).backward()
    assert list(student.state_dict()) == before
    own = {id(parameter) for parameter in student.parameters()}
    for parameter in teacher.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None
        assert id(parameter) not in own
    assert not teacher.training


def test_making_a_teacher_leaves_the_previous_model_as_it_was(five):
    before = deepcopy(five.state_dict())
    trained = [parameter.requires_grad for parameter in five.parameters()]
    student = deepcopy(five.backbone)
    freeze(student, ["bottom_up"])
    Teacher(five.backbone, five.roi_heads, student)
    assert [parameter.requires_grad for parameter in five.parameters()] == trained
    assert all(torch.equal(before[name], tensor) for name, tensor in five.state_dict().items())
    assert type(five.backbone.bottom_up).__name__ == "EfficientNetLite"
    assert five.training


def test_captured_outputs_are_those_that_are_returned_and_no_hook_stays(five):
    network = five.backbone.bottom_up
    with capture_outputs(network) as outputs:
        given = network(torch.zeros(1, 3, 32, 32))
    assert outputs.keys() == given.keys()
    assert all(outputs[name] is given[name] for name in given)
    with pytest.raises(ZeroDivisionError), capture_outputs(network):
        _ = 1 / 0
    assert not network._forward_hooks
    network(torch.ones(1, 3, 32, 32))
    assert outputs["stride32"] is given["stride32"]


def test_only_the_first_classes_are_compared_where_so_many_are_given(five, make_model, make_batch):
    student = make_model(5, seed=9)
    batch = make_batch((0, 1))

    def loss(classes: int | None) -> Any:
        teacher = Teacher(
            five.backbone, five.roi_heads, student.backbone, regions="sampled", classes=classes
        )
        torch.manual_seed(0)  # of the regions that are sampled
        with EventStorage():
            return student.losses(batch, teacher)["loss_distill"].item()

    assert loss(None) == loss(5) > loss(2) > loss(0) == 0.0


# --- the loss ------------------------------------------------------------------------------------


def test_squares_are_summed_over_classes_and_averaged_over_boxes():
    student = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    # (1 + 0.25) for the first box, (1 + 1) for the second.
    assert distillation_loss(student, teacher).item() == (1.25 + 2.0) / 2


def test_without_boxes_the_loss_is_zero_with_a_gradient_and_the_teacher_has_none():
    nothing = torch.zeros(0, 3, requires_grad=True)
    loss = distillation_loss(nothing, torch.zeros(0, 3))
    assert loss.item() == 0.0
    loss.backward()
    assert nothing.grad is not None
    student, teacher = (torch.tensor([[x]], requires_grad=True) for x in (0.5, 0.1))
    distillation_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([[0.8]]))
