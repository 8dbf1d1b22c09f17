"""The mask branch: weight transfer plus a class-agnostic MLP (Mask^X R-CNN, as in the paper)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.roi_heads.mask_head import (
    MaskRCNNConvUpsampleHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from detectron2.structures import Instances
from torch import Tensor, nn

from lst_cli.modeling.heads.transfer import WeightTransfer, class_mask_logits

MlpInput = Literal["deconv", "conv", "none"]


class TransferMaskHead(MaskRCNNConvUpsampleHead):  # type: ignore[misc]
    """Mask logits of a class: its generated 1x1 convolution, plus the MLP's class-free mask.

    Keeps detectron2's names for the convolutions, so that COCO weights load by name.

    Args:
        input_shape: Shape of the pooled features.
        row_features: D, length of a classifier row.
        mlp_input: What the MLP reads: the output of the deconvolution (reference code), of the
            convolutions before it (Mask^X R-CNN), or none for no MLP.
        mlp_hidden: Width of its hidden layer; 0 for a single linear layer.
        options: Further arguments of `MaskRCNNConvUpsampleHead`.
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        row_features: int,
        mlp_input: MlpInput,
        mlp_hidden: int,
        **options: Any,
    ) -> None:
        super().__init__(input_shape, **{**options, "num_classes": 1})
        del self.predictor
        channels = self.deconv.out_channels
        self.transfer = WeightTransfer(features=row_features, channels=channels)
        self.mlp_input = mlp_input
        self.side = 2 * input_shape.height
        read = {
            "deconv": channels * self.side**2,
            "conv": self.deconv.in_channels * input_shape.height**2,
        }
        self.mlp = (
            nn.Identity() if mlp_input == "none" else _mlp(read[mlp_input], mlp_hidden, self.side)
        )

    def forward(
        self, x: Tensor, instances: list[Instances], class_rows: Tensor
    ) -> dict[str, Tensor] | list[Instances]:
        """Losses in training; otherwise the instances, with `pred_masks` added.

        Args:
            x: Pooled features of all regions, shape (R, channels, 14, 14).
            instances: The regions, image by image; `gt_classes` or `pred_classes` name the class.
            class_rows: Raw classifier rows, shape (K, D).
        """
        if self.training:
            classes = cat([i.gt_classes for i in instances])
            # Not class_rows[classes]: its gradient adds up in whatever order threads come, and
            # no run on a CPU would repeat.
            logits = self.mask_logits(x, class_rows.index_select(0, classes))
            return {"loss_mask": mask_rcnn_loss(logits, instances) * self.loss_weight}
        classes = cat([i.pred_classes for i in instances])
        rows = class_rows.index_select(0, classes)
        mask_rcnn_inference(self.mask_logits(x, rows), instances)
        return instances

    def mask_logits(self, x: Tensor, rows: Tensor) -> Tensor:
        """Logits of each region's own class.

        Args:
            x: Pooled features, shape (R, channels, H, H).
            rows: Classifier row of each region's class, shape (R, D).

        Returns:
            Shape (R, 1, 2H, 2H).
        """
        for layer in self.conv_norm_relus:
            x = layer(x)
        convolved = x
        upsampled = self.deconv_relu(self.deconv(x))  # (R, M, 2H, 2H)
        logits = class_mask_logits(upsampled, self.transfer(rows))
        if self.mlp_input != "none":
            mlp = self.mlp(upsampled if self.mlp_input == "deconv" else convolved)
            logits = logits + mlp.view(-1, 1, self.side, self.side)
        return logits


def _mlp(read: int, hidden: int, side: int) -> nn.Sequential:
    widths = [read, hidden, side**2] if hidden else [read, side**2]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        linear = nn.Linear(before, after)
        nn.init.kaiming_uniform_(linear.weight, a=1)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
