"""SIGTERM and SIGHUP end a command with one line, and leave no temporary file."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """A signal ended the command. Not an `Exception`, which code may handle as a failed step."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        self.code = 128 + number
        super().__init__(self.name)


@contextmanager
def stop_by_signal() -> Iterator[None]:
    """Raise `StoppedError` where a signal would end the process at once; a second one does.

    A signal that is ignored, as with `nohup`, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != process:  # a worker, which inherits the handler
            os.kill(os.getpid(), number)
            return
        raise StoppedError(number)

    ours = [one for one in _SIGNALS if signal.getsignal(one) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
