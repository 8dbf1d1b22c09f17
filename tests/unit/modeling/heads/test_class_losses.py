"""Losses of classes against the formulas of their papers, in plain numpy."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from lst_cli.modeling.heads.class_losses import (
    BinaryLoss,
    ClassLoss,
    GumbelLoss,
    SeesawLoss,
    SigmoidLoss,
    SoftmaxLoss,
)
from lst_cli.phases.partial_labels import ALWAYS, IF_DRAWN, NEVER

pytestmark = pytest.mark.engine

COUNTS = [900, 40, 3, 1]
BACKGROUND = len(COUNTS)
CLASSES = torch.tensor([0, 2, BACKGROUND, 1, 0, BACKGROUND])


def logits_of(regions: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(regions, BACKGROUND + 1, generator=generator)
    return logits.double().requires_grad_(True)


Loss = TypeVar("Loss", bound=ClassLoss)


def counted(loss: Loss) -> Loss:
    loss.instances = torch.tensor(COUNTS)
    return loss


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    [found] = torch.autograd.grad(loss, logits)
    return found


def probabilities(loss: BinaryLoss, q: np.ndarray) -> np.ndarray:
    return np.exp(-np.exp(-q)) if isinstance(loss, GumbelLoss) else 1 / (1 + np.exp(-q))


BINARY = pytest.mark.parametrize("loss", [SigmoidLoss(2), GumbelLoss(2)], ids=["sigmoid", "gumbel"])
ALL = pytest.mark.parametrize(
    "loss",
    [SoftmaxLoss(), counted(SeesawLoss()), SigmoidLoss(2), GumbelLoss(2)],
    ids=["softmax", "seesaw", "sigmoid", "gumbel"],
)


@BINARY
def test_binary_losses_are_cross_entropies_of_each_class_alone(loss):
    logits = logits_of()
    p = probabilities(loss, logits.detach().numpy()[:, :-1])
    expected = 0.0
    for row, label in zip(p, CLASSES.tolist(), strict=True):
        for place, one in enumerate(row):
            expected -= np.log(one if place == label else 1 - one)
    found = loss.loss(logits.float(), CLASSES)
    assert found.item() == pytest.approx(expected / len(CLASSES), rel=1e-5)
    np.testing.assert_allclose(loss.scores(logits)[:, :-1].detach(), p, rtol=1e-5)


def test_seesaw_weighs_each_term_of_the_softmax_as_in_its_paper():
    logits = logits_of()
    z = logits.detach().numpy()
    expected = 0.0
    for row, label in zip(z, CLASSES.tolist(), strict=True):
        sigma = np.exp(row) / np.exp(row).sum()
        total = 0.0
        for place, one in enumerate(row):
            factor = 1.0
            if place != label and BACKGROUND not in (place, label):
                if COUNTS[label] > COUNTS[place]:
                    factor *= (COUNTS[place] / COUNTS[label]) ** 0.8
                if sigma[place] > sigma[label]:
                    factor *= (sigma[place] / max(sigma[label], 0.01)) ** 2
            total += factor * np.exp(one)
        expected -= row[label] - np.log(total)
    found = counted(SeesawLoss()).loss(logits, CLASSES)
    assert found.item() == pytest.approx(expected / len(CLASSES), rel=1e-5)


def test_the_softmax_is_detectron2s_cross_entropy_to_the_bit():
    logits = logits_of()
    expected = torch.nn.functional.cross_entropy(logits, CLASSES, reduction="mean")
    assert torch.equal(SoftmaxLoss().loss(logits, CLASSES), expected)
    assert torch.equal(SoftmaxLoss().scores(logits), torch.softmax(logits, dim=-1))


@BINARY
@pytest.mark.parametrize(
    ("known", "drawn", "pushes_down"),
    [(NEVER, 4, False), (IF_DRAWN, 0, False), (IF_DRAWN, 4, True), (ALWAYS, 0, True)],
)
def test_a_class_that_is_not_there_is_pushed_down_only_where_it_was_looked_for(
    loss, known, drawn, pushes_down
):
    loss = counted(type(loss)(drawn))
    logits = logits_of()
    negatives = torch.full((6, BACKGROUND), known)
    pushed = gradient(loss.loss(logits, CLASSES, negatives), logits)
    annotated = torch.nn.functional.one_hot(CLASSES, BACKGROUND + 1)[:, :-1] > 0
    assert (pushed[:, :-1][annotated] < 0).all()
    others = pushed[:, :3][~annotated[:, :3]]
    # Classes 0, 1 and 2 are those of regions, which count as drawn; class 3 is nobody's.
    assert (others > 0).all() == (known != NEVER)
    assert (pushed[:, 3] > 0).all() == pushes_down
    assert (pushed[:, 3] == 0).all() == (not pushes_down)
    assert (pushed[:, -1] == 0).all()


def test_frequent_classes_are_drawn_more_often_and_those_of_regions_always():
    loss = counted(SigmoidLoss(drawn=2))
    torch.manual_seed(0)
    times = torch.stack([loss._draw(torch.tensor([2, BACKGROUND])) for _ in range(2_000)]).sum(0)
    assert times[2] == 2_000
    expected = np.sqrt([900, 40, 1])
    np.testing.assert_allclose(times[[0, 1, 3]] / 2_000, expected / expected.sum(), atol=0.03)


def test_no_more_classes_are_drawn_than_there_are():
    assert counted(SigmoidLoss(drawn=50))._draw(torch.tensor([2])).all()


@pytest.mark.parametrize("classes", [0, 1, 2, 3])
def test_equal_counts_and_right_answers_make_the_seesaw_loss_a_softmax(classes):
    loss = SeesawLoss()
    loss.instances = torch.full((4,), 7)
    logits = torch.zeros(1, 5)
    logits[0, classes] = 3.0
    expected = SoftmaxLoss().loss(logits, torch.tensor([classes]))
    assert loss.loss(logits, torch.tensor([classes])).item() == pytest.approx(expected.item())


def test_the_seesaw_loss_spares_rare_classes_and_not_the_background():
    logits = torch.zeros(1, 5, requires_grad=True)
    pushed = gradient(counted(SeesawLoss()).loss(logits, torch.tensor([0])), logits)[0, 1:]
    assert pushed[3] > pushed[0] > pushed[1] > pushed[2] > 0


@BINARY
def test_distillation_is_zero_only_where_the_student_is_the_teacher(loss):
    logits = logits_of().float()
    equal = loss.distillation(logits, logits.detach())
    assert equal.item() == 0
    other = loss.distillation(logits, logits.detach() + 0.5)
    assert other.item() > 0.01
    p, q = (probabilities(loss, (logits + by).detach().numpy()) for by in (0.5, 0.0))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum() / 6
    assert other.item() == pytest.approx(expected, rel=1e-4)


@BINARY
def test_distillation_of_no_region_is_zero_with_a_gradient_of_zero(loss):
    student = torch.zeros(0, 3, requires_grad=True)
    found = loss.distillation(student, torch.zeros(0, 3))
    assert found.item() == 0
    assert gradient(found, student).shape == (0, 3)


@ALL
def test_no_region_gives_no_loss(loss):
    logits = torch.zeros(0, 5, requires_grad=True)
    found = counted(loss).loss(logits, torch.zeros(0, dtype=torch.int64))
    assert found.item() == 0
    assert gradient(found, logits).shape == (0, 5)
    assert loss.scores(logits).shape == (0, 5)


@ALL
def test_extreme_logits_have_finite_losses_and_gradients(loss):
    logits = (60 * torch.eye(5) - 30).requires_grad_(True)
    found = counted(loss).loss(logits, torch.tensor([0, 2, 1, 4, 3]))
    assert torch.isfinite(found)
    assert torch.isfinite(gradient(found, logits)).all()
    assert torch.isfinite(loss.scores(logits)).all()


def test_a_gumbel_logit_far_below_zero_can_still_rise():
    logits = torch.tensor([[-9.0, 0.0]], requires_grad=True)
    pushed = gradient(GumbelLoss(0).loss(logits, torch.tensor([0])), logits)
    assert pushed[0, 0].item() == pytest.approx(-np.exp(4), rel=1e-5)


@pytest.mark.parametrize(("loss", "score"), [(SigmoidLoss(0), 0.01), (GumbelLoss(0), 0.0006)])
def test_a_new_binary_classifier_finds_nothing(loss, score):
    scores = loss.scores(torch.full((1, 4), loss.first_bias))
    assert scores[0, 0].item() == pytest.approx(score, rel=0.05)


@ALL
def test_scores_of_new_classes_are_those_of_the_grown_classifier(loss):
    logits = logits_of().detach()
    new, old = logits[:, 2:4], logits[:, [0, 1, 4]]
    found = loss.log_scores(new, old.logsumexp(dim=1)).exp()
    np.testing.assert_allclose(found, loss.scores(logits)[:, 2:4], rtol=1e-5)
