"""Classes and boxes from region features: the cosine classifier, or Mask R-CNN's own."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.nn import functional as F

from lst_cli.modeling.detecting import DetectingOutputLayers
from lst_cli.modeling.heads.cosine import CosineClassifier


class CosineBoxPredictor(DetectingOutputLayers):
    """Fast R-CNN's output layers with a cosine classifier of K classes.

    The features, with D channels, come without their last ReLU: a cosine between vectors that are
    nowhere negative would be confined to half its range. Box regression still gets ReLU(fc7).
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
            features=input_shape.channels,
            classes=classes,
            scale=scale,
            learn_scale=learn_scale,
            bias=self.class_loss.first_bias,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, shape (R, K + 1), background last, and box deltas of fc7 before its ReLU.

        The deltas have shape (R, 4K), or (R, 4) where one regressor serves all classes.
        """
        return self.cls_score(x), self.bbox_pred(F.relu(x))


class LinearClassifier(nn.Linear):
    """K classes by a linear layer, background last, with detectron2's names and first values."""

    def __init__(self, *, features: int, classes: int, bias: float | None = None) -> None:
        super().__init__(features, classes + 1)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.constant_(self.bias, bias or 0.0)

    @property
    def class_rows(self) -> Tensor:
        """Rows of the K classes, without the background, shape (K, D); masks may be made of them.

        Mask^X R-CNN transfers from such rows too.
        """
        return self.weight[:-1]


class SoftmaxBoxPredictor(DetectingOutputLayers):
    """Fast R-CNN's output layers as detectron2 has them; for joint training only.

    The length of a row counts here: a class with many examples gets a long one, and wins.
    """

    def __init__(self, input_shape: ShapeSpec, *, classes: int, **options: Any) -> None:
        super().__init__(input_shape, num_classes=classes, **options)
        self.cls_score = LinearClassifier(
            features=input_shape.channels, classes=classes, bias=self.class_loss.first_bias
        )
