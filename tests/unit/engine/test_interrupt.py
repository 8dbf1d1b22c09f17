from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

import pytest

from lst_cli.engine import loop
from lst_cli.engine.loop import deferred_interrupt


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
        fork = multiprocessing.get_context("fork")
        begun = fork.Event()
        worker = fork.Process(target=lambda: (begun.set(), time.sleep(60)))
        worker.start()
        assert begun.wait(10)
        worker.terminate()
        worker.join(10)
    assert worker.exitcode == -signal.SIGTERM


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
