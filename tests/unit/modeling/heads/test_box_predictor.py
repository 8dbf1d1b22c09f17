from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

from lst_cli.modeling.heads.box_predictor import CosineBoxPredictor, SoftmaxBoxPredictor
from lst_cli.modeling.heads.cosine import cosines

pytestmark = pytest.mark.engine


def make() -> CosineBoxPredictor:
    torch.manual_seed(0)
    return CosineBoxPredictor(
        ShapeSpec(channels=6),
        classes=3,
        scale=10.0,
        learn_scale=True,
        box2box_transform=Box2BoxTransform(weights=(10, 10, 5, 5)),
    )


def test_the_classifier_sees_raw_features_and_regression_their_relu():
    predictor = make()
    features = torch.randn(5, 6)
    assert (features < 0).any()
    logits, deltas = predictor(features)
    torch.testing.assert_close(logits, 10 * cosines(features, predictor.cls_score.weight))
    torch.testing.assert_close(deltas, predictor.bbox_pred(features.clamp(min=0)))
    positive_logits, same_deltas = predictor(features.clamp(min=0))
    assert torch.equal(same_deltas, deltas)
    assert not torch.allclose(positive_logits, logits)


# --- Mask R-CNN's own ----------------------------------------------------------------------------


@pytest.mark.parametrize("regions", [5, 0])
def test_it_is_detectron2s_under_the_same_weights(regions):
    transform = Box2BoxTransform(weights=(10, 10, 5, 5))
    ours = SoftmaxBoxPredictor(ShapeSpec(channels=6), classes=3, box2box_transform=transform)
    theirs = FastRCNNOutputLayers(ShapeSpec(channels=6), num_classes=3, box2box_transform=transform)
    assert ours.cls_score.bias.tolist() == [0.0] * 4
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(regions, 6)
    for mine, other in zip(ours(features), theirs(features), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(ours.cls_score.class_rows, ours.cls_score.weight[:3])
