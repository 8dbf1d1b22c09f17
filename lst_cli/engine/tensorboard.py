"""Curves of a training in TensorBoard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lst_cli.engine.loop import Report

EVERY = 10  # iterations between two points of a curve


@contextmanager
def scalars(
    directory: Path, start: int, warn: Callable[[str], None]
) -> Iterator[Callable[[Report], None]]:
    """Write losses, details and learning rate of reports as event files.

    Points of an earlier run after iteration `start` are dropped. If files cannot be written, `warn`
    is called once with the reason, and training goes on without them.
    """
    from torch.utils.tensorboard import SummaryWriter

    failed = False

    def attempt(action: Callable[[], Any]) -> Any:
        nonlocal failed
        try:
            return None if failed else action()
        except Exception as error:  # of the writer's thread, whatever it was
            failed = True
            reason = getattr(error, "strerror", None) or error
            warn(f"no more curves for TensorBoard: cannot write {directory}: {reason}")

    before = threading.excepthook

    def hear(problem: threading.ExceptHookArgs) -> None:
        # The next call of the writer raises the same.
        if type(problem.thread).__module__.partition(".")[0] != "tensorboard":
            before(problem)

    threading.excepthook = hear
    writer: Any = attempt(lambda: SummaryWriter(str(directory), purge_step=start))

    def write(report: Report) -> None:
        if report.iteration % EVERY and report.iteration != report.iterations:
            return
        values = {**report.losses, **report.details, "lr": report.lr}

        def add() -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, report.iteration)

        attempt(add)

    try:
        yield write
        attempt(lambda: writer.flush())
    finally:
        with suppress(Exception):  # said before, if at all
            writer.close()
        threading.excepthook = before
