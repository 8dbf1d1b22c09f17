from __future__ import annotations

import os
import signal
import threading

import pytest

from lst_cli.training.interrupt import deferred_interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as stop:  # noqa: PT012
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_handlers_are_put_back_without_a_signal_and_in_errors() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    with pytest.raises(ZeroDivisionError), deferred_interrupt():
        _ = 1 / 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_it_does_nothing() -> None:
    seen: list[bool] = []

    def run() -> None:
        with deferred_interrupt() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]
