from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from lst_cli.engine import loop
from lst_cli.engine.loop import Report, Span, deferred_interrupt, train
from lst_cli.engine.optim import Learner
from lst_cli.errors import LstError
from lst_cli.settings.models import BaseSettings, StepSettings
from tests.fixtures.kills import exit_code_of_a_terminated_worker

pytestmark = pytest.mark.engine


class Line(nn.Module):
    """Stands for the network: one weight, whose loss is given batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.device = torch.device("cpu")
        self.seen: list[float] = []
        self.noise: list[float] = []

    def losses(self, batch: float) -> dict[str, Tensor]:
        self.seen.append(batch)
        self.noise.append(torch.rand(()).item())
        return {"loss_slope": self.weight * batch, "loss_same": self.weight * 0 + 2.0}


class Run:
    """A training of a line: its reports, and when a state was saved."""

    def __init__(
        self, losses_of: Callable[[Any], dict[str, Tensor]] | None = None, **changes: Any
    ) -> None:
        plain: dict[str, Any] = {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0}
        plain |= {"warmup_iterations": 0, "epochs": 10, "decay_epochs": (), **changes}
        self.model = Line()
        self.losses_of = losses_of or self.model.losses
        self.learner = Learner.of(self.model, BaseSettings(**plain))
        self.reports: list[Report] = []
        self.saved: list[int] = []
        self.kill_after: tuple[int, int] | None = None

    def on_iteration(self, report: Report) -> None:
        self.reports.append(report)
        if self.kill_after and self.kill_after[0] == report.iteration:
            os.kill(os.getpid(), self.kill_after[1])

    def __call__(
        self, batches: Any, *, phase: int = 0, start: int = 0, end: int = 0, seconds: float = 0
    ) -> Run:
        end = end or start + len(batches)
        span = Span(phase, seed=5, start=start, iterations=end, seconds=seconds)
        calls: Any = {"on_iteration": self.on_iteration, "save": lambda n, _: self.saved.append(n)}
        train(self.learner, batches, self.losses_of, span, **calls)
        return self


def test_each_batch_is_one_update_at_the_scheduled_rate():
    run = Run(decay_epochs=(5.0,))([1.0, 1.0, 2.0, 2.0])
    assert run.model.weight.item() == pytest.approx(1 - 0.5 - 0.5 - 0.1 - 0.1)
    assert [report.lr for report in run.reports] == pytest.approx([0.5, 0.5, 0.05, 0.05])
    assert [report.iteration for report in run.reports] == [1, 2, 3, 4]
    assert run.reports[0].iterations == 4
    assert run.reports[0].losses == {"loss_slope": 1.0, "loss_same": 2.0, "total": 3.0}
    assert run.reports[1].losses["loss_slope"] == 0.5
    assert run.model.seen == [1.0, 1.0, 2.0, 2.0]
    assert run.model.training


@pytest.mark.parametrize(("clip", "step"), [(2.0, 2), (0.0, 40)])
def test_gradients_are_clipped_to_the_largest_norm(clip, step):
    run = Run(clip_gradients=clip)([40.0])
    assert run.model.weight.item() == pytest.approx(1 - 0.5 * step)
    assert run.reports[0].details["gradient_norm"] == pytest.approx(40)


@pytest.mark.parametrize(("batches", "start", "saved"), [(7, 0, [3, 6]), (6, 0, [3]), (4, 2, [3])])
def test_states_are_saved_between_iterations_and_not_after_the_last(batches, start, saved):
    assert Run(save_every=3)([1.0] * batches, start=start).saved == saved


def test_sampling_is_a_function_of_seed_phase_and_iteration():
    whole = Run()([1.0] * 4).model.noise
    torch.manual_seed(99)
    assert Run()([1.0] * 2, start=2).model.noise == whole[2:]
    assert len({*whole, *Run()([1.0] * 4, phase=1).model.noise}) == 8


def test_time_goes_on_from_what_was_spent():
    assert 1000 < Run()([1.0], seconds=1000.0).reports[0].seconds < 1100


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_the_update(value):
    run = Run()
    run.learner.schedule = StepSettings(lr=0.5, save_every=1, warmup_iterations=0)
    with pytest.raises(LstError, match="iteration 3 of phase 1: loss_slope = ") as caught:
        run([1.0, 1.0, value, 1.0], phase=1)
    assert run.saved == [1, 2]
    assert "loss_same" not in caught.value.message
    assert "step.lr" in (caught.value.hint or "")
    assert run.model.weight.isfinite()


def test_an_error_about_proposals_that_are_no_numbers_is_one_of_ours():
    def broken(batch: float) -> dict[str, Tensor]:
        raise FloatingPointError("Predicted boxes or scores contain Inf/NaN.")

    with pytest.raises(LstError, match="proposals are not finite"):
        Run(broken)([1.0])


@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_a_gradient_that_is_no_number_stops_before_the_update(clip):
    def cliff(batch: float) -> dict[str, Tensor]:
        """A finite loss with an infinite gradient."""
        return {"loss": (run.model.weight - 1).abs().sqrt() * batch}

    run = Run(cliff, clip_gradients=clip, save_every=1)
    with pytest.raises(LstError, match="gradient norm = "):
        run([1.0, 1.0])
    assert run.saved == []
    assert run.model.weight.item() == 1.0


# Who asks to stop in the last iteration does not want the phase after this one either.
@pytest.mark.parametrize("batches", [5, 2])
def test_an_interrupt_waits_for_the_iteration_saves_and_stops(batches):
    run = Run()
    run.kill_after = (2, signal.SIGTERM if batches == 5 else signal.SIGINT)
    with pytest.raises(LstError, match=f"interrupted after iteration 2 of {batches}") as caught:
        run([1.0] * batches)
    assert run.saved == [2]
    assert len(run.reports) == 2
    assert caught.value.hint == "run the same command again to continue"
    assert Run()([], start=2).reports == []


def test_an_average_takes_in_the_weights_after_each_update():
    run = Run(ema=0.9)([1.0, 1.0])
    assert run.model.weight.item() == 0.0  # 1, after the first update 0.5
    assert run.learner.average is not None
    run.learner.average.replace_weights()
    assert run.model.weight.item() == pytest.approx(0.5 * 2 / 11)
    assert Run().learner.average is None


def test_too_few_batches_are_a_bug():
    with pytest.raises(ValueError, match="batches end before iteration 1"):
        Run()([1.0], end=2)


@pytest.mark.parametrize("error", [LstError("image 7 is gone"), RuntimeError("a worker is dead")])
def test_what_was_trained_is_saved_where_the_next_batch_cannot_be_read(error):
    def broken() -> Iterator[float]:
        yield from (1.0, 1.0)
        raise error

    run = Run()
    with pytest.raises(type(error), match=str(error)):
        run(broken(), end=5)
    assert run.saved == [2]


@pytest.mark.parametrize("before", [0, 2])
def test_what_was_trained_is_saved_where_memory_runs_out(before):
    def losses(batch: float) -> dict[str, Tensor]:
        if batch == 7.0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"loss": run.model.weight * batch}

    run = Run(losses)
    with pytest.raises(torch.OutOfMemoryError):
        run([*[1.0] * before, 7.0])
    assert run.saved == ([2] if before else [])  # without an update there is nothing to save


def test_an_error_of_saving_does_not_hide_the_error_before_it():
    def broken() -> Iterator[float]:
        yield 1.0
        raise RuntimeError("the first error")

    run = Run()
    run.saved = None  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="the first error"):
        run(broken(), end=5)


def test_no_value_of_an_earlier_iteration_is_held():
    held = []

    def losses(batch: float) -> dict[str, Tensor]:
        storage = get_event_storage()
        storage.put_scalar("regions", batch)
        held.append([len(one.values()) for one in storage.histories().values()])
        return {"loss": run.model.weight * batch}

    run = Run(losses)
    run([1.0, 2.0, 3.0])
    assert held == [[1]] * 3
    assert [report.details["regions"] for report in run.reports] == [1.0, 2.0, 3.0]


# --- interruption --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_a_request_and_the_second_interrupts(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as stop:  # noqa: PT012
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_signal_waits_for_no_lock_that_another_signal_may_hold():
    called: list[str] = []
    with deferred_interrupt() as stop:
        handler: Any = signal.getsignal(signal.SIGINT)
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_filename))
        try:
            handler(signal.SIGINT, None)
        finally:
            sys.setprofile(before)
    assert stop.requested
    assert loop.__file__ in called
    assert threading.__file__ not in called


def test_a_worker_that_inherits_the_handler_still_ends_by_the_signal():
    with deferred_interrupt():
        code = exit_code_of_a_terminated_worker()
    assert code == -signal.SIGTERM


def test_an_ignored_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred_interrupt() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_it_does_nothing():
    seen: list[bool] = []

    def run() -> None:
        with deferred_interrupt() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]
