"""The cosine classifier (Eq. 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cosines(features: Tensor, weight: Tensor) -> Tensor:
    """Cosine of the angle between each region and each class row, shape (R, K).

    Both sides lose their length, so a class seen in three images competes on equal terms with
    one seen in three thousand.
    A zero feature, of shape (R, D), or row, of shape (K, D), gives 0.

    Example:
        >>> cosines(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.5, 0.0], [0.0, 9.0]]))
        tensor([[1., 0.]])
    """
    # Half precision would lose the small differences that the scale then multiplies.
    with torch.autocast(features.device.type, enabled=False):
        directions = F.normalize(features.float(), dim=-1)  # (R, D)
        rows = F.normalize(weight.float(), dim=-1)  # (K, D)
        return directions @ rows.T  # (R, K)


class CosineClassifier(nn.Module):
    """Scores regions by cosine times a scale; the background is a row like any other, the last.

    Its `weight` has shape (K + 1, D); the scale is the inverse temperature of the softmax. A bias,
    where one is given at first, is trained and the same for all classes.
    """

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        scale: float,
        learn_scale: bool,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes + 1, features))
        self.scale = nn.Parameter(torch.tensor(float(scale)), requires_grad=learn_scale)
        self.bias = None if bias is None else nn.Parameter(torch.tensor(bias))
        self._new_rows: Tensor | None = None
        nn.init.normal_(self.weight, std=0.01)

    @property
    def rows(self) -> Tensor:
        """The rows that score: as stored, or with others for the new classes."""
        if self._new_rows is None:
            return self.weight
        old = self.weight[: -1 - len(self._new_rows)]
        return torch.cat([old, self._new_rows, self.weight[-1:]])

    @property
    def class_rows(self) -> Tensor:
        """Rows of the K classes, raw, without the background, shape (K, D)."""
        return self.rows[:-1]

    @contextmanager
    def new_rows(self, rows: Tensor) -> Iterator[None]:
        """Score with other rows for the newest classes, while it lasts; nothing is stored.

        `rows` are those of the last C classes before the background, shape (C, D). Gradients flow
        into them, and none into the stored ones that they stand for.
        """
        self._new_rows = rows.to(self.weight.dtype)
        try:
            yield
        finally:
            self._new_rows = None

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features, shape (R, D): shape (R, K + 1)."""
        return self.logits(cosines(features, self.rows))

    def logits(self, cosines: Tensor) -> Tensor:
        """Logits of cosines: each in [-scale, scale], moved by the bias."""
        scaled = self.scale * cosines
        return scaled if self.bias is None else scaled + self.bias
