"""The training loop: read it from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.utils.events import EventStorage

from lst_cli.engine.averaging import WeightAverage
from lst_cli.engine.device import seed_iteration
from lst_cli.engine.interrupt import deferred_interrupt
from lst_cli.engine.optim import lr_factor, set_lr
from lst_cli.errors import InterruptionError, LstError
from lst_cli.modeling.distillation import Distillation
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.settings.models import ScheduleSettings

Batch = list[dict[str, Any]]

MOST_OVERFLOWS = 50
"""Updates in a row that mixed precision may pass over: its scale is then 2^-50 of the first."""


@dataclass(frozen=True)
class Report:
    """One iteration, as it went.

    Attributes:
        iteration: Iterations done, this one included.
        iterations: Iterations of the phase.
        losses: Each loss, and `total`.
        lr: Learning rate, before the factors of biases and backbone.
        seconds: Time since the phase began, interruptions left out.
        details: Further numbers, such as regions sampled or the gradient norm.
    """

    iteration: int
    iterations: int
    losses: dict[str, float]
    lr: float
    seconds: float
    details: dict[str, float] = field(default_factory=dict)


def train(
    model: LstRCNN,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    schedule: ScheduleSettings,
    *,
    phase: int,
    start: int,
    iterations: int,
    seed: int,
    seconds: float,
    distillation: Distillation | None,
    on_iteration: Callable[[Report], None],
    save: Callable[[int, float], None],
    support: Iterable[Batch] | None = None,
    average: WeightAverage | None = None,
) -> float:
    """Train a model in place.

    Args:
        model: The network, on its device, with what is frozen frozen.
        batches: One batch for each iteration from `start` on.
        optimizer: From `build_optimizer`.
        scaler: Gradient scaler; disabled without mixed precision.
        schedule: Learning rate, clipping, and how often to save.
        phase: t, for the seed of each iteration.
        start: Iterations already done.
        iterations: Iterations after which to end.
        seed: The run's seed.
        seconds: Time already spent.
        distillation: What to keep of the previous phase's model; None in the base phase.
        on_iteration: Called after each iteration.
        save: Called with the iterations done and the time, whenever a state should be kept.
        support: Support images of each iteration's episode, where features are not kept.
        average: Follows the weights.

    Returns:
        Seconds of training, earlier runs included.

    Raises:
        InterruptionError: If the user asked to stop; the state is saved.
        LstError: If a loss or the gradient is no finite number; the last state that was saved
            is good.
    """
    device = model.device
    model.train()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    began = time.perf_counter() - seconds
    overflows = 0
    with EventStorage(start) as storage, deferred_interrupt() as stop:
        reader = iter(batches)
        supporter = iter(support) if support is not None else None
        for iteration in range(start, iterations):
            try:
                batch = next(reader, None)
                supporting = next(supporter) if supporter is not None else None
            except LstError:  # an image went missing: what was trained so far is good
                if iteration > start:
                    save(iteration, time.perf_counter() - began)
                raise
            if batch is None:
                raise ValueError(f"batches end before iteration {iteration}")
            seed_iteration(seed, phase, iteration)
            factor = lr_factor(iteration, iterations, schedule)
            set_lr(optimizer, factor)
            try:
                with torch.autocast(device.type, enabled=scaler.is_enabled()):
                    losses = model.losses(batch, distillation, supporting)
                    loss_sum = torch.stack([loss.float() for loss in losses.values()]).sum()
            except FloatingPointError as error:
                # detectron2's word for proposals that are no numbers.
                raise _diverged("proposals are not finite", iteration, phase) from error
            values = {name: loss.item() for name, loss in losses.items()}
            bad = [f"{name} = {v}" for name, v in values.items() if not math.isfinite(v)]
            if bad:
                raise _diverged(", ".join(bad), iteration, phase)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss_sum).backward()  # type: ignore[no-untyped-call]
            details = _latest(storage)
            scaler.unscale_(optimizer)
            clip = schedule.clip_gradients or math.inf
            norm = torch.nn.utils.clip_grad_norm_(parameters, clip).item()
            details["gradient_norm"] = norm
            # Mixed precision passes over such an update and goes on with a smaller scale.
            overflows = 0 if math.isfinite(norm) else overflows + 1
            if overflows > (MOST_OVERFLOWS if scaler.is_enabled() else 0):
                raise _diverged(f"gradient norm = {norm}", iteration, phase)
            scaler.step(optimizer)
            scaler.update()
            if average is not None:
                average.update()
            storage.step()

            done, spent = iteration + 1, time.perf_counter() - began
            on_iteration(
                Report(
                    done,
                    iterations,
                    {**values, "total": sum(values.values())},
                    schedule.lr * factor,
                    spent,
                    details,
                )
            )
            # Whoever asks to stop in the last iteration does not want the next phase either.
            if stop.requested or (done < iterations and done % schedule.save_every == 0):
                save(done, spent)
            if stop.requested:
                raise InterruptionError(
                    f"interrupted after iteration {done} of {iterations} of phase {phase}; "
                    "the state is saved",
                    "run the same command again to continue",
                )
    return time.perf_counter() - began


def _diverged(what: str, iteration: int, phase: int) -> LstError:
    section = "base" if phase == 0 else "step"
    return LstError(
        f"training diverged at iteration {iteration + 1} of phase {phase}: {what}; "
        "the last saved state is kept",
        f"start the phase anew with --restart and a smaller {section}.lr, "
        f"or with --set {section}.clip_gradients=10",
    )


def _latest(storage: EventStorage) -> dict[str, float]:
    return {name: float(value) for name, (value, _) in storage.latest().items()}
