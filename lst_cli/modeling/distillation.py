"""Distillation against forgetting (Eq. 2)."""

from __future__ import annotations

from torch import Tensor


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance between what two models think of the old classes.

    Args:
        student: Cosines of the model in training with the rows of the old classes, before the
            scale and without the background, on ground-truth boxes of new classes: shape (R, K).
        teacher: The same of the previous phase's model, shape (R, K).

    Returns:
        The sum over classes, averaged over boxes; 0 (with a gradient of 0) without boxes.

    Example:
        >>> import torch
        >>> distillation_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, 0.5]]))
        tensor(0.5000)
    """
    squared = (student - teacher.detach()).square()  # (R, K)
    return squared.sum() / max(len(squared), 1)
