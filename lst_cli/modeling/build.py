"""Settings to network: the only place that knows detectron2's config node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    Backbone,
)
from detectron2.modeling import build_model as build_from_registry
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import (
    ROI_BOX_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    FastRCNNConvFCHead,
    StandardROIHeads,
)
from torch import nn

from lst_cli.errors import LstError
from lst_cli.modeling.heads.box_predictor import CosineBoxPredictor, SoftmaxBoxPredictor
from lst_cli.modeling.heads.class_losses import build_class_loss
from lst_cli.modeling.heads.mask_head import FcnMaskHead, TransferMaskHead
from lst_cli.modeling.heads.roi_heads import LstROIHeads, in_single_precision
from lst_cli.modeling.rcnn import LstRCNN, LstRPN
from lst_cli.modeling.zoo_files import read_config
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import merge, shorten
from lst_cli.settings.presets import TIMM

_KEYS = "see detectron2/config/defaults.py for its keys"
# What detectron2 raises for a key that it does not know, or a value.
_REFUSED = (AssertionError, AttributeError, KeyError, MemoryError, RecursionError, TypeError,
            ValueError)  # fmt: skip
# What it raises for values that do not go together.
_UNBUILDABLE = (*_REFUSED, ArithmeticError, LookupError, RuntimeError)


def build_model(settings: Settings, classes: int, *, rois_per_image: int = 512) -> LstRCNN:
    """Build the network for K classes with random weights; an `LstError` if detectron2 refuses."""
    cfg = detectron2_config(settings, classes, rois_per_image)
    own = [*settings.detectron2]
    if Path(settings.model.config).is_absolute():
        own.insert(0, f"model.config = {settings.model.config}")
    keys = f"check model.config and the keys of [detectron2]: {', '.join(own)[:500]}"
    model: LstRCNN = build_from_config(cfg, keys if own else None)
    return model


def build_from_config(cfg: CfgNode, hint: str | None) -> Any:
    """Build what a config describes; an `LstError` if detectron2 refuses.

    Without a hint nothing in it is the user's: then it is a fault of ours.
    """
    try:
        return build_from_registry(cfg)
    except ImportError as error:  # of what detectron2 compiles, such as deformable convolutions
        raise LstError(
            f"detectron2 cannot build the network: {_one_line(error)}", "choose another config"
        ) from error
    except _UNBUILDABLE as error:
        if hint is None:
            raise
        reason = _one_line(error) or type(error).__name__
        if isinstance(error, MemoryError) or "can't allocate memory" in reason:
            reason = "there is not enough memory for it"
        raise LstError(f"detectron2 cannot build the network: {reason}", hint) from error


def detectron2_config(settings: Settings, classes: int, rois_per_image: int) -> CfgNode:
    """Translate settings to a detectron2 config; an `LstError` if one of its keys is unknown."""
    cfg = read_detectron2_config(settings.model.config)
    model = cfg.MODEL
    model.META_ARCHITECTURE = LstRCNN.__name__
    model.WEIGHTS = ""
    model.DEVICE = "cpu"
    model.MASK_ON = True
    # The reference code's losses; detectron2's own defaults are plain L1.
    model.RPN.SMOOTH_L1_BETA = 1 / 9
    model.ROI_BOX_HEAD.SMOOTH_L1_BETA = 1.0
    model.PROPOSAL_GENERATOR.NAME = LstRPN.__name__
    model.ROI_HEADS.NAME = build_lst_roi_heads.__name__
    model.ROI_BOX_HEAD.NAME = build_lst_box_head.__name__
    model.ROI_MASK_HEAD.NAME = build_lst_mask_head.__name__
    model.ROI_HEADS.NUM_CLASSES = classes
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = rois_per_image
    model.ROI_HEADS.SCORE_THRESH_TEST = settings.eval.score_threshold
    model.ROI_HEADS.NMS_THRESH_TEST = settings.eval.nms_threshold
    model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = settings.model.class_agnostic_boxes
    cfg.TEST.DETECTIONS_PER_IMAGE = settings.eval.detections
    own = settings.model.model_dump(exclude={"class_agnostic_boxes"})
    cfg.LST = CfgNode({key.upper(): value for key, value in own.items()})
    for key, value in settings.detectron2.items():
        try:
            cfg.merge_from_list([key, value])
        except _REFUSED as error:
            reason = _one_line(error) or "refused by detectron2"
            raise LstError(f"detectron2.{shorten(key)}: {reason}", _KEYS) from error
    cfg.freeze()
    return cfg


def read_detectron2_config(name: str, option: str = "model.config:") -> CfgNode:
    """The values of a config of the model zoo, or of a file, over detectron2's defaults.

    Raises an `LstError` that names the option if the file or one of its keys is refused.
    """
    cfg, table = get_cfg(), read_config(name, option)
    if name.startswith(TIMM):
        # timm is imported only by those who use it.
        from lst_cli.modeling.timm_network import timm_config

        table = merge(table, timm_config(name.removeprefix(TIMM)))
    if table.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise LstError(
            f"{option} {name}: VERSION {shorten(table['VERSION'])}, not {cfg.VERSION}",
            "give a config of detectron2, not of its predecessors",
        )
    try:
        cfg.merge_from_other_cfg(CfgNode(table))
    except _REFUSED as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())
        reason = re.sub(r" with values .* (?=for config key)", " ", reason)
        raise LstError(f"{option} {name}: {reason[:200]}", _KEYS) from error
    return cfg


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def input_format(settings: Settings) -> str:
    """Order of the image's channels, `BGR` or `RGB`."""
    return str(detectron2_config(settings, 1, 1).INPUT.FORMAT)


META_ARCH_REGISTRY.register(LstRCNN)
PROPOSAL_GENERATOR_REGISTRY.register(LstRPN)


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator, unused-ignore]
def build_lst_efficientnet_lite_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """EfficientNet-Lite0 under a feature pyramid."""
    from lst_cli.modeling.timm_network import EfficientNetLite

    del input_shape
    return _pyramid(cfg, EfficientNetLite(freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT), None)


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator, unused-ignore]
def build_lst_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The network of timm that model.config names, under a feature pyramid as the zoo's."""
    from lst_cli.modeling.timm_network import TimmNetwork

    del input_shape
    name, needed = cfg.LST.CONFIG.removeprefix(TIMM), cfg.MODEL.FPN.IN_FEATURES
    network = TimmNetwork(name, needed, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
    return _pyramid(cfg, network, LastLevelMaxPool())


def _pyramid(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module | None) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


@ROI_BOX_HEAD_REGISTRY.register()  # type: ignore[untyped-decorator, unused-ignore]
def build_lst_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """detectron2's box head; without its last ReLU for the cosine classifier (section 3.2)."""
    layers = cfg.MODEL.ROI_BOX_HEAD.NUM_FC
    if layers < 1:
        raise LstError(
            "detectron2.'MODEL.ROI_BOX_HEAD.NUM_FC': the classifier reads a linear layer",
            "set it to 1 or more",
        )
    head: nn.Module = FastRCNNConvFCHead(cfg, input_shape)
    if cfg.LST.HEAD == "cosine":
        setattr(head, f"fc_relu{layers}", nn.Identity())
    return head


@ROI_MASK_HEAD_REGISTRY.register()  # type: ignore[untyped-decorator, unused-ignore]
def build_lst_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> TransferMaskHead | FcnMaskHead:
    """The weight-transfer mask branch, or Mask R-CNN's own."""
    head = cfg.MODEL.ROI_MASK_HEAD
    dimensions = [head.CONV_DIM] * (head.NUM_CONV + 1)
    layers: dict[str, Any] = {"conv_dims": dimensions, "conv_norm": head.NORM}
    if cfg.LST.MASK == "fcn":
        return FcnMaskHead(input_shape, classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES, **layers)
    return TransferMaskHead(
        input_shape,
        row_features=cfg.MODEL.ROI_BOX_HEAD.FC_DIM,
        mlp_input=cfg.LST.MASK_MLP,
        mlp_hidden=cfg.LST.MASK_MLP_HIDDEN,
        **layers,
    )


@ROI_HEADS_REGISTRY.register()  # type: ignore[untyped-decorator, unused-ignore]
def build_lst_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> LstROIHeads:
    """Region heads with the cosine classifier, or Mask R-CNN's own."""
    parts: dict[str, Any] = StandardROIHeads.from_config(cfg, input_shape)
    for pooler in ("box_pooler", "mask_pooler"):
        parts[pooler].canonical_box_size = cfg.LST.CANONICAL_BOX_SIZE
        parts[pooler].register_forward_pre_hook(in_single_precision)
    box = cfg.MODEL.ROI_BOX_HEAD
    shape = parts["box_head"].output_shape
    options: dict[str, Any] = {
        "classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        "box2box_transform": Box2BoxTransform(weights=box.BBOX_REG_WEIGHTS),
        "cls_agnostic_bbox_reg": box.CLS_AGNOSTIC_BBOX_REG,
        "smooth_l1_beta": box.SMOOTH_L1_BETA,
        "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
        "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
        "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "box_reg_loss_type": box.BBOX_REG_LOSS_TYPE,
        "loss_weight": {"loss_box_reg": box.BBOX_REG_LOSS_WEIGHT},
    }
    options["class_loss"] = build_class_loss(cfg.LST.CLASS_LOSS, cfg.LST.FEDERATED_CLASSES)
    if cfg.LST.HEAD == "softmax":
        parts["box_predictor"] = SoftmaxBoxPredictor(shape, **options)
    else:
        parts["box_predictor"] = CosineBoxPredictor(
            shape, scale=cfg.LST.COSINE_SCALE, learn_scale=cfg.LST.LEARN_SCALE, **options
        )
    heads = LstROIHeads(**parts)
    side = box.POOLER_RESOLUTION
    heads.pooled_shape = (input_shape[heads.box_in_features[0]].channels, side, side)
    return heads
