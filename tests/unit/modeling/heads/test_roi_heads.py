from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks, pairwise_iou
from detectron2.utils.events import EventStorage

from lst_cli.modeling.heads.roi_heads import IGNORED, LstROIHeads

pytestmark = pytest.mark.engine

# Two overlapping objects; in the entry at hand the second does not count.
COUNTS, OTHER = [10.0, 10.0, 50.0, 50.0], [30.0, 12.0, 72.0, 56.0]
BACKGROUND = 5


def as_set(boxes: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(box) for box in boxes.tolist()}


def test_regions_on_an_object_that_does_not_count_are_neither_positive_nor_background(make_model):
    # Boxes on, near and between both objects, and anywhere.
    rng = np.random.default_rng(0)
    mixed = [
        np.array(COUNTS) * (1 - t) + np.array(OTHER) * t + rng.normal(0, 4, (60, 4))
        for t in (0.0, 0.3, 0.5, 0.7, 1.0)
    ]
    corners = np.sort(rng.uniform(0, 96, (100, 2, 2)), axis=1).reshape(-1, 4)
    regions = torch.from_numpy(np.concatenate([*mixed, corners]).astype(np.float32))
    proposals, objects = Instances((96, 96)), Boxes(torch.tensor([COUNTS, OTHER]))
    proposals.proposal_boxes = Boxes(regions)
    proposals.objectness_logits = torch.zeros(len(regions))
    annotated = Instances((96, 96), gt_boxes=objects, gt_classes=torch.tensor([2, IGNORED]))
    with EventStorage():
        heads = make_model(5, rois=100_000).roi_heads  # room for all
        [chosen] = heads.label_and_sample_proposals([proposals], [annotated])
    boxes, labels = chosen.proposal_boxes.tensor.numpy(), chosen.gt_classes.numpy()

    # The ground-truth boxes themselves are regions too.
    candidates = Boxes.cat([proposals.proposal_boxes, objects])
    everything, overlap = candidates.tensor.numpy(), pairwise_iou(candidates, objects).numpy()
    positive = everything[(overlap[:, 0] >= 0.5) & (overlap[:, 0] > overlap[:, 1])]
    negative = everything[overlap.max(1) < 0.5]
    on_other = everything[(overlap[:, 1] >= 0.5) & (overlap[:, 1] > overlap[:, 0])]
    assert min(len(positive), len(negative), len(on_other)) > 20
    assert as_set(boxes[labels == 2]) == as_set(positive)
    assert as_set(boxes[labels == BACKGROUND]) == as_set(negative)
    assert set(labels.tolist()) == {2, BACKGROUND}
    assert not as_set(boxes) & as_set(on_other)


def test_features_of_boxes_are_fc7_before_its_relu(five, make_batch):
    batch = make_batch((0, 1), (2, 3))
    features = five.backbone(five.preprocess_image(batch).tensor)
    boxes = [item["instances"].gt_boxes for item in batch]
    region = five.roi_heads.box_features(features, boxes)
    head = five.roi_heads.box_head
    maps = [features[name] for name in five.roi_heads.box_in_features]
    pooled = five.roi_heads.box_pooler(maps, boxes).flatten(1)
    expected = head.fc2(head.fc1(pooled).relu())
    torch.testing.assert_close(region, expected)
    assert (region < 0).any()
    assert region.shape == (4, 32)
    assert five.roi_heads.box_features(features, [boxes[0][:0], boxes[1][:0]]).shape == (0, 32)


def test_boxes_are_not_rounded_to_the_precision_of_the_features(five):
    # In half precision the edges would lie on whole pixels.
    boxes = [Boxes(torch.tensor([[1100.3, 1030.4, 1180.6, 1110.7]]))]
    heads = five.roi_heads
    half = {
        name: torch.rand(1, 16, 1280 // stride, 1280 // stride).bfloat16()
        for name, stride in zip(heads.box_in_features, (8, 16, 32), strict=True)
    }
    single = {name: one.float() for name, one in half.items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(heads.pooled_boxes(half, boxes), heads.pooled_boxes(single, boxes))
    maps = [half[name] for name in heads.mask_in_features]
    assert heads.mask_pooler(maps, boxes).dtype == torch.float32


@pytest.mark.parametrize("kind", [PolygonMasks, BitMasks])
def test_polygons_are_copied_for_foreground_alone_bitmaps_never_and_losses_are_detectron2s(
    five, make_batch, monkeypatch, kind
):
    batch, copied = make_batch((0, 1), (2, IGNORED)), []
    for one in batch:
        [[lower], [upper]] = one["instances"].gt_masks.polygons
        triangles = PolygonMasks([[lower[:6]], [upper[2:]]])
        bitmaps = BitMasks.from_polygon_masks(triangles, 64, 64)
        one["instances"].gt_masks = triangles if kind is PolygonMasks else bitmaps
    targets = [one["instances"] for one in batch]
    proposals = []
    for one in targets:
        boxes = one.gt_boxes.tensor.repeat(10, 1)
        boxes = boxes + 3 * torch.randn(boxes.shape, generator=torch.Generator().manual_seed(0))
        logits = torch.zeros(len(boxes))
        proposals.append(Instances((64, 64), proposal_boxes=Boxes(boxes), objectness_logits=logits))
    images = five.preprocess_image(batch)
    features = five.backbone(images.tensor)
    get = kind.__getitem__
    monkeypatch.setattr(kind, "__getitem__", lambda *of: copied.append(len(of[1])) or get(*of))
    found = []
    for heads in (LstROIHeads, StandardROIHeads):
        sample = heads.label_and_sample_proposals
        monkeypatch.setattr(LstROIHeads, "label_and_sample_proposals", sample)
        copied.clear()
        torch.manual_seed(0)
        with EventStorage():
            sampled, losses = five.roi_heads(images, features, proposals, targets)
        foreground = sum(int((one.gt_classes < 5).sum()) for one in sampled)
        found.append((sum(copied), losses))
    (ours, our_losses), (theirs, their_losses) = found
    assert 4 < foreground < theirs
    assert ours == (foreground if kind is PolygonMasks else 0)
    assert our_losses == their_losses
