from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

from lst_cli.modeling.heads.box_predictor import LinearClassifier, SoftmaxBoxPredictor

pytestmark = pytest.mark.engine


def test_it_is_detectron2s_under_the_same_weights():
    transform = Box2BoxTransform(weights=(10, 10, 5, 5))
    ours = SoftmaxBoxPredictor(ShapeSpec(channels=6), classes=3, box2box_transform=transform)
    theirs = FastRCNNOutputLayers(ShapeSpec(channels=6), num_classes=3, box2box_transform=transform)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(5, 6)
    for mine, other in zip(ours(features), theirs(features), strict=True):
        assert torch.equal(mine, other)


def test_no_regions_have_no_outputs():
    predictor = SoftmaxBoxPredictor(
        ShapeSpec(channels=6), classes=3, box2box_transform=Box2BoxTransform(weights=(1, 1, 1, 1))
    )
    logits, deltas = predictor(torch.zeros(0, 6))
    assert logits.shape == (0, 4)
    assert deltas.shape == (0, 12)


def test_the_rows_of_classes_leave_out_the_background():
    classifier = LinearClassifier(features=6, classes=3)
    assert classifier.bias.tolist() == [0.0] * 4
    assert torch.equal(classifier.class_rows, classifier.weight[:3])
