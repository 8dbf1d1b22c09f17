"""Mask R-CNN's own mask branch: a last layer of its own for each class; for joint training only."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.roi_heads.mask_head import (
    MaskRCNNConvUpsampleHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from detectron2.structures import Instances
from torch import Tensor

from lst_cli.modeling.heads.transfer import class_mask_logits


class FcnMaskHead(MaskRCNNConvUpsampleHead):  # type: ignore[misc]
    """detectron2's class-specific masks, of which only each region's own class is computed.

    Losses and masks are detectron2's: the masks of other classes have no part in either.

    Args:
        input_shape: Shape of the pooled features.
        classes: K.
        options: Further arguments of `MaskRCNNConvUpsampleHead`.
    """

    def __init__(self, input_shape: ShapeSpec, *, classes: int, **options: Any) -> None:
        super().__init__(input_shape, **{**options, "num_classes": classes})

    def forward(
        self, x: Tensor, instances: list[Instances], class_rows: Tensor
    ) -> dict[str, Tensor] | list[Instances]:
        """Losses in training; otherwise the instances, with `pred_masks` added.

        Args:
            x: Pooled features of all regions, shape (R, channels, 14, 14).
            instances: The regions, image by image; `gt_classes` or `pred_classes` name the class.
            class_rows: Raw classifier rows, which do not matter here.
        """
        del class_rows
        if self.training:
            logits = self.mask_logits(x, cat([i.gt_classes for i in instances]))
            return {"loss_mask": mask_rcnn_loss(logits, instances) * self.loss_weight}
        mask_rcnn_inference(
            self.mask_logits(x, cat([i.pred_classes for i in instances])), instances
        )
        return instances

    def mask_logits(self, x: Tensor, classes: Tensor) -> Tensor:
        """Logits of each region's own class.

        Args:
            x: Pooled features, shape (R, channels, H, H).
            classes: Label of each region, shape (R,).

        Returns:
            Shape (R, 1, 2H, 2H).
        """
        for layer in self.conv_norm_relus:
            x = layer(x)
        upsampled = self.deconv_relu(self.deconv(x))  # (R, M, 2H, 2H)
        # Not weight[classes], whose gradient adds up in no fixed order.
        weights = self.predictor.weight.flatten(1).index_select(0, classes)  # (R, M)
        bias = self.predictor.bias.index_select(0, classes)  # (R,)
        logits: Tensor = class_mask_logits(upsampled, weights) + bias[:, None, None, None]
        return logits
