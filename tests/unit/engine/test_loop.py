from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from lst_cli.engine.averaging import WeightAverage
from lst_cli.engine.loop import Report, train
from lst_cli.engine.optim import build_optimizer
from lst_cli.errors import LstError
from lst_cli.settings.models import BaseSettings, StepSettings

pytestmark = pytest.mark.engine

NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)


class Line(nn.Module):
    """Stands for the network: one weight, whose loss is given batch by batch."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.device = torch.device("cpu")
        self.seen: list[tuple[float, Any]] = []
        self.noise: list[float] = []

    def losses(self, batch: Any, distillation: Any, support: Any = None) -> dict[str, torch.Tensor]:
        self.seen.append((batch, distillation))
        self.noise.append(torch.rand(()).item())
        return {"loss_slope": self.weight * batch, "loss_same": self.weight * 0 + 2.0}


def run(model: Any, batches: Any, schedule: Any, **changes: Any) -> tuple[list[Report], list[int]]:
    """Train; give the reports and when the state was saved."""
    batches = list(batches)
    reports: list[Report] = []
    saved: list[int] = []
    start = changes.pop("start", 0)
    arguments: dict[str, Any] = {
        "phase": 0,
        "start": start,
        "iterations": start + len(batches),
        "seed": 5,
        "seconds": 0.0,
        "distillation": None,
        "on_iteration": reports.append,
        "save": lambda done, seconds: saved.append(done),
        **changes,
    }
    optimizer = build_optimizer(model, schedule)
    train(model, batches, optimizer, NO_SCALER, schedule, **arguments)
    return reports, saved


def plain(**changes: Any) -> BaseSettings:
    values = {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "warmup_iterations": 0}
    return BaseSettings(**{**values, "epochs": 10, "decay_epochs": (5.0,), **changes})


def test_each_batch_is_one_update_at_the_scheduled_rate() -> None:
    model = Line()
    reports, _ = run(model, [1.0, 1.0, 2.0, 2.0], plain())
    assert model.weight.item() == pytest.approx(1 - 0.5 - 0.5 - 0.1 - 0.1)
    assert [report.lr for report in reports] == pytest.approx([0.5, 0.5, 0.05, 0.05])
    assert [report.iteration for report in reports] == [1, 2, 3, 4]
    assert reports[0].iterations == 4
    assert reports[0].losses == {"loss_slope": 1.0, "loss_same": 2.0, "total": 3.0}
    assert reports[1].losses["loss_slope"] == 0.5
    assert [batch for batch, _ in model.seen] == [1.0, 1.0, 2.0, 2.0]
    assert model.training


def test_gradients_are_clipped_to_the_largest_norm() -> None:
    model = Line()
    reports, _ = run(model, [40.0], plain(decay_epochs=(), clip_gradients=2.0))
    assert model.weight.item() == pytest.approx(1 - 0.5 * 2)
    assert reports[0].details["gradient_norm"] == pytest.approx(40)
    unclipped = Line()
    reports, _ = run(unclipped, [40.0], plain(decay_epochs=()))
    assert unclipped.weight.item() == pytest.approx(1 - 0.5 * 40)
    assert reports[0].details["gradient_norm"] == pytest.approx(40)


def test_states_are_saved_between_iterations_and_not_after_the_last() -> None:
    assert run(Line(), [1.0] * 7, plain(save_every=3))[1] == [3, 6]
    assert run(Line(), [1.0] * 6, plain(save_every=3))[1] == [3]
    assert run(Line(), [1.0] * 4, plain(save_every=3), start=2)[1] == [3]


def test_sampling_is_a_function_of_seed_phase_and_iteration() -> None:
    whole, rest, other = Line(), Line(), Line()
    run(whole, [1.0] * 4, plain())
    torch.manual_seed(99)
    run(rest, [1.0] * 2, plain(), start=2)
    run(other, [1.0] * 4, plain(), phase=1)
    assert whole.noise[2:] == rest.noise
    assert len({*whole.noise, *other.noise}) == 8


def test_distillation_reaches_the_losses() -> None:
    model, distillation = Line(), object()
    run(model, [1.0], plain(), distillation=distillation)
    assert model.seen == [(1.0, distillation)]


def test_time_goes_on_from_what_was_spent() -> None:
    reports, _ = run(Line(), [1.0], plain(), seconds=1000.0)
    assert 1000 < reports[0].seconds < 1100


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_the_update(value: float) -> None:
    model = Line()
    saved: list[int] = []
    with pytest.raises(LstError, match="iteration 3 of phase 1: loss_slope = ") as caught:
        run(
            model,
            [1.0, 1.0, value, 1.0],
            StepSettings(lr=0.5, save_every=1, warmup_iterations=0),
            phase=1,
            save=lambda done, seconds: saved.append(done),
        )
    assert saved == [1, 2]
    assert "loss_same" not in caught.value.message
    assert caught.value.hint is not None
    assert "step.lr" in caught.value.hint
    assert model.weight.isfinite()


class Cliff(Line):
    """A finite loss with an infinite gradient."""

    def losses(self, batch: Any, distillation: Any, support: Any = None) -> dict[str, torch.Tensor]:
        return {"loss": (self.weight - 1).abs().sqrt() * batch}


@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_a_gradient_that_is_no_number_stops_before_the_update(clip: float) -> None:
    model = Cliff()
    saved: list[int] = []
    with pytest.raises(LstError, match="gradient norm = "):
        run(
            model,
            [1.0, 1.0],
            plain(clip_gradients=clip, save_every=1),
            save=lambda done, seconds: saved.append(done),
        )
    assert saved == []
    assert model.weight.item() == 1.0


def test_proposals_that_are_no_numbers_are_told_in_one_line() -> None:
    class Broken(Line):
        def losses(self, *arguments: Any) -> dict[str, torch.Tensor]:
            raise FloatingPointError("Predicted boxes or scores contain Inf/NaN.")

    with pytest.raises(LstError, match="proposals are not finite"):
        run(Broken(), [1.0], plain())


def test_an_interrupt_waits_for_the_iteration_saves_and_stops() -> None:
    model = Line()
    reports: list[Report] = []
    saved: list[int] = []

    def on_iteration(report: Report) -> None:
        reports.append(report)
        if report.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(LstError, match="interrupted after iteration 2 of 5") as caught:
        run(
            model,
            [1.0] * 5,
            plain(),
            on_iteration=on_iteration,
            save=lambda done, seconds: saved.append(done),
        )
    assert saved == [2]
    assert len(reports) == 2
    assert caught.value.hint == "run the same command again to continue"


def test_an_interrupt_in_the_last_iteration_is_heard_and_loses_nothing() -> None:
    saved: list[int] = []

    def on_iteration(report: Report) -> None:
        if report.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    # Whoever trains the next phase after this one must not go on.
    with pytest.raises(LstError, match="interrupted after iteration 2 of 2"):
        run(
            Line(),
            [1.0, 1.0],
            plain(),
            on_iteration=on_iteration,
            save=lambda done, seconds: saved.append(done),
        )
    assert saved == [2]
    reports, _ = run(Line(), [], plain(), start=2)
    assert reports == []


def test_an_average_takes_in_the_weights_after_each_update() -> None:
    model = Line()
    average = WeightAverage(model, 0.9)
    run(model, [1.0, 1.0], plain(decay_epochs=()), average=average)
    assert model.weight.item() == 0.0  # 1, after the first update 0.5
    average.give()
    assert model.weight.item() == pytest.approx(0.5 * 2 / 11)


def test_too_few_batches_are_a_bug() -> None:
    with pytest.raises(ValueError, match="batches end before iteration 1"):
        run(Line(), [1.0], plain(), iterations=2)


def test_an_image_that_cannot_be_read_saves_what_was_trained() -> None:
    def broken() -> Iterator[float]:
        yield from (1.0, 1.0)
        raise LstError("image 7 is gone", "lst check")

    saved: list[int] = []
    schedule = plain()
    model: Any = Line()
    batches: Any = broken()
    with pytest.raises(LstError, match="image 7 is gone"):
        train(
            model, batches, build_optimizer(model, schedule), NO_SCALER, schedule, phase=0,
            start=0, iterations=5, seed=0, seconds=0.0, distillation=None,
            on_iteration=lambda report: None, save=lambda done, seconds: saved.append(done),
        )  # fmt: skip
    assert saved == [2]
