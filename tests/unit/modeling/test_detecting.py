from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.modeling import detecting
from lst_cli.modeling.detecting import DetectingOutputLayers, suppress_at_once, suppress_by_class
from lst_cli.modeling.heads.class_losses import ClassLoss, GumbelLoss, SigmoidLoss, SoftmaxLoss

pytestmark = pytest.mark.engine

SIZE = (120, 160)  # height, width


def make_layers(classes: int, *, agnostic: bool = False, **options: Any) -> DetectingOutputLayers:
    chosen = {"test_score_thresh": 0.0, "test_nms_thresh": 0.5, "test_topk_per_image": 30}
    return DetectingOutputLayers(
        ShapeSpec(channels=4),
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        num_classes=classes,
        cls_agnostic_bbox_reg=agnostic,
        **{**chosen, **options},
    )


def make_input(
    layers: DetectingOutputLayers, *counts: int, seed: int = 0, confidence: float = 2.0
) -> tuple[tuple[torch.Tensor, torch.Tensor], list[Instances]]:
    """Regions in heaps, as they lie around objects, some of which leave the image."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    regions = sum(counts)
    heap = torch.randint(0, 6, (regions,), generator=generator)
    centres = (torch.rand(6, 2, generator=generator) * torch.tensor([160.0, 120.0]))[heap]
    sides = (torch.rand(6, 2, generator=generator) * 60 + 10)[heap] * (normal(regions, 2) / 8).exp()
    centres = centres + normal(regions, 2) * sides / 8
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    columns = layers.cls_score.out_features
    logits = confidence * (normal(6, columns)[heap] + normal(regions, columns) / 4)
    deltas = normal(regions, layers.bbox_pred.out_features)
    proposals = []
    for own in boxes.split(list(counts)):
        one = Instances(SIZE)
        one.proposal_boxes = Boxes(own)
        proposals.append(one)
    return (logits, deltas), proposals


def detectron2s(
    layers: DetectingOutputLayers, predictions: Any, proposals: list[Instances]
) -> tuple[list[Instances], list[torch.Tensor]]:
    """detectron2's own detections.

    It sorts them with an algorithm that leaves the order of equal scores to the processor: all
    that survive are asked for, and sorted and cut here.
    """
    wanted, layers.test_topk_per_image = layers.test_topk_per_image, -1
    found, regions = FastRCNNOutputLayers.inference(layers, predictions, proposals)
    layers.test_topk_per_image = wanted
    for image, one in enumerate(found):
        keys = zip(
            (-one.scores).tolist(), regions[image].tolist(), one.pred_classes.tolist(), strict=True
        )
        order = [place for _, place in sorted(zip(keys, range(len(one)), strict=True))]
        chosen = torch.tensor(order[:wanted] if wanted >= 0 else order, dtype=torch.int64)
        found[image], regions[image] = one[chosen], regions[image][chosen]
    return found, regions


def assert_detectron2s(
    layers: DetectingOutputLayers, predictions: Any, proposals: list[Instances]
) -> list[Instances]:
    """Ours are detectron2's own detections, box by box; returns them."""
    ours, our_regions = layers.inference(predictions, proposals)
    theirs, their_regions = detectron2s(layers, predictions, proposals)
    assert len(ours) == len(theirs) == len(proposals)
    for one, other in zip(ours, theirs, strict=True):
        assert one.image_size == other.image_size == SIZE
        assert torch.equal(one.pred_classes, other.pred_classes)
        assert torch.equal(one.scores, other.scores)
        torch.testing.assert_close(
            one.pred_boxes.tensor, other.pred_boxes.tensor, rtol=0, atol=1e-5
        )
    assert all(map(torch.equal, our_regions, their_regions))
    return ours


@pytest.mark.parametrize(
    ("classes", "regions", "options", "rounds", "found"),
    [
        (50, 200, {}, [1000], (30, 30)),  # of 10,000
        # More are looked at where too few survive, and all where more are wanted than survive.
        (40, 300, {"test_topk_per_image": 150, "test_nms_thresh": 0.3}, [1200, 4800], (150, 150)),
        (40, 300, {"test_topk_per_image": 5000, "test_nms_thresh": 0.3}, [12_000], (151, 4999)),
        (50, 40, {"test_score_thresh": 0.04}, [], (1, 30)),  # few are detectron2's own affair
    ],
)
def test_as_many_candidates_are_looked_at_as_are_needed(
    classes, regions, options, rounds, found, monkeypatch
):
    looked_at: list[int] = []

    def count(boxes: torch.Tensor, *rest: Any) -> torch.Tensor:
        looked_at.append(len(boxes))
        return suppress_by_class(boxes, *rest)

    monkeypatch.setattr(detecting, "suppress_by_class", count)
    layers = make_layers(classes, **options)
    confidence = 3.0 if regions == 300 else 2.0
    [ours] = assert_detectron2s(layers, *make_input(layers, regions, confidence=confidence))
    assert looked_at == rounds
    assert found[0] <= len(ours) <= found[1]
    assert layers.inference(make_input(layers, 0)[0], []) == ([], [])


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    classes=st.sampled_from([1, 2, 13, 60]),
    agnostic=st.booleans(),
    counts=st.lists(st.sampled_from([0, 1, 7, 60, 150]), min_size=1, max_size=3),
    wanted=st.sampled_from([0, 1, 20, 300, -1]),
    lowest=st.sampled_from([0.0, 0.01, 0.05, 0.3, 2.0]),
    overlap=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    confidence=st.sampled_from([0.0, 0.5, 2.0, 30.0]),
)
def test_whatever_comes_gives_detectron2s_detections(
    seed, classes, agnostic, counts, wanted, lowest, overlap, confidence
):
    layers = make_layers(
        classes,
        agnostic=agnostic,
        test_score_thresh=lowest,
        test_nms_thresh=overlap,
        test_topk_per_image=wanted,
    )
    assert_detectron2s(layers, *make_input(layers, *counts, seed=seed, confidence=confidence))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 300),
    classes=st.sampled_from([1, 3, 1230]),
    overlap=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_suppression_of_all_classes_at_once_is_that_class_by_class(seed, count, classes, overlap):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * 1333
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    scores = torch.randint(0, 99, (count,), generator=generator) / 99  # of which some are equal
    labels = torch.randint(0, classes, (count,), generator=generator)
    alone = suppress_by_class(boxes, scores, labels, overlap)
    assert suppress_at_once(boxes, scores, labels, overlap).tolist() == alone.tolist()


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_of_equal_scores_the_earlier_region_then_the_lower_label_comes_first(levels):
    layers = make_layers(40)
    (logits, deltas), proposals = make_input(layers, 100)
    steps = torch.randint(0, levels, logits.shape, generator=torch.Generator().manual_seed(1))
    # The background takes what the others leave, so that scores of different regions tie too.
    shares = (steps + 1.0) / (2 * levels * steps.shape[1])
    shares[:, -1] = 1 - shares[:, :-1].sum(1)
    logits = shares.log()
    assert len(logits.softmax(1)[:, :-1].unique()) < 400
    [found], [regions] = layers.inference((logits, deltas), proposals)
    scores = logits.softmax(1)
    keys = list(
        zip((-found.scores).tolist(), regions.tolist(), found.pred_classes.tolist(), strict=True)
    )
    assert keys == sorted(keys)
    assert torch.equal(found.scores, scores[regions, found.pred_classes])
    assert_detectron2s(layers, (logits, deltas), proposals)


@pytest.mark.parametrize("where", ["logits", "deltas", "region"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e38])
def test_regions_that_are_not_finite_are_left_out(where, value):
    layers = make_layers(40)
    (logits, deltas), proposals = make_input(layers, 100)
    rows = [0, 17, 99]
    tensor = {
        "logits": logits, "deltas": deltas, "region": proposals[0].proposal_boxes.tensor
    }[where]  # fmt: skip
    tensor[rows, torch.tensor([1, 3, 2])] = value
    [ours], [regions] = layers.inference((logits, deltas), proposals)
    [theirs], _ = detectron2s(layers, (logits, deltas), proposals)
    torch.testing.assert_close(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.pred_classes, theirs.pred_classes)
    assert len(ours) == 30
    # detectron2 counts regions without those left out; here they are the given ones.
    assert torch.equal(ours.scores, logits.softmax(1)[regions, ours.pred_classes])
    if value != value:
        assert not set(rows) & set(regions.tolist())


# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_loss", [SoftmaxLoss(), SigmoidLoss(50), GumbelLoss(50)])
@pytest.mark.parametrize("agnostic", [False, True])
def test_losses_and_accuracies_are_detectron2s_and_read_no_background_that_is_not_trained(
    class_loss: ClassLoss, agnostic
):
    layers = make_layers(5, agnostic=agnostic, class_loss=class_loss)
    (logits, deltas), proposals = make_input(layers, 40, 20)
    for one in proposals:
        one.gt_classes = torch.arange(len(one)) % 6
    proposals[0].gt_boxes = proposals[0].proposal_boxes[torch.arange(40).roll(1)]
    scores = class_loss.scores(logits)
    binary = class_loss.even_logit is not None
    alike = logits
    if binary:  # what detectron2 sees is a background that is above no class of a score above 0.5
        alike = torch.cat([scores[:, :-1], torch.full((60, 1), 0.5)], dim=1)
        logits[:, -1] = 9.0
    with EventStorage() as ours:
        losses = layers.losses((logits, deltas), proposals)
    with EventStorage() as theirs:
        expected = FastRCNNOutputLayers.losses(layers, (alike, deltas), proposals)
    assert ours.latest() == theirs.latest() != {}
    assert torch.equal(losses["loss_box_reg"], expected["loss_box_reg"])
    assert losses["loss_box_reg"] > 0
    assert binary or torch.equal(losses["loss_cls"], expected["loss_cls"])
