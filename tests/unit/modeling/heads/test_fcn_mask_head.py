from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from lst_cli.modeling.heads.fcn_mask_head import FcnMaskHead

pytestmark = pytest.mark.engine

CLASSES, SIDE = 4, 7
NO_ROWS = torch.zeros(CLASSES, 0)


def make() -> tuple[FcnMaskHead, MaskRCNNConvUpsampleHead]:
    """Our head and detectron2's with the same weights."""
    torch.manual_seed(0)
    shape = ShapeSpec(channels=6, height=SIDE, width=SIDE)
    ours = FcnMaskHead(shape, classes=CLASSES, conv_dims=[5, 5])
    theirs = MaskRCNNConvUpsampleHead(shape, num_classes=CLASSES, conv_dims=[5, 5])
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def regions(*classes: int) -> Instances:
    instances = Instances((64, 64))
    boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 40.0]] * len(classes)).reshape(-1, 4))
    instances.proposal_boxes = instances.pred_boxes = boxes
    instances.gt_classes = instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.rand(len(classes), 64, 64) > 0.5)
    return instances


def test_losses_and_gradients_are_detectron2s() -> None:
    ours, theirs = make()
    x, targets = torch.randn(3, 6, SIDE, SIDE), [regions(1, 3), regions(1)]
    with EventStorage():
        mine = ours(x, targets, NO_ROWS)["loss_mask"]
        other = theirs(x, targets)["loss_mask"]
    torch.testing.assert_close(mine, other)
    mine.backward()
    other.backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)
    touched = ours.predictor.weight.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert touched.tolist() == [False, True, False, True]


@torch.no_grad()
def test_masks_are_detectron2s() -> None:
    ours, theirs = (head.eval() for head in make())
    x = torch.randn(3, 6, SIDE, SIDE)
    mine, other = [regions(0, 2), regions(3)], [regions(0, 2), regions(3)]
    ours(x, mine, NO_ROWS)
    theirs(x, other)
    for one, two in zip(mine, other, strict=True):
        assert one.pred_masks.shape == (len(one), 1, 2 * SIDE, 2 * SIDE)
        torch.testing.assert_close(one.pred_masks, two.pred_masks)


def test_no_regions_have_no_masks_and_a_loss_of_zero() -> None:
    head, _ = make()
    nothing = torch.zeros(0, 6, SIDE, SIDE)
    with EventStorage():
        loss = head(nothing, [regions()], NO_ROWS)["loss_mask"]
    assert loss.item() == 0.0
    loss.backward()
    found = regions()
    with torch.no_grad():
        head.eval()(nothing, [found], NO_ROWS)
    assert found.pred_masks.shape[0] == 0
