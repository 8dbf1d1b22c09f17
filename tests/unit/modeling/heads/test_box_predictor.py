from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform

from lst_cli.modeling.heads.box_predictor import CosineBoxPredictor
from lst_cli.modeling.heads.cosine import cosines

pytestmark = pytest.mark.engine


def make(agnostic: bool = False) -> CosineBoxPredictor:
    torch.manual_seed(0)
    return CosineBoxPredictor(
        ShapeSpec(channels=6),
        classes=3,
        scale=10.0,
        learn_scale=True,
        box2box_transform=Box2BoxTransform(weights=(10, 10, 5, 5)),
        cls_agnostic_bbox_reg=agnostic,
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


@pytest.mark.parametrize(("agnostic", "width"), [(False, 12), (True, 4)])
def test_outputs_have_a_column_for_the_background_and_boxes_for_each_class(agnostic, width):
    logits, deltas = make(agnostic)(torch.randn(5, 6))
    assert logits.shape == (5, 4)
    assert deltas.shape == (5, width)


def test_no_regions_have_no_outputs():
    logits, deltas = make()(torch.zeros(0, 6))
    assert logits.shape == (0, 4)
    assert deltas.shape == (0, 12)
