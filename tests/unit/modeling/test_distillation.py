from __future__ import annotations

import torch

from lst_cli.modeling.distillation import distillation_loss


def test_squares_are_summed_over_classes_and_averaged_over_boxes():
    student = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    # (1 + 0.25) for the first box, (1 + 1) for the second.
    assert distillation_loss(student, teacher).item() == (1.25 + 2.0) / 2


def test_equal_models_have_no_loss():
    cosines = torch.rand(4, 3)
    assert distillation_loss(cosines, cosines.clone()).item() == 0.0


def test_without_boxes_the_loss_is_zero_with_a_gradient():
    student = torch.zeros(0, 3, requires_grad=True)
    loss = distillation_loss(student, torch.zeros(0, 3))
    assert loss.item() == 0.0
    loss.backward()
    assert student.grad is not None
    assert student.grad.shape == (0, 3)


def test_the_teacher_gets_no_gradient():
    student = torch.tensor([[0.5]], requires_grad=True)
    teacher = torch.tensor([[0.1]], requires_grad=True)
    distillation_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([[0.8]]))
