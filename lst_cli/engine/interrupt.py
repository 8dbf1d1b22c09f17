"""Ctrl-C, SIGTERM and SIGHUP that wait for the end of an iteration."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Whether the user asked to stop.

    No `threading.Event`: its lock waits for ever where a second signal interrupts `set` itself.
    """

    requested: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request; a second one interrupts at once.

    An update that is interrupted half-way leaves weights that no run ever had. A SIGHUP that is
    ignored, as `nohup` has it, stays so; worker processes keep what the signals do by default.
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
        elif stop.requested:
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
