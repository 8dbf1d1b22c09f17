from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from lst_cli.modeling.heads.roi_heads import FUTURE
from lst_cli.modeling.rcnn import LstRPN

pytestmark = pytest.mark.engine

SEEN, LATER, SMALL = [4.0, 6.0, 40.0, 42.0], [24.0, 10.0, 60.0, 46.0], [50.0, 50.0, 54.0, 53.0]
BACKGROUND_IOU = 0.3


def targets(labels: list[int], boxes: list[list[float]]) -> Instances:
    one = Instances((64, 64))
    one.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    one.gt_labels = torch.tensor(labels, dtype=torch.int64)
    return one


@pytest.fixture
def network(five: Any) -> Any:
    """The proposal network; by default it uses every anchor there is."""
    network = five.proposal_generator
    network.batch_size_per_image, network.positive_fraction = 10_000, 1.0
    return network


@pytest.fixture
def anchors(five: Any) -> list[Boxes]:
    features = five.backbone(torch.zeros(1, 3, 64, 64))
    network = five.proposal_generator
    found: list[Boxes] = network.anchor_generator([features[name] for name in network.in_features])
    return found


def label(network: Any, anchors: list[Boxes], found: list[Instances], by: Any = LstRPN) -> Any:
    torch.manual_seed(3)
    return by.label_and_sample_anchors(network, anchors, found)


def overlaps(anchors: list[Boxes], box: list[float]) -> torch.Tensor:
    iou: torch.Tensor = pairwise_iou(Boxes(torch.tensor([box])), Boxes.cat(anchors))[0]
    return iou


def test_the_network_has_it(five):
    assert type(five.proposal_generator) is LstRPN


@pytest.mark.parametrize("used", [16, 10_000])
def test_without_objects_of_the_future_labels_are_detectron2s(network, anchors, used):
    network.batch_size_per_image = used
    plain = targets([0, 3], [SEEN, LATER])
    plain.remove("gt_labels")
    for batch in ([targets([0, 3], [SEEN, LATER]), targets([], [])], [plain]):
        ours, theirs = (label(network, anchors, batch, by) for by in (LstRPN, RPN))
        for mine, other in zip(ours, theirs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert (ours[0][0] == 1).any()


@pytest.mark.parametrize("later", [LATER, SMALL], ids=["large", "small"])
def test_an_anchor_on_an_object_of_the_future_is_never_background(network, anchors, later):
    [ours], _ = label(network, anchors, [targets([2, FUTURE], [SEEN, later])])
    [unaware], _ = label(network, anchors, [targets([2], [SEEN])], RPN)
    iou = overlaps(anchors, later)
    # The best anchor would be a positive of a known object, however little it overlaps.
    on_it = (iou >= BACKGROUND_IOU) | (iou == iou.max())
    assert (unaware[on_it] == 0).any(), "nothing to be taken out proves nothing"
    assert not (ours[on_it] == 0).any()
    assert torch.equal(ours[~on_it], unaware[~on_it])
    assert torch.equal(ours[unaware != 0], unaware[unaware != 0])


def test_labels_and_boxes_of_seen_objects_are_detectron2s(network, anchors):
    network.batch_size_per_image = 16
    # The object of the future comes first: what is matched is no place in the whole list.
    [ours], [boxes] = label(network, anchors, [targets([FUTURE, 2], [LATER, SEEN])])
    [theirs], [expected] = label(network, anchors, [targets([2], [SEEN])], RPN)
    assert torch.equal(ours == 1, theirs == 1)
    assert (ours == 1).any()
    assert torch.equal(boxes, expected)
    assert boxes[ours == 1].unique(dim=0).tolist() == [SEEN]


def test_an_image_of_nothing_but_the_future_has_background_elsewhere_and_no_object(
    network, anchors
):
    [first, second], boxes = label(
        network, anchors, [targets([FUTURE], [LATER]), targets([1], [SEEN])]
    )
    on_it = overlaps(anchors, LATER) >= BACKGROUND_IOU
    assert (first[on_it] == -1).all()
    assert (first[~on_it] == 0).all()
    assert len(boxes[0]) == len(first)
    [alone], _ = label(network, anchors, [targets([1], [SEEN])], RPN)
    assert torch.equal(second, alone)  # another image's future is not its own


def test_such_images_train(five, make_batch):
    batch = make_batch((-1, -1), (2, -1), labels=(FUTURE, FUTURE))
    batch[1]["instances"].gt_labels[0] = 2
    with EventStorage():
        losses = five.losses(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in five.parameters() if p.grad is not None)
    assert losses["loss_rpn_loc"] > 0
