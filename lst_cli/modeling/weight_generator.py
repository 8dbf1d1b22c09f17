"""The meta weight generator (Eq. 3): classifier rows of new classes from a few of their boxes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lst_cli.modeling.heads.cosine import cosines

Form = Literal["vectors", "matrices"]


class WeightGenerator(nn.Module):
    """Writes a classifier row, of length D, from the feature of one box.

    A new class is known by what it looks like, and by the base classes it resembles:
    w = a ⊙ x + b ⊙ (W_B m), with x the feature at unit length, W_B the base classes' rows at
    unit length, and m the attention that x pays to them.

    In the matrix form (reference code) a and b are full matrices. Features of new classes have much
    in common with the background, which a cannot take out of them, being diagonal: a trained
    `background_share` of x along the background's row is. 0 leaves it out, as the paper does.
    """

    def __init__(
        self,
        *,
        features: int,
        base_classes: int,
        form: Form = "vectors",
        attention_scale: float = 10.0,
        background_share: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.features, self.base_classes = features, base_classes
        noise = torch.randn(features, features, generator=generator)
        keys = torch.randn(base_classes, features, generator=generator)
        self.query = nn.Parameter(torch.eye(features) + 0.001 * noise)  # V, shape (D, D)
        self.keys = nn.Parameter(math.sqrt(2 / features) * keys)  # K, shape (b, D)
        # Inverse temperature of the attention.
        self.attention_scale = nn.Parameter(torch.tensor(float(attention_scale)))
        unit = torch.ones(features) if form == "vectors" else torch.eye(features)
        self.feature_gain = nn.Parameter(unit)  # a, shape (D,) or (D, D)
        self.attention_gain = nn.Parameter(unit.clone())  # b, likewise
        self.background_share = (
            nn.Parameter(torch.tensor(float(background_share))) if background_share else None
        )

    def attention(self, features: Tensor) -> Tensor:
        """What each box's feature has of the base classes: m, shape (R, b); rows sum to 1.

        Features have shape (R, D) and any length.
        """
        with _single_precision(features):
            queries = F.normalize(features.float(), dim=-1) @ self.query.T  # (R, D)
            return (self.attention_scale * cosines(queries, self.keys)).softmax(dim=-1)

    def forward(self, features: Tensor, base_rows: Tensor, background_row: Tensor) -> Tensor:
        """Write one row a box, shape (R, D), at the length that Eq. (3) gives them.

        Features of boxes, shape (R, D), and rows of base classes, shape (b, D), have any length.
        """
        with _single_precision(features):
            seen = F.normalize(features.float(), dim=-1)  # (R, D)
            resembled = self.attention(features) @ F.normalize(base_rows.float(), dim=-1)  # (R, D)
            if self.background_share is not None:
                background = F.normalize(background_row.float(), dim=-1)  # (D,)
                along = (seen @ background)[:, None] * background  # (R, D)
                seen = seen - self.background_share * along
            return _gained(self.feature_gain, seen) + _gained(self.attention_gain, resembled)


def average_by_class(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Average values of boxes, shape (R, D), by their labels: shape (C, D), zeros without a box.

    A matrix product rather than an indexed sum: it adds in the same order on every device.

    Example:
        >>> average_by_class(torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([1, 1, 0]), 2)
        tensor([[8.],
                [2.]])
    """
    with _single_precision(values):
        membership = F.one_hot(labels, classes).T.to(values.dtype)  # (C, R)
        totals: Tensor = membership @ values
        return totals / membership.sum(dim=1, keepdim=True).clamp(min=1)


def _single_precision(values: Tensor) -> torch.autocast:
    """Mixed precision would write other rows in training than those that are delivered."""
    return torch.autocast(values.device.type, enabled=False)


def _gained(gain: Tensor, values: Tensor) -> Tensor:
    return gain * values if gain.ndim == 1 else values @ gain.T
