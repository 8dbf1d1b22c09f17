"""What an update changes: weights, optimizer, learning rate and average (section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.solver.build import get_default_optimizer_params
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lst_cli.errors import LstError
from lst_cli.settings.models import ScheduleSettings


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Freeze the parameters whose names begin so; an `LstError` if a prefix fits none."""
    names = dict(model.named_parameters())
    for prefix in prefixes:
        chosen = [name for name in names if name.startswith(prefix)]
        if not chosen:
            some = sorted({".".join(name.split(".")[:2]) for name in names})
            raise LstError(
                f"freeze: no parameter's name begins with {prefix!r}",
                f"names begin with {', '.join(some)}",
            )
        for name in chosen:
            names[name].requires_grad_(False)


def freeze_other_rows(weight: Tensor, trained: range) -> None:
    """Let training change only some rows of a weight, if it is trained at all.

    Weight decay still shortens the others, which a cosine does not see.
    """

    def keep(gradient: Tensor) -> Tensor:
        kept = torch.zeros_like(gradient)
        kept[trained.start : trained.stop] = gradient[trained.start : trained.stop]
        return kept

    if weight.requires_grad:
        weight.register_hook(keep)  # type: ignore[no-untyped-call]


def build_optimizer(model: nn.Module, settings: ScheduleSettings) -> torch.optim.Optimizer:
    """The optimizer of a phase; biases have their own rate and decay, as in the reference code."""

    # detectron2's own factor for biases would replace the backbone's instead of multiplying it.
    def factor(name: str) -> float:
        backbone = settings.backbone_lr_factor if name.startswith("backbone.bottom_up.") else 1.0
        bias = settings.bias_lr_factor if name.rpartition(".")[2] == "bias" else 1.0
        return backbone * bias

    groups = get_default_optimizer_params(
        model,
        base_lr=settings.lr,
        weight_decay=settings.weight_decay,
        weight_decay_bias=settings.bias_weight_decay,
        lr_factor_func=factor,
    )
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    else:
        optimizer = torch.optim.AdamW(groups, lr=settings.lr)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def lr_factor(iteration: int, iterations: int, settings: ScheduleSettings) -> float:
    """Factor of the learning rate: linear warm-up, and a tenth after each of `decay_epochs`."""
    decays = sum(
        iteration >= round(epoch / settings.epochs * iterations) for epoch in settings.decay_epochs
    )
    # Short phases (and tests) must not spend themselves on warming up.
    warmup = min(settings.warmup_iterations, iterations // 4)
    warm = 1.0
    if iteration < warmup:
        warm = settings.warmup_factor + (1 - settings.warmup_factor) * iteration / warmup
    return float(warm * round(0.1**decays, 12))


class WeightAverage(AveragedModel):
    """A running average of the weights that are trained (Polyak averaging).

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that it follows closely at first.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        # A list, so that neither frozen weights nor buffers are held twice.
        weights = nn.ParameterList([p for p in model.parameters() if p.requires_grad])
        super().__init__(weights)
        self._own = (weights,)  # in a tuple: they are not part of the average
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the average."""
        done = int(self.n_averaged)  # on the CPU: no device is waited for
        share = 1 - min(self._decay, (1 + done) / (10 + done)) if done else 1.0
        for average, weight in zip(self.parameters(), self._own[0], strict=True):
            average.lerp_(weight, share)
        self.n_averaged += 1

    @torch.no_grad()
    def replace_weights(self) -> None:
        """Put the averages in place of the weights."""
        for weight, average in zip(self._own[0], self.parameters(), strict=True):
            weight.copy_(average)


@dataclass
class Learner:
    """A model with all that its updates change."""

    model: Any  # the network, on its device
    schedule: ScheduleSettings
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # disabled without mixed precision
    average: WeightAverage | None

    @classmethod
    def of(cls, model: Any, schedule: ScheduleSettings) -> Learner:
        """A new learner of the parameters that are not frozen."""
        device = model.device.type
        return cls(
            model,
            schedule,
            build_optimizer(model, schedule),
            torch.amp.GradScaler(device, enabled=schedule.amp and device == "cuda"),
            WeightAverage(model, schedule.ema) if schedule.ema > 0 else None,
        )

    def set_rate(self, factor: float) -> None:
        """Set every group's learning rate to its initial one times a factor."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
