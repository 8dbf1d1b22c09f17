from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from lst_cli.modeling.heads.mask_head import FcnMaskHead, TransferMaskHead

pytestmark = pytest.mark.engine

CLASSES, FEATURES, SIDE = 4, 10, 7


def make(mlp_input: Any, mlp_hidden: int = 0, convolutions: int = 2) -> TransferMaskHead:
    torch.manual_seed(0)
    head = TransferMaskHead(
        ShapeSpec(channels=6, height=SIDE, width=SIDE),
        row_features=FEATURES,
        mlp_input=mlp_input,
        mlp_hidden=mlp_hidden,
        conv_dims=[5] * (convolutions + 1),
    )
    with torch.no_grad():  # detectron2 starts biases at zero, where a mix-up would not show
        for name, parameter in head.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return head


def dense_logits(head: TransferMaskHead, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """All K masks of all regions, shape (R, K, 2H, 2H), written down as the method says it."""
    state = head.state_dict()
    number = 1
    while f"mask_fcn{number}.weight" in state:
        name = f"mask_fcn{number}"
        x = F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
        number += 1
    up = F.relu(F.conv_transpose2d(x, state["deconv.weight"], state["deconv.bias"], stride=2))
    hidden = F.leaky_relu(rows @ state["transfer.0.weight"].T + state["transfer.0.bias"], 0.01)
    weights = F.leaky_relu(hidden @ state["transfer.2.weight"].T + state["transfer.2.bias"], 0.01)
    logits = F.conv2d(up, weights[:, :, None, None])
    if head.mlp_input != "none":
        flat = (up if head.mlp_input == "deconv" else x).flatten(1)
        flat = flat @ state["mlp.1.weight"].T + state["mlp.1.bias"]
        if "mlp.3.weight" in state:
            flat = F.relu(flat) @ state["mlp.3.weight"].T + state["mlp.3.bias"]
        logits = logits + flat.view(-1, 1, 2 * SIDE, 2 * SIDE)
    return logits


def regions(*classes: int) -> Instances:
    instances = Instances((64, 64))
    boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 40.0]] * len(classes)).reshape(-1, 4))
    instances.proposal_boxes = instances.pred_boxes = boxes
    instances.gt_classes = instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.rand(len(classes), 64, 64) > 0.5)
    return instances


@pytest.mark.parametrize("convolutions", [0, 2])
@pytest.mark.parametrize(
    ("mlp_input", "hidden"),
    [("deconv", 0), ("deconv", 3), ("conv", 0), ("conv", 3), ("none", 0)],
)
@torch.no_grad()
def test_masks_are_those_of_the_dense_definition(mlp_input, hidden, convolutions):
    head = make(mlp_input, hidden, convolutions)
    x, rows = torch.randn(5, 6, SIDE, SIDE), torch.randn(CLASSES, FEATURES)
    classes = torch.tensor([3, 0, 0, 2, 1])
    dense = dense_logits(head, x, rows)
    logits = head.mask_logits(x, classes, rows)
    assert logits.shape == (5, 1, 2 * SIDE, 2 * SIDE)
    torch.testing.assert_close(logits[:, 0], dense[torch.arange(5), classes])


def test_the_mask_loss_reaches_the_rows_of_its_classes_and_no_others():
    head = make("deconv").train()
    rows = torch.randn(CLASSES, FEATURES, requires_grad=True)
    with EventStorage():
        losses = head(torch.randn(3, 6, SIDE, SIDE), [regions(1, 3), regions(1)], rows)
    assert isinstance(losses, dict)
    losses["loss_mask"].backward()
    assert rows.grad is not None
    assert (rows.grad.abs().sum(1) > 0).tolist() == [False, True, False, True]


@pytest.mark.parametrize("mlp_input", ["deconv", "conv", "none"])
def test_without_regions_the_loss_is_zero_with_a_gradient(mlp_input):
    head = make(mlp_input).train()
    rows = torch.randn(CLASSES, FEATURES, requires_grad=True)
    with EventStorage():
        losses = head(torch.zeros(0, 6, SIDE, SIDE), [regions()], rows)
    assert isinstance(losses, dict)
    assert losses["loss_mask"].item() == 0.0
    losses["loss_mask"].backward()
    assert rows.grad is not None
    assert not rows.grad.any()


@torch.no_grad()
def test_inference_adds_the_mask_of_the_predicted_class():
    head = make("deconv").eval()
    x, rows = torch.randn(3, 6, SIDE, SIDE), torch.randn(CLASSES, FEATURES)
    found = [regions(2), regions(), regions(0, 3)]
    head(x, found, rows)
    dense = dense_logits(head, x, rows).sigmoid()
    assert [len(i.pred_masks) for i in found] == [1, 0, 2]
    torch.testing.assert_close(found[0].pred_masks[0, 0], dense[0, 2])
    torch.testing.assert_close(found[2].pred_masks[:, 0], dense[[1, 2], [0, 3]])
    nothing = regions()
    head(torch.zeros(0, 6, SIDE, SIDE), [nothing], rows)
    assert len(nothing.pred_masks) == 0


def test_many_regions_of_few_classes_give_the_same_gradient_again_with_several_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        head = make("none").train()
        rows = torch.randn(8, FEATURES, requires_grad=True)
        x, classes = torch.randn(4000, 6, SIDE, SIDE), torch.randint(0, 8, (4000,))
        proposals = regions(*classes.tolist())
        gradients: set[Any] = set()
        for _ in range(4):
            rows.grad = None
            with EventStorage():
                head(x, [proposals], rows)["loss_mask"].backward()
            assert rows.grad is not None
            gradients.add(rows.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1


# --- Mask R-CNN's own ----------------------------------------------------------------------------

NO_ROWS = torch.zeros(CLASSES, 0)


def pair() -> tuple[FcnMaskHead, MaskRCNNConvUpsampleHead]:
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


def test_losses_and_gradients_are_detectron2s():
    ours, theirs = pair()
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
def test_masks_are_detectron2s():
    ours, theirs = (head.eval() for head in pair())
    x = torch.randn(3, 6, SIDE, SIDE)
    mine, other = ([regions(0, 2), regions(), regions(3)] for _ in range(2))
    ours(x, mine, NO_ROWS)
    theirs(x, other)
    for one, two in zip(mine, other, strict=True):
        assert one.pred_masks.shape == (len(one), 1, 2 * SIDE, 2 * SIDE)
        torch.testing.assert_close(one.pred_masks, two.pred_masks)
