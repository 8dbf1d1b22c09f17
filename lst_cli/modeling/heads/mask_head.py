"""Mask branches: weight transfer plus a class-agnostic MLP (Mask^X R-CNN), or Mask R-CNN's own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.roi_heads.mask_head import (
    MaskRCNNConvUpsampleHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from detectron2.structures import Instances
from torch import Tensor, nn

MlpInput = Literal["deconv", "conv", "none"]


class WeightTransfer(nn.Sequential):
    """Writes the last mask layer of a class, shape (M,), from its classifier row, shape (D,).

    Two linear layers with a leaky ReLU after each, the same for all classes: a class that has
    a classifier row has a mask. It reads raw rows, and gradients flow back into them.
    """

    def __init__(self, *, features: int, channels: int) -> None:
        super().__init__(
            nn.Linear(features, features),
            nn.LeakyReLU(0.01),
            nn.Linear(features, channels),
            nn.LeakyReLU(0.01),
        )


def class_mask_logits(features: Tensor, weights: Tensor) -> Tensor:
    """A bias-free 1x1 convolution with one weight vector a region: shape (R, 1, H, W).

    Only the region's own class is computed: with 1,230 classes, the others would cost a
    thousand times as much and be thrown away.
    Features have shape (R, M, H, W), and weights of each region's class (R, M).

    Example:
        >>> class_mask_logits(torch.ones(1, 2, 1, 1), torch.tensor([[3.0, 4.0]])).flatten()
        tensor([7.])
    """
    return torch.einsum("rmhw,rm->rhw", features, weights)[:, None]


class _OwnClassMasks(MaskRCNNConvUpsampleHead):  # type: ignore[misc]
    """detectron2's losses and masks, with only each region's own class computed.

    Keeps detectron2's names for the convolutions, so that COCO weights load by name.
    """

    def forward(
        self, x: Tensor, instances: list[Instances], class_rows: Tensor
    ) -> dict[str, Tensor] | list[Instances]:
        """Losses in training; otherwise the instances, with `pred_masks` added.

        `x` has the pooled features of all regions, shape (R, channels, 14, 14), whose `gt_classes`
        or `pred_classes` name the class; `class_rows` are raw classifier rows, shape (K, D).
        """
        if self.training:
            logits = self.mask_logits(x, cat([i.gt_classes for i in instances]), class_rows)
            return {"loss_mask": mask_rcnn_loss(logits, instances) * self.loss_weight}
        classes = cat([i.pred_classes for i in instances])
        mask_rcnn_inference(self.mask_logits(x, classes, class_rows), instances)
        return instances

    def mask_logits(self, x: Tensor, classes: Tensor, class_rows: Tensor) -> Tensor:
        """Logits of each region's own class, shape (R, 1, 2H, 2H)."""
        raise NotImplementedError


class TransferMaskHead(_OwnClassMasks):
    """Mask logits of a class: its generated 1x1 convolution, plus the MLP's class-free mask.

    `row_features` is D, the length of a classifier row. The MLP reads the output of the
    deconvolution (reference code) or of the convolutions before it (Mask^X R-CNN), or there is
    none. `mlp_hidden` is the width of its hidden layer; 0 for a single linear layer.
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

    def mask_logits(self, x: Tensor, classes: Tensor, class_rows: Tensor) -> Tensor:
        """Logits of each region's own class, shape (R, 1, 2H, 2H)."""
        # Not class_rows[classes]: on a CPU its gradient adds up in whatever order threads come, and
        # no run would repeat. (On a GPU it is the other way round, but there others add so too.)
        rows = class_rows.index_select(0, classes)  # (R, D)
        for layer in self.conv_norm_relus:
            x = layer(x)
        return self.logits_of(x, self.deconv_relu(self.deconv(x)), rows)

    def logits_of(self, x: Tensor, upsampled: Tensor, rows: Tensor) -> Tensor:
        """Logits from the convolved features, the upsampled ones, and the row of each region."""
        logits = class_mask_logits(upsampled, self.transfer(rows))
        if self.mlp_input != "none":
            mlp = self.mlp(upsampled if self.mlp_input == "deconv" else x)
            logits = logits + mlp.view(-1, 1, self.side, self.side)
        return logits


class FcnMaskHead(_OwnClassMasks):
    """detectron2's class-specific masks: a last layer for each class; for joint training only."""

    def __init__(self, input_shape: ShapeSpec, *, classes: int, **options: Any) -> None:
        super().__init__(input_shape, **{**options, "num_classes": classes})

    def mask_logits(self, x: Tensor, classes: Tensor, class_rows: Tensor) -> Tensor:
        """Logits of each region's own class, shape (R, 1, 2H, 2H); rows do not matter here."""
        for layer in self.conv_norm_relus:
            x = layer(x)
        upsampled = self.deconv_relu(self.deconv(x))  # (R, M, 2H, 2H)
        # Not weight[classes], see above.
        weights = self.predictor.weight.flatten(1).index_select(0, classes)  # (R, M)
        bias = self.predictor.bias.index_select(0, classes)  # (R,)
        logits: Tensor = class_mask_logits(upsampled, weights) + bias[:, None, None, None]
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
