"""Batches in the order of training, read ahead by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from lst_cli.errors import LstError
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset

Batch = list[dict[str, Any]]


class _Positions(Dataset[Any]):
    """Samples by position, or by (image, label, position)."""

    def __init__(self, dataset: PhaseDataset, mapper: Mapper) -> None:
        self._dataset, self._mapper = dataset, mapper

    def __getitem__(self, key: int | tuple[int, int, int]) -> Any:
        try:
            sample = self._dataset[key] if isinstance(key, int) else self._dataset.sample(*key)
            return self._mapper(sample)
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
    positions = [
        list(range(i * batch_size, (i + 1) * batch_size)) for i in range(start, iterations)
    ]
    return _read(_Positions(dataset, mapper), positions, workers, ahead=2, pin_memory=pin_memory)


def iterate_support(
    dataset: PhaseDataset,
    mapper: Mapper,
    new: range,
    *,
    shots: int,
    seed: int,
    start: int,
    iterations: int,
    workers: int,
) -> Iterator[Batch]:
    """Support images of the episodes of iterations `start` to `iterations - 1`.

    Args:
        dataset: Where samples come from.
        mapper: What makes tensors of them.
        new: Labels of the new classes.
        shots: Images of each class, drawn anew for each episode.
        seed: Seed of the draw; together with the iteration it decides it.
        start: First iteration.
        iterations: End, exclusive.
        workers: Processes that read.

    Raises:
        LstError: If an image cannot be used.
    """
    data = dataset.data

    def episode(iteration: int) -> list[tuple[int, int, int]]:
        rng = np.random.default_rng([seed, data.phase, 4, iteration])
        keys: list[tuple[int, int, int]] = []
        for label in new:
            images = data.occurrences.images[label]
            for image in rng.choice(images, size=min(shots, len(images)), replace=False):
                keys.append((int(image), label, len(new) * shots * iteration + len(keys)))
        return keys

    return _read(
        _Positions(dataset, mapper),
        _Lazy(episode, start, iterations),
        # One at most, and one ahead: a support set of many classes fills gigabytes.
        min(workers, 1),
        ahead=1,
        pin_memory=False,
    )


class _Lazy:
    """A batch sampler whose batches are drawn when they are asked for."""

    def __init__(self, batch: Callable[[int], list[Any]], start: int, stop: int) -> None:
        self._batch, self._iterations = batch, range(start, stop)

    def __len__(self) -> int:
        return len(self._iterations)

    def __iter__(self) -> Iterator[list[Any]]:
        return map(self._batch, self._iterations)


def _read(
    samples: _Positions, batches: Any, workers: int, *, ahead: int, pin_memory: bool
) -> Iterator[Batch]:
    loader: DataLoader[Any] = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_list,
        pin_memory=pin_memory,
        prefetch_factor=ahead if workers else None,
    )
    for batch in loader:
        for item in batch:
            if isinstance(item, LstError):
                raise item
        yield batch


def _as_list(items: list[Any]) -> list[Any]:
    return items
