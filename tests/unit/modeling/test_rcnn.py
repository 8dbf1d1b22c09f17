from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.utils.events import EventStorage

from lst_cli.modeling.distillation import Teacher
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.heads.roi_heads import FUTURE, IGNORED

pytestmark = pytest.mark.engine


def losses_of(call: Callable[[], Any]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    with EventStorage():
        losses: dict[str, torch.Tensor] = call()
    return losses


def test_without_a_teacher_the_losses_are_detectron2s(five, make_batch):
    batch = make_batch((0, 1), (2, 3))
    ours = losses_of(lambda: five.losses(batch))
    theirs = losses_of(lambda: five(batch))
    assert ours.keys() == theirs.keys()
    assert {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"} == set(ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


REGIONS = ("new", "seen", "sampled")


def distilled(
    student: Any, previous: Any, batch: list[dict[str, Any]], **options: Any
) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Losses of a batch, and the regions that its heads were trained on."""
    teacher = Teacher(previous.backbone, previous.roi_heads, student.backbone, **options)
    sampled: list[Any] = []
    handle = student.roi_heads.register_forward_hook(
        lambda _, __, output: sampled.extend(one.proposal_boxes for one in output[0])
    )
    losses = losses_of(lambda: student.losses(batch, teacher))
    handle.remove()
    return losses, sampled


def predicted(model: Any, batch: list[dict[str, Any]], boxes: list[Any]) -> Any:
    """Cosines of boxes with all rows."""
    features = model.backbone(model.preprocess_image(batch).tensor)
    region = model.roi_heads.box_features(features, boxes)
    return cosines(region, model.roi_heads.box_predictor.cls_score.weight)


@pytest.mark.parametrize("regions", REGIONS)
def test_the_chosen_regions_are_distilled_and_no_other_loss_depends_on_them(
    make_model, make_batch, regions
):
    student, previous = make_model(5, seed=1), make_model(3, seed=2)
    batch = make_batch((3, 1), (IGNORED, 4), (IGNORED, IGNORED))
    batch[1]["instances"].gt_labels[0] = 2  # an old object that does not count
    batch[2]["instances"].gt_labels[0] = 4  # a new one that does not count, and a later one
    assert batch[2]["instances"].gt_labels.tolist() == [4, FUTURE]
    plain = losses_of(lambda: student.losses(batch))
    losses, sampled = distilled(student, previous, batch, regions=regions, weight=0.5)
    assert losses.keys() - plain.keys() == {"loss_distill"}
    assert all(torch.equal(losses[name], plain[name]) for name in plain)
    chosen = {"new": ([0], [1], [0]), "seen": ([0, 1], [0, 1], [0])}
    boxes = sampled
    if regions != "sampled":
        boxes = [
            one["instances"].gt_boxes[places]
            for one, places in zip(batch, chosen[regions], strict=True)
        ]
    count = sum(len(one) for one in boxes)
    assert count == {"new": 3, "seen": 5}.get(regions, count) > 0
    ours, theirs = predicted(student, batch, boxes), predicted(previous, batch, boxes)
    cosine = (ours[:, :3] - theirs[:, :3]).square().sum() / count
    torch.testing.assert_close(losses["loss_distill"], 0.5 * cosine)


def test_distillation_reaches_old_rows_and_neither_new_ones_nor_the_background(
    make_model, make_batch
):
    student, previous = make_model(5, seed=1), make_model(3, seed=2)
    losses, _ = distilled(student, previous, make_batch((3, 1)))
    losses["loss_distill"].backward()
    gradient = student.roi_heads.box_predictor.cls_score.weight.grad
    assert (gradient.abs().sum(1) > 0).tolist() == [True, True, True, False, False, False]
    assert student.roi_heads.box_predictor.cls_score.scale.grad is None


def test_a_batch_without_new_classes_distils_nothing_and_trains(five, make_model, make_batch):
    losses, _ = distilled(five, make_model(3), make_batch((0, IGNORED), (2, 1)))
    assert losses["loss_distill"].item() == 0.0
    torch.stack(list(losses.values())).sum().backward()


def test_an_image_without_any_object_trains(five, make_batch):
    batch = make_batch((0, 1))
    empty = batch[0]["instances"][torch.zeros(2, dtype=torch.bool)]
    empty.remove("gt_masks")  # as the mapper makes it
    losses = losses_of(lambda: five.losses([{**batch[0], "instances": empty}]))
    assert losses["loss_mask"].item() == losses["loss_box_reg"].item() == 0.0
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in five.parameters() if p.grad is not None)


def test_an_object_that_does_not_count_adds_to_no_head_loss_as_positive(five, make_batch):
    losses = losses_of(lambda: five.losses(make_batch((IGNORED, IGNORED), labels=(0, 1))))
    assert losses["loss_mask"].item() == losses["loss_box_reg"].item() == 0.0
    assert losses["loss_rpn_loc"].item() > 0


@torch.no_grad()
def test_it_detects_what_detectron2_does_but_leaves_masks_small(five, make_batch):
    batch = [{**one, "height": 90, "width": 70} for one in make_batch((0, 1), (2, 3))]
    five.eval()
    assert five.classes == 5
    five.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.2)
    ours, theirs = five.detect(batch), [one["instances"] for one in five(batch)]
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert 0 < len(one) == len(other)
        assert one.image_size == other.image_size == (90, 70)
        torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor)
        torch.testing.assert_close(one.scores, other.scores)
        assert torch.equal(one.pred_classes, other.pred_classes)
        assert one.box_masks.shape == (len(one), 28, 28)
        assert not one.has("pred_masks")
        drawn = paste_masks_in_image(one.box_masks, one.pred_boxes, (90, 70), threshold=0.5)
        assert torch.equal(drawn, other.pred_masks)
        assert drawn.any()
