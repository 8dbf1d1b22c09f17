"""Samples as the network takes them, in the order of training, read ahead by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from lst_cli.annotations.read import Images
from lst_cli.errors import LstError
from lst_cli.phases.replay import ALL_CLASSES
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import IntArray, PhaseDataset, Sample

Batch = list[dict[str, Any]]
Key = int | tuple[int, ...]


@dataclass(frozen=True)
class SampleReader:
    """Reads the samples of a phase; every method raises an LstError at an image it cannot use."""

    dataset: PhaseDataset
    mapper: Mapper
    workers: int = 0  # processes that read; 0 reads in this one

    def batches(
        self, iterations: range, batch_size: int, *, pin_memory: bool = False
    ) -> Iterator[Batch]:
        """The batch of each iteration; earlier ones are not read.

        `pin_memory` puts tensors in page-locked memory, for a GPU.
        """
        positions = [list(range(i * batch_size, (i + 1) * batch_size)) for i in iterations]
        return self._read(positions, ahead=2, pin_memory=pin_memory)

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
        for [item] in self._read(keys, ahead=2, augment=False):
            yield item

    def _read(
        self,
        batches: Any,
        *,
        ahead: int,
        workers: int | None = None,
        pin_memory: bool = False,
        augment: bool = True,
    ) -> Iterator[Batch]:
        workers = self.workers if workers is None else workers
        loader: DataLoader[Any] = DataLoader(
            _Samples(self, augment),
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
