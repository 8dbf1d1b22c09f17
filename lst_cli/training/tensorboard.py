"""Curves of a training, for those who watch it in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lst_cli.training.loop import Report

EVERY = 10
"""Iterations between two points of a curve."""


@contextmanager
def scalars(directory: Path, start: int) -> Iterator[Callable[[Report], None]]:
    """Write losses, details and learning rate as event files.

    Args:
        directory: Where to.
        start: Iterations already done; what an earlier run wrote beyond them is dropped.

    Yields:
        What each iteration's report is handed to.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory), purge_step=start)

    def write(report: Report) -> None:
        if report.iteration % EVERY and report.iteration != report.iterations:
            return
        for name, value in {**report.losses, **report.details, "lr": report.lr}.items():
            writer.add_scalar(name, value, report.iteration)

    try:
        yield write
    finally:
        writer.close()
