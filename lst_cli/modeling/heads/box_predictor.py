"""Classes and boxes from region features."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor
from torch.nn import functional as F

from lst_cli.modeling.detecting import DetectingOutputLayers
from lst_cli.modeling.heads.cosine import CosineClassifier


class CosineBoxPredictor(DetectingOutputLayers):
    """Fast R-CNN's output layers with a cosine classifier.

    The features come without their last ReLU: a cosine between vectors that are nowhere
    negative would be confined to half its range. Box regression still gets ReLU(fc7).

    Args:
        input_shape: Shape of a region feature, D channels.
        classes: K, without the background.
        scale: Initial scale of the classifier.
        learn_scale: Whether the scale is trained.
        options: Further arguments of `FastRCNNOutputLayers`.
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        classes: int,
        scale: float,
        learn_scale: bool,
        **options: Any,
    ) -> None:
        super().__init__(input_shape, num_classes=classes, **options)
        self.cls_score = CosineClassifier(
            features=input_shape.channels, classes=classes, scale=scale, learn_scale=learn_scale
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score regions and correct their boxes.

        Args:
            x: fc7 before its ReLU, shape (R, D).

        Returns:
            Logits, shape (R, K + 1), background last; box deltas, shape (R, 4K), or (R, 4) where
            one regressor serves all classes.
        """
        return self.cls_score(x), self.bbox_pred(F.relu(x))
