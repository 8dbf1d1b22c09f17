from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage

from lst_cli.errors import LstError
from lst_cli.modeling.build import build_model, detectron2_config, input_format
from lst_cli.settings.load import build_settings

pytestmark = pytest.mark.engine


def config_of(**changes: Any) -> Any:
    return detectron2_config(build_settings(changes), 1230, 100)


def test_the_papers_numbers_reach_detectron2():
    cfg = config_of()
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1230
    assert cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE == 100
    assert cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION == 0.25
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.0
    assert cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST == 0.5
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 300
    assert cfg.MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA == 1.0
    assert cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG is False
    assert cfg.MODEL.ROI_BOX_HEAD.FC_DIM == 1024
    assert cfg.MODEL.RESNETS.DEPTH == 50
    assert config_of(preset="paper-x101").MODEL.RESNETS.DEPTH == 101
    assert config_of(preset="paper-x101").MODEL.RESNETS.NUM_GROUPS == 32


@pytest.mark.parametrize(
    ("preset", "channels"), [("paper-r50", "BGR"), ("paper-x101", "BGR"), ("lite", "RGB")]
)
def test_the_order_of_channels_is_the_backbones(preset, channels):
    assert input_format(build_settings({"preset": preset})) == channels


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"model": {"config": "COCO-InstanceSegmentation/nothing.yaml"}}, "nothing.yaml"),
        ({"detectron2": {"MODEL.NO_SUCH_KEY": 1}}, "MODEL.NO_SUCH_KEY"),
        ({"detectron2": {"MODEL.NO_SUCH.KEY": 1}}, "MODEL.NO_SUCH.KEY"),
        ({"detectron2": {"MODEL.MASK_ON.KEY": 1}}, "MODEL.MASK_ON.KEY"),
        ({"detectron2": {"MODEL.RPN.NMS_THRESH": "high"}}, "MODEL.RPN.NMS_THRESH"),
        ({"detectron2": {"MODEL.ROI_BOX_HEAD.NUM_FC": 0}}, "MODEL.ROI_BOX_HEAD.NUM_FC"),
        # What cannot be built.
        ({"detectron2": {"MODEL.RPN.IN_FEATURES": ["p9"]}}, "p9"),
        ({"detectron2": {"MODEL.BACKBONE.NAME": "nope"}}, "nope"),
    ],
)
def test_what_detectron2_refuses_is_named(table, named, make_settings):
    with pytest.raises(LstError) as caught:
        build_model(make_settings(**table), 5)
    assert named in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    if named in ("p9", "nope"):
        assert next(iter(table["detectron2"])) in caught.value.hint


def test_settings_reach_the_parts_of_the_network(make_model):
    model = make_model(
        5,
        rois=77,
        model={
            "cosine_scale": 4.0,
            "learn_scale": False,
            "canonical_box_size": 99,
            "class_agnostic_boxes": False,
            "mask_mlp": "none",
        },
        eval={"score_threshold": 0.25, "nms_threshold": 0.75, "detections": 11},
        detectron2={
            "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "giou",
            "MODEL.RPN.NMS_THRESH": 0.625,
        },
    )
    heads = model.roi_heads
    predictor = heads.box_predictor
    assert model.classes == heads.num_classes == predictor.num_classes == 5
    assert heads.batch_size_per_image == 77
    assert predictor.cls_score.scale.item() == 4.0
    assert predictor.cls_score.scale.requires_grad is False
    assert heads.box_pooler.canonical_box_size == heads.mask_pooler.canonical_box_size == 99
    assert predictor.bbox_pred.weight.shape == (20, 32)
    assert heads.mask_head.mlp_input == "none"
    assert (predictor.test_score_thresh, predictor.test_nms_thresh) == (0.25, 0.75)
    assert predictor.test_topk_per_image == 11
    assert predictor.box_reg_loss_type == "giou"
    assert model.proposal_generator.nms_thresh == 0.625


COMBINATIONS = [(head, mask) for head in ("cosine", "softmax") for mask in ("transfer", "fcn")]


@pytest.mark.parametrize(("head", "mask"), COMBINATIONS)
def test_either_classifier_goes_with_either_mask(make_model, make_batch, head, mask):
    model = make_model(5, model={"head": head, "mask": mask})
    heads = model.roi_heads
    last = [module for name, module in heads.box_head.named_children() if "relu" in name][-1]
    assert type(last).__name__ == {"cosine": "Identity", "softmax": "ReLU"}[head]
    assert (getattr(heads.box_predictor.cls_score, "bias", None) is not None) == (head == "softmax")
    assert model.row_features == 32
    with EventStorage():
        losses = model.losses(make_batch((0, 1), (2, 4)))
    sum(losses.values()).backward()
    made_of_rows = hasattr(heads.mask_head, "transfer")
    assert made_of_rows == (mask == "transfer")
    assert heads.box_predictor.cls_score.weight.grad.abs().sum() > 0
    model.eval()
    heads.box_predictor.test_topk_per_image = 4
    with torch.no_grad():
        [result] = model([{"image": torch.rand(3, 64, 64) * 255, "height": 50, "width": 40}])
    assert len(result["instances"]) == 4
    assert result["instances"].pred_masks.shape == (4, 50, 40)


@torch.no_grad()
def test_an_image_without_detections_comes_through(five):
    five.eval()
    five.roi_heads.box_predictor.test_score_thresh = 0.999
    [result] = five([{"image": torch.zeros(3, 64, 64), "height": 50, "width": 40}])
    assert len(result["instances"]) == 0
    assert result["instances"].pred_masks.shape[1:] == (50, 40)
