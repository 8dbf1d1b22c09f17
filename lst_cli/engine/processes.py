"""What processes that train together tell each other; see `ranks` for who they are.

Numbers on the CPU go over gloo, gradients on GPUs over NCCL. A process that is alone gets back what
it gave. Where another process ended, all functions raise a `LostProcessError` soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from lst_cli import ranks
from lst_cli.errors import LostProcessError, LstError

Value = TypeVar("Value")

# The first process checks images and writes rows of new classes, while the others wait.
_LONG = timedelta(days=7)
_store: Any = None
_waiting: Any = None  # the group of those that wait


def join() -> None:
    """Find the other processes; an `LstError` if that fails."""
    global _store, _waiting
    backend = "gloo"
    if ranks.local_rank() < torch.cuda.device_count():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(ranks.local_rank())
    try:
        store, rank, world = next(iter(rendezvous("env://")))
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
        _waiting = dist.new_group(backend="gloo", timeout=_LONG)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LstError(
            f"the processes do not find each other: {reason}",
            "another --master-port for torchrun, and the same --nnodes and endpoint everywhere",
        ) from error
    _store = store


def leave() -> None:
    """End what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_first_to_fail() -> bool:
    """Whether no other process has failed before this one, whose error is the one to show."""
    if _store is None:
        return ranks.is_first()
    try:
        return bool(_store.add("failed", 1) == 1)
    except RuntimeError:  # without torchrun the first process has the store, and it is gone
        return ranks.rank() == 1


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this training has ended", "run the same command again to continue"
        ) from error


def sums(values: Sequence[float]) -> list[float]:
    """The sum over all processes of each of some numbers."""
    return _reduced(values, dist.ReduceOp.SUM)


def largest(values: Sequence[float]) -> list[float]:
    """The largest over all processes of each of some numbers."""
    return _reduced(values, dist.ReduceOp.MAX)


def _reduced(values: Sequence[float], operation: Any) -> list[float]:
    if ranks.world() == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64)
    with _together():
        dist.all_reduce(numbers, operation)
    return numbers.tolist()


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give all processes the sum of their gradients, 0 where a process has none."""
    if ranks.world() == 1:
        return
    with _together():
        works = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            works.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in works:
            work.wait()


def gather(own: Tensor) -> Tensor:
    """What all processes have, shape (R, ...), in their order; R may differ."""
    if ranks.world() == 1:
        return own
    lengths = [0] * ranks.world()
    lengths[ranks.rank()] = len(own)
    lengths = [int(length) for length in sums(lengths)]
    room = own.new_zeros(max(lengths), *own.shape[1:])
    room[: len(own)] = own
    found = [torch.empty_like(room) for _ in lengths]
    with _together():
        dist.all_gather(found, room)
    return torch.cat([one[:length] for one, length in zip(found, lengths, strict=True)])


def copy_from_first(module: nn.Module) -> None:
    """Give all processes the parameters and buffers that the first one has."""
    if ranks.world() == 1:
        return
    wait()
    with _together():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def from_first(value: Value) -> Value:
    """A value that the first process has, whatever the others gave; they may have to wait long."""
    if ranks.world() == 1:
        return value
    sent = [value]
    with _together():
        dist.broadcast_object_list(sent, 0, group=_waiting)
    return sent[0]


def wait() -> None:
    """Wait, perhaps long, until all processes are here."""
    if ranks.world() > 1:
        with _together():
            dist.barrier(group=_waiting)


def require_same(values: dict[str, Any]) -> None:
    """Raise an `LstError` that names what is not the same in all processes, if anything is not."""
    if ranks.world() == 1:
        return
    found: list[Any] = [None] * ranks.world()
    with _together():
        dist.all_gather_object(found, values, group=_waiting)
    for number, theirs in enumerate(found):
        if differing := [name for name, value in found[0].items() if theirs[name] != value]:
            raise LstError(
                f"process {number} has other {', '.join(differing)} than process 0",
                "start all processes by the same command, with the same lst and the same files",
            )
