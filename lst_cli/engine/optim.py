"""Update rule and learning-rate schedule (section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.solver.build import get_default_optimizer_params
from torch import nn

from lst_cli.errors import LstError
from lst_cli.settings.models import ScheduleSettings


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop training of all parameters whose names begin with one of the prefixes.

    Raises:
        LstError: If a prefix fits no parameter.
    """
    names = dict(model.named_parameters())
    for prefix in prefixes:
        chosen = [name for name in names if name.startswith(prefix)]
        if not chosen:
            some = sorted({".".join(name.split(".")[:2]) for name in names})
            raise LstError(
                f"step.freeze: no parameter's name begins with {prefix!r}",
                f"names begin with {', '.join(some)}",
            )
        for name in chosen:
            names[name].requires_grad_(False)


def build_optimizer(model: nn.Module, settings: ScheduleSettings) -> torch.optim.Optimizer:
    """The optimizer of a phase, over the parameters that are trained.

    Biases learn at `bias_lr_factor` and decay at `bias_weight_decay` (reference code).
    """
    groups = get_default_optimizer_params(
        model,
        base_lr=settings.lr,
        weight_decay=settings.weight_decay,
        weight_decay_bias=settings.bias_weight_decay,
        lr_factor_func=lambda name: _factor(name, settings),
    )
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    else:
        optimizer = torch.optim.AdamW(groups, lr=settings.lr)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def _factor(name: str, settings: ScheduleSettings) -> float:
    # detectron2's own factor for biases would replace the backbone's instead of multiplying it.
    backbone = settings.backbone_lr_factor if name.startswith("backbone.bottom_up.") else 1.0
    bias = settings.bias_lr_factor if name.rpartition(".")[2] == "bias" else 1.0
    return backbone * bias


def lr_factor(iteration: int, iterations: int, settings: ScheduleSettings) -> float:
    """Learning rate of an iteration, as a factor of the initial one.

    Linear warm-up, and a tenth after each of `decay_epochs`.

    Args:
        iteration: 0 ... iterations - 1.
        iterations: Iterations of the phase; they make up `settings.epochs`.
        settings: The schedule.

    Example:
        >>> from lst_cli.settings.models import BaseSettings
        >>> schedule = BaseSettings(warmup_iterations=0)
        >>> [lr_factor(i, 100, schedule) for i in (0, 59, 60, 80)]
        [1.0, 1.0, 0.1, 0.01]
    """
    decays = sum(
        iteration >= round(epoch / settings.epochs * iterations) for epoch in settings.decay_epochs
    )
    # Short phases (and tests) must not spend themselves on warming up.
    warmup = min(settings.warmup_iterations, iterations // 4)
    warm = 1.0
    if iteration < warmup:
        warm = settings.warmup_factor + (1 - settings.warmup_factor) * iteration / warmup
    return float(warm * round(0.1**decays, 12))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its initial one times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
