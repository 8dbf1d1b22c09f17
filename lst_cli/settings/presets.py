"""Named sets of values; a preset never changes code paths, only numbers and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lst_cli.settings.nested import merge

_AS_IN_LST = {"model.head": "cosine", "model.mask": "transfer"}
# The jointly trained rows of the paper's Table 1, as settings; its two other rows are
# `lst step --all` without and with `--mwg`.
JOINT_ROWS: Mapping[str, Mapping[str, str]] = {
    "joint-softmax": {"base.sampler": "uniform", "model.head": "softmax", "model.mask": "fcn"},
    "joint-cosine": {"base.sampler": "uniform", **_AS_IN_LST},
    "class-aware": {"base.sampler": "class-aware", **_AS_IN_LST},
    "repeat-factor": {"base.sampler": "repeat-factor", **_AS_IN_LST},
}

_LITE_SCHEDULE: dict[str, Any] = {
    "optimizer": "adamw",
    "batch_size": 8,
    "rois_per_image": 64,
    "weight_decay": 1e-4,
    "bias_lr_factor": 1.0,
    "backbone_lr_factor": 0.2,
    "clip_gradients": 10.0,
    "warmup_iterations": 50,
    "warmup_factor": 0.1,
    "save_every": 100,
}

TIMM = "timm/"  # what a model.config begins with that names a network of timm

# EfficientNet-Lite0 for small images and for machines without a GPU.
_LITE_PAPER: Mapping[str, Any] = {
    "data": {"min_size": (192,), "max_size": 320, "min_size_test": 192, "max_size_test": 320},
    "model": {
        "config": "Base-RCNN-FPN.yaml",
        "class_agnostic_boxes": True,
        "mask_mlp": "conv",
        "mask_mlp_hidden": 128,
        "canonical_box_size": 56,
    },
    "base": {**_LITE_SCHEDULE, "lr": 1e-3, "epochs": 4.0, "decay_epochs": (3.0,)},
    "step": {
        **_LITE_SCHEDULE,
        "lr": 5e-4,
        "epochs": 2.0,
        "decay_epochs": (1.5,),
        "new_rows": "mean-feature",
        "freeze": ("backbone",),
    },
    "extend": {"lr": 1e-3},
    "mwg": {"background_share": 0.5, "learn_offsets": True},
    "detectron2": {
        "MODEL.MASK_ON": True,
        "MODEL.BACKBONE.NAME": "build_lst_efficientnet_lite_fpn_backbone",
        "MODEL.BACKBONE.FREEZE_AT": 4,
        "MODEL.FPN.IN_FEATURES": ["stride8", "stride16", "stride32"],
        "MODEL.FPN.OUT_CHANNELS": 64,
        # What its ImageNet weights were trained with.
        "INPUT.FORMAT": "RGB",
        "MODEL.PIXEL_MEAN": [127.0, 127.0, 127.0],
        "MODEL.PIXEL_STD": [128.0, 128.0, 128.0],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [56], [96]],
        "MODEL.RPN.IN_FEATURES": ["p3", "p4", "p5"],
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 500,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 300,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 300,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 200,
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 128,
        "MODEL.ROI_HEADS.IN_FEATURES": ["p3", "p4", "p5"],
        "MODEL.ROI_BOX_HEAD.FC_DIM": 256,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": 2,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 64,
    },
}

_LITE_BASE = {"sampler": "repeat-factor", "repeat_threshold": 0.05}
_LITE_STEP = {"freeze": (), "other_objects": "count", "distill_regions": "seen", "ema": 0.998}
# What did best on parts cut from training sets, see docs/benchmarks/options.md.
_LITE: Mapping[str, Any] = {
    "base": {**_LITE_BASE, "epochs": 5.0, "decay_epochs": (3.75,)},
    "step": {**_LITE_STEP, "epochs": 12.0, "decay_epochs": (9.0,)},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # ResNet-50-FPN at full size: the defaults of the settings themselves.
    "paper-r50": {},
    "paper-x101": {
        "model": {"config": "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml"}
    },
    # The small network with the paper's rules for phases, and with rules that work better there.
    "lite-paper": _LITE_PAPER,
    "lite": merge(_LITE_PAPER, _LITE),
}

# What another network than EfficientNet-Lite0 decides itself.
_OF_LITE0 = ("MODEL.BACKBONE.NAME", "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")


def preset_values(name: str, config: object) -> Mapping[str, Any]:
    """The values of a preset for a `model.config`: a network of timm replaces EfficientNet-Lite0.

    As of that one, what its features at stride 8 are computed from is frozen.
    """
    values = PRESETS[name]
    if not str(config).startswith(TIMM) or "detectron2" not in values:
        return values
    kept = {key: value for key, value in values["detectron2"].items() if key not in _OF_LITE0}
    return {**values, "detectron2": {**kept, "MODEL.BACKBONE.FREEZE_AT": 3}}
