"""Samples as the network takes them, in the order of training, read ahead by worker processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from lst_cli import ranks
from lst_cli.annotations.read import Images
from lst_cli.errors import LstError
from lst_cli.phases.replay import ALL_CLASSES
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import IntArray, PhaseDataset, Sample

Batch = list[dict[str, Any]]
Key = int | tuple[int, ...]

_PATIENCE = 600  # seconds that workers have for a batch


def read_ahead(
    data: Dataset[Any], batches: Sized, workers: int, *, ahead: int = 2, **options: Any
) -> DataLoader[Any]:
    """A loader with no more workers than batches to read ahead, each so many `ahead`.

    Workers are ended by this process alone, so that a signal to a whole job leaves time to finish
    an update. A worker that cannot send what it has read ends, and none is waited for for ever.
    """
    workers = max(0, min(workers, len(batches) - 1))
    if workers:
        options |= {"prefetch_factor": ahead, "timeout": _PATIENCE}
    return DataLoader(data, num_workers=workers, worker_init_fn=_obey_its_parent, **options)


def _obey_its_parent(worker: int) -> None:
    """Ignore the signals to a whole job, and end by that of the process that began this worker."""
    del worker
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_by, args=(os.getppid(),), daemon=True).start()
    # By itself it would print a traceback and go on, and its parent would wait.
    Queue._on_queue_feeder_error = staticmethod(_end_with)  # type: ignore[attr-defined]


def _end_by(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


def _end_with(error: Exception, unsent: object) -> None:
    del unsent
    sys.stderr.write(f"what a worker has read cannot be sent: {error}\n")
    os._exit(1)


@dataclass(frozen=True)
class SampleReader:
    """Reads the samples of a phase; every method raises an LstError at an image it cannot use."""

    dataset: PhaseDataset
    mapper: Mapper
    workers: int = 0  # processes that read; 0 reads in this one
    pin_memory: bool = False  # whether images lie in page-locked memory, for a GPU

    def batches(self, iterations: range, batch_size: int) -> Iterator[Batch]:
        """The batch of each iteration, of which this process has a share; earlier ones not read."""
        share = batch_size // ranks.world()

        def positions(iteration: int) -> list[Key]:
            first = iteration * batch_size + ranks.rank() * share
            return list(range(first, first + share))

        return self._read(_Lazy(positions, iterations))

    def episodes(self, iterations: range, new: range, *, shots: int, seed: int) -> Iterator[Batch]:
        """The support images of each iteration: so many of each class with a label in `new`."""
        data = self.dataset.data

        def episode(iteration: int) -> list[Key]:
            rng = np.random.default_rng([seed, data.phase, 4, iteration])
            keys: list[Key] = []
            for label in new:
                images = data.occurrences.images[label]
                for image in rng.choice(images, size=min(shots, len(images)), replace=False):
                    keys.append((int(image), label, len(new) * shots * iteration + len(keys)))
            return keys

        # One worker at most, and one ahead: a support set of many classes fills gigabytes.
        return self._read(_Lazy(episode, iterations), ahead=1, workers=min(self.workers, 1))

    def images(self, rows: IntArray) -> Iterator[dict[str, Any]]:
        """Images with all their objects, at the test size and unflipped."""
        keys = [[(int(row), ALL_CLASSES)] for row in rows]
        for [item] in self._read(keys, augment=False):
            yield item

    def _read(
        self, batches: Any, *, ahead: int = 2, workers: int | None = None, augment: bool = True
    ) -> Iterator[Batch]:
        loader = read_ahead(
            _Samples(self, augment),
            batches,
            self.workers if workers is None else workers,
            ahead=ahead,
            batch_sampler=batches,
            collate_fn=_as_list,
            pin_memory=self.pin_memory,
        )
        for batch in loader:
            for item in batch:
                if isinstance(item, LstError):
                    raise item
            yield batch


@dataclass(frozen=True)
class _Samples(Dataset[Any]):
    """Samples by position, or by image and label."""

    reader: SampleReader
    augment: bool

    def __getitem__(self, key: Key) -> Any:
        dataset = self.reader.dataset
        try:
            sample = dataset[key] if isinstance(key, int) else dataset.sample(*key)
            return self.reader.mapper(sample, augment=self.augment)
        except LstError as error:
            # A worker would turn it into a traceback; carried as a value it stays one line.
            return error


@dataclass(frozen=True)
class _Lazy:
    """A batch sampler whose batches are drawn when they are asked for."""

    draw: Callable[[int], list[Key]]
    iterations: range

    def __len__(self) -> int:
        return len(self.iterations)

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self.draw, self.iterations)


def _as_list(items: list[Any]) -> list[Any]:
    return items


class ImageInputs(Dataset[Any]):
    """What the network sees of each image, at the test size; the error if it cannot be used."""

    def __init__(self, images: Images, rows: Sequence[int], mapper: Mapper) -> None:
        self._images, self._rows, self._mapper = images, rows, mapper

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        row = self._rows[place]
        sample = Sample(
            position=row,
            image=row,
            height=int(self._images.heights[row]),
            width=int(self._images.widths[row]),
            boxes=np.zeros((0, 4)),
            labels=np.zeros(0, dtype=np.int64),
            counts=np.zeros(0, dtype=bool),
            segmentations=[],
        )
        try:
            return self._mapper(sample, augment=False)
        except LstError as error:
            return error
