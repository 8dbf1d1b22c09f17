"""Which of the processes that `torchrun` started this is; one process is the first of one."""

from __future__ import annotations

import os

# What torchrun sets. Clusters set some of these for processes that have nothing to do with it.
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def is_launched() -> bool:
    """Whether torchrun, or another launcher of torch's processes, started this process."""
    return all(os.environ.get(name) for name in _NAMES)


def rank() -> int:
    """The number of this process, from 0."""
    return _number("RANK", 0)


def world() -> int:
    """How many processes there are, on all machines."""
    return _number("WORLD_SIZE", 1)


def local_rank() -> int:
    """The number of this process on its machine, which is also that of its GPU."""
    return _number("LOCAL_RANK", 0)


def local_world() -> int:
    """How many of the processes are on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def _number(name: str, alone: int) -> int:
    return int(os.environ.get(name, alone)) if is_launched() else alone
