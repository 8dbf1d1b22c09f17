"""A command that runs as several processes: one of them prints, and one error is shown."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from lst_cli import ranks
from lst_cli.errors import LstError

COMMANDS = ("train-base", "train-joint", "step", "eval")  # that can share their work
_PROCESSES = "lst_cli.engine.processes"  # imports torch


@contextmanager
def with_other_processes(words: Sequence[str]) -> Iterator[None]:
    """Take part in what torchrun has started; without it nothing happens."""
    if not ranks.is_launched():
        yield
        return
    if words and words[0] not in COMMANDS and ranks.world() > 1:
        raise LstError(
            f"lst {words[0]} runs as one process", f"without torchrun: lst {' '.join(words)}"
        )
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no page of its own for a lost process
    from lst_cli.engine.processes import join, leave

    join()
    if ranks.is_first():
        yield
    else:
        nowhere = Path(os.devnull).open("w")  # noqa: SIM115
        with nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    leave()


def is_first_to_fail() -> bool:
    """Whether this process is to show its error: none has failed before it."""
    if not ranks.is_launched():
        return True
    if _PROCESSES not in sys.modules:
        return ranks.is_first()
    from lst_cli.engine.processes import is_first_to_fail

    return is_first_to_fail()


def run_on_gpus(gpus: int, words: Sequence[str]) -> int:
    """Run `lst` with these words as one process for each of some GPUs; the exit code."""
    if ranks.is_launched():
        raise LstError(
            "--gpus: the processes have been started by torchrun", "leave one of the two out"
        )
    import torch

    found = torch.cuda.device_count()
    if gpus > found:
        raise LstError(
            f"--gpus {gpus}: torch finds {found} GPUs",
            f"--gpus {found}" if found else "leave --gpus out",
        )
    return launch(gpus, words)


def launch(processes: int, words: Sequence[str]) -> int:
    """Start processes of `lst` on this machine and wait for them; the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    threads = (os.cpu_count() or 1) // processes
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
    logging.disable()  # the processes show their errors themselves
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.5,  # seconds
    )
    try:
        elastic_launch(config, sys.executable)("-m", "lst_cli", *words)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as error:
        number, first = error.get_first_failure()
        if first.exitcode < 0:
            raise LstError(
                f"process {number} was ended by {first.signal_name()}",
                "if the system did that, it had too little memory",
            ) from None
        return int(first.exitcode)
    return 0
