"""The training loop: read it from top to bottom."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch import Tensor

from lst_cli import ranks
from lst_cli.engine import processes
from lst_cli.engine.device import seed_iteration
from lst_cli.engine.optim import Learner, lr_factor
from lst_cli.errors import InterruptionError, LstError

MOST_OVERFLOWS = 50  # updates in a row that mixed precision may skip, halving its scale


@dataclass(frozen=True)
class Span:
    """The iterations that a run trains: `start` are done, and it ends after `iterations`."""

    phase: int
    seed: int  # with phase and iteration it decides the random numbers of each iteration
    start: int
    iterations: int
    seconds: float  # time already spent


@dataclass(frozen=True)
class Report:
    """One iteration, as it went."""

    iteration: int  # iterations done, this one included
    iterations: int  # of the phase
    losses: dict[str, float]  # each loss, and `total`
    lr: float  # before the factors of biases and backbone
    seconds: float  # since the phase began, interruptions left out
    details: dict[str, float] = field(default_factory=dict)  # regions sampled, gradient norm, ...


def train(
    learner: Learner,
    batches: Iterable[Any],
    losses_of: Callable[[Any], dict[str, Tensor]],
    span: Span,
    *,
    on_iteration: Callable[[Report], None],
    save: Callable[[int, float], None],
) -> float:
    """Train a model in place; the seconds it took, earlier runs included.

    There is a batch for each iteration from `span.start` on. `save` is called with the iterations
    done and the time, whenever a state should be kept; also before an error ends the run, such as a
    lost image or too little memory, unless it came while weights were being changed. Raises an
    `InterruptionError` if the user asked to stop, after the state was saved, and an `LstError` if a
    loss or the gradient is no finite number; the last state that was saved is good.
    """
    model, optimizer, scaler = learner.model, learner.optimizer, learner.scaler
    schedule, phase, iterations = learner.schedule, span.phase, span.iterations
    model.train()
    began = time.perf_counter() - span.seconds
    overflows = 0
    with EventStorage(span.start) as storage, deferred_interrupt() as stop:
        reader = iter(batches)
        for iteration in range(span.start, iterations):
            factor = lr_factor(iteration, iterations, schedule)
            learner.set_rate(factor)
            try:
                batch = next(reader, None)
                if batch is None:
                    raise ValueError(f"batches end before iteration {iteration}")
                seed_iteration(span.seed, phase, iteration)
                values, norm = _find_gradient(learner, batch, losses_of)
                *each, asked = processes.sums([*values.values(), stop.requested])
                values = dict(zip(values, each, strict=True))
            except FloatingPointError as error:
                # Raised by detectron2 for proposals that are no numbers.
                raise _diverged("proposals are not finite", iteration, phase) from error
            except Exception:
                # What is wrong is told by this error, not by one of saving.
                with suppress(Exception):
                    if iteration > span.start:
                        save(iteration, time.perf_counter() - began)
                raise
            if bad := [f"{name} = {v}" for name, v in values.items() if not math.isfinite(v)]:
                raise _diverged(", ".join(bad), iteration, phase)
            # Mixed precision skips such an update and goes on with a smaller scale.
            overflows = 0 if math.isfinite(norm) else overflows + 1
            if overflows > (MOST_OVERFLOWS if scaler.is_enabled() else 0):
                raise _diverged(f"gradient norm = {norm}", iteration, phase)
            details = {name: float(value) for name, (value, _) in storage.latest().items()}
            details["gradient_norm"] = norm
            scaler.step(optimizer)
            scaler.update()
            if learner.average is not None:
                learner.average.update()
            storage.histories().clear()  # which would grow with the run
            storage.step()

            done, spent = iteration + 1, time.perf_counter() - began
            values["total"] = sum(values.values())
            on_iteration(Report(done, iterations, values, schedule.lr * factor, spent, details))
            # A request to stop in the last iteration stops the next phase too.
            stopping = stop.requested if ranks.world() == 1 else asked > 0
            if stopping or (done < iterations and done % schedule.save_every == 0):
                save(done, spent)
            if stopping:
                processes.wait()  # for the first one, which saves
                raise InterruptionError(
                    f"interrupted after iteration {done} of {iterations} of phase {phase}; "
                    "the state is saved",
                    "run the same command again to continue",
                )
    return time.perf_counter() - began


def _find_gradient(
    learner: Learner, batch: Any, losses_of: Callable[[Any], dict[str, Tensor]]
) -> tuple[dict[str, float], float]:
    """Losses of a batch, and the norm of their gradient, which parameters have, clipped."""
    optimizer, scaler = learner.optimizer, learner.scaler
    with torch.autocast(learner.model.device.type, enabled=scaler.is_enabled()):
        losses = losses_of(batch)
        each = torch.stack([loss.float() for loss in losses.values()])
        total = each.sum()
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    processes.add_gradients(parameters)
    scaler.unscale_(optimizer)
    clip = learner.schedule.clip_gradients or math.inf
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
    # In one transfer, because each waits for all that the device has to do.
    *values, length = torch.cat([each.detach(), norm[None]]).tolist()
    return dict(zip(losses, values, strict=True)), length


def _diverged(what: str, iteration: int, phase: int) -> LstError:
    section = "base" if phase == 0 else "step"
    return LstError(
        f"training diverged at iteration {iteration + 1} of phase {phase}: {what}; "
        "the last saved state is kept",
        f"start the phase again with --restart and a smaller {section}.lr, "
        f"or with --set {section}.clip_gradients=10",
    )


# --- interruption --------------------------------------------------------------------------------


@dataclass
class StopRequest:
    """No `threading.Event`: its lock waits for ever where a second signal interrupts `set`."""

    requested: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request; a second one interrupts at once.

    Processes of torchrun wait for the end of the iteration whatever comes.

    An update that is interrupted half-way leaves weights that no run ever had. A SIGHUP that
    `nohup` ignores stays ignored; worker processes keep the default of each signal.
    """
    stop, process = StopRequest(), os.getpid()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif stop.requested and not ranks.is_launched():  # a launcher repeats a terminal's signal
            raise KeyboardInterrupt
        else:
            stop.requested = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
