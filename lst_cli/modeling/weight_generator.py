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
    """Writes a classifier row from the feature of one box.

    A new class is told by what it looks like, and by the base classes it resembles:
    w = a ⊙ x + b ⊙ (W_B m), with x the feature at unit length, W_B the base classes' rows at
    unit length, and m the attention that x pays to them.

    Attributes:
        query: V, shape (D, D).
        keys: K, one learned key a base class, shape (b, D).
        attention_scale: Inverse temperature of the attention.
        feature_gain: a, shape (D,); or (D, D) in the matrix form.
        attention_gain: b, shape (D,); or (D, D).
        background_share: How much of x along the background's row is taken out; None for the
            paper's x as it is.

    Args:
        features: D.
        base_classes: b.
        form: Whether a and b are vectors (Eq. 3) or full matrices (reference code).
        attention_scale: Initial scale; trained.
        background_share: Its initial value; trained. Features of new classes have much in
            common with the background, which a cannot take out of them, being diagonal.
            0 leaves it out, as the paper does.
        generator: Source of the initial values; torch's own by default.
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
        self.query = nn.Parameter(torch.eye(features) + 0.001 * noise)
        self.keys = nn.Parameter(math.sqrt(2 / features) * keys)
        self.attention_scale = nn.Parameter(torch.tensor(float(attention_scale)))
        unit = torch.ones(features) if form == "vectors" else torch.eye(features)
        self.feature_gain = nn.Parameter(unit)
        self.attention_gain = nn.Parameter(unit.clone())
        self.background_share = (
            nn.Parameter(torch.tensor(float(background_share))) if background_share else None
        )

    def attention(self, features: Tensor) -> Tensor:
        """What each box's feature has of the base classes.

        Args:
            features: Shape (R, D), of whatever length.

        Returns:
            m, shape (R, b); rows sum to 1.
        """
        with _single_precision(features):
            queries = F.normalize(features.float(), dim=-1) @ self.query.T  # (R, D)
            return (self.attention_scale * cosines(queries, self.keys)).softmax(dim=-1)

    def forward(self, features: Tensor, base_rows: Tensor, background_row: Tensor) -> Tensor:
        """Write one row a box (Eq. 3).

        Args:
            features: Features of boxes, shape (R, D), of whatever length.
            base_rows: Classifier rows of the base classes, shape (b, D), of whatever length.
            background_row: Classifier row of the background, shape (D,).

        Returns:
            Rows, shape (R, D), at the length Eq. (3) gives them.
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
    """Average what belongs to the boxes of each class.

    A matrix product rather than an indexed sum: it adds in the same order on every device.

    Args:
        values: Shape (R, D).
        labels: Class of each box, 0 ... classes - 1, shape (R,).
        classes: C.

    Returns:
        Shape (C, D); zeros for a class without boxes.

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
