"""A network small enough to be run in a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch

from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import merge

SMALL: dict[str, Any] = {
    "preset": "lite",
    "model": {"mask_mlp_hidden": 8},
    "data": {"min_size": [64], "max_size": 96, "min_size_test": 64, "max_size_test": 96},
    "detectron2": {
        "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [24], [48]],
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 100,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 100,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
    },
}


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., Settings]:
    """Settings of the small network, changed by nested tables."""

    def make(**changes: Any) -> Settings:
        return build_settings(merge(SMALL, changes))

    return make


@pytest.fixture(scope="session")
def make_model(make_settings: Callable[..., Settings]) -> Callable[..., Any]:
    """Build a small network with K classes, seeded; ImageNet's backbone where it is lite's."""
    from lst_cli.modeling.build import build_model

    def make(classes: int, *, seed: int = 0, rois: int = 16, **changes: Any) -> Any:
        torch.manual_seed(seed)
        model = build_model(make_settings(**changes), classes, rois_per_image=rois)
        if hasattr(model.backbone.bottom_up, "load_imagenet"):
            model.backbone.bottom_up.load_imagenet()
        return model

    return make


@pytest.fixture(scope="session")
def _five_classes(make_model: Callable[..., Any]) -> Any:
    return make_model(5)


@pytest.fixture
def five(_five_classes: Any) -> Any:
    """A network with K = 5, in training mode; change it freely."""
    return deepcopy(_five_classes)


@pytest.fixture
def make_batch() -> Callable[..., list[dict[str, Any]]]:
    """Images of noise with two overlapping boxes each, as detectron2's dicts."""
    from detectron2.structures import Boxes, Instances, PolygonMasks

    def make(
        *classes: tuple[int, int], side: int = 64, labels: tuple[int, int] | None = None
    ) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(7)
        batch = []
        for pair in classes:
            instances = Instances((side, side))
            boxes = [[4.0, 6.0, 40.0, 42.0], [24.0, 10.0, 60.0, 46.0]]
            instances.gt_boxes = Boxes(torch.tensor(boxes))
            instances.gt_classes = torch.tensor(pair)
            instances.gt_labels = torch.tensor(labels or pair)
            instances.gt_masks = PolygonMasks(
                [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes]
            )
            image = torch.rand(3, side, side, generator=generator) * 255
            batch.append({"image": image, "instances": instances, "height": side, "width": side})
        return batch

    return make
