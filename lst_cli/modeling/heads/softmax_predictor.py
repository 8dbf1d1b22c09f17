"""Mask R-CNN's own classifier: linear, with a bias; for joint training only."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from lst_cli.modeling.detecting import DetectingOutputLayers


class LinearClassifier(nn.Linear):
    """Scores regions by a linear layer, background last, under detectron2's names and first values.

    Args:
        features: D.
        classes: K, without the background.
    """

    def __init__(self, *, features: int, classes: int) -> None:
        super().__init__(features, classes + 1)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)

    @property
    def class_rows(self) -> Tensor:
        """Rows of the K classes, without the background, shape (K, D); masks may be made of them.

        Mask^X R-CNN transfers from such rows too.
        """
        return self.weight[:-1]


class SoftmaxBoxPredictor(DetectingOutputLayers):
    """Fast R-CNN's output layers as detectron2 has them.

    The length of a row counts here: a class with many examples grows a long one, and wins.

    Args:
        input_shape: Shape of a region feature, D channels, behind its last ReLU.
        classes: K, without the background.
        options: Further arguments of `FastRCNNOutputLayers`.
    """

    def __init__(self, input_shape: ShapeSpec, *, classes: int, **options: Any) -> None:
        super().__init__(input_shape, num_classes=classes, **options)
        self.cls_score = LinearClassifier(features=input_shape.channels, classes=classes)
