"""Mask weights from classifier rows: the weight transfer function of Mask^X R-CNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightTransfer(nn.Sequential):
    """Writes the last mask layer of a class from its classifier row.

    Two linear layers with a leaky ReLU after each, the same for all classes: a class that has
    a classifier row has a mask. It reads raw rows, and gradients flow back into them.

    Args:
        features: D, length of a classifier row.
        channels: M, channels of the mask features.
    """

    def __init__(self, *, features: int, channels: int) -> None:
        super().__init__(
            nn.Linear(features, features),
            nn.LeakyReLU(0.01),
            nn.Linear(features, channels),
            nn.LeakyReLU(0.01),
        )


def class_mask_logits(features: Tensor, weights: Tensor) -> Tensor:
    """A bias-free 1x1 convolution with one weight vector a region.

    Only the region's own class is computed: with 1,230 classes, the others would cost a
    thousand times as much and be thrown away.

    Args:
        features: Mask features, shape (R, M, H, W).
        weights: Generated weights of each region's class, shape (R, M).

    Returns:
        Mask logits, shape (R, 1, H, W).

    Example:
        >>> class_mask_logits(torch.ones(1, 2, 1, 1), torch.tensor([[3.0, 4.0]])).flatten()
        tensor([7.])
    """
    return torch.einsum("rmhw,rm->rhw", features, weights)[:, None]
