"""Batches in the order of training, read ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lst_cli.data.mapper import Mapper
from lst_cli.data.phase_dataset import PhaseDataset
from lst_cli.errors import LstError

Batch = list[dict[str, Any]]


class _Positions(Dataset[Any]):
    def __init__(self, dataset: PhaseDataset, mapper: Mapper) -> None:
        self._dataset, self._mapper = dataset, mapper

    def __getitem__(self, position: int) -> Any:
        try:
            return self._mapper(self._dataset[position])
        except LstError as error:
            # A worker would turn it into a traceback; carried as a value it stays one line.
            return error


def iterate_batches(
    dataset: PhaseDataset,
    mapper: Mapper,
    *,
    start: int,
    iterations: int,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Batches of iterations `start` to `iterations - 1`.

    Args:
        dataset: Where samples come from.
        mapper: What makes tensors of them.
        start: First iteration; earlier ones are not read.
        iterations: End, exclusive.
        batch_size: Images a batch.
        workers: Processes that read; 0 reads in this one.
        pin_memory: Whether tensors go to page-locked memory, for a GPU.

    Raises:
        LstError: If an image cannot be used.
    """
    positions: Sequence[list[int]] = [
        list(range(i * batch_size, (i + 1) * batch_size)) for i in range(start, iterations)
    ]
    loader: DataLoader[Any] = DataLoader(
        _Positions(dataset, mapper),
        batch_sampler=positions,
        num_workers=workers,
        collate_fn=_as_list,
        pin_memory=pin_memory,
    )
    for batch in loader:
        for item in batch:
            if isinstance(item, LstError):
                raise item
        yield batch


def _as_list(items: list[Any]) -> list[Any]:
    return items
