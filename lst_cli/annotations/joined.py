"""Several annotation files as one table, row after row.

Image and annotation ids may clash between files, and a category_id may mean another class in
each: only rows mean something here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, chain
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.read import Categories, Dataset, Images, Instances, read_segmentations

Table = TypeVar("Table", Images, Categories, Instances)


@dataclass(frozen=True, eq=False)
class JoinedDataset:
    """The rows of one file behind those of another."""

    parts: tuple[Dataset, ...]  # the files
    images: Images
    categories: Categories  # ids and names may stand several times
    instances: Instances  # their rows of images and classes shifted alike
    image_starts: tuple[int, ...]  # row of each file's first image
    instance_starts: tuple[int, ...]  # row of each file's first annotation

    def read_segmentations(self, rows: npt.NDArray[np.int64]) -> list[bytes]:
        """Fetch segmentations of ascending rows, as `annotations.read.read_segmentations` does."""
        own = np.split(rows, np.searchsorted(rows, self.instance_starts[1:]))
        found: list[bytes] = []
        for part, start, wanted in zip(self.parts, self.instance_starts, own, strict=True):
            found += read_segmentations(part.path, wanted - start)
        return found


def join_datasets(parts: Sequence[Dataset]) -> JoinedDataset:
    """Put one file or more behind each other; a single one is taken as it is, without a copy."""
    image_starts = _starts([len(part.images) for part in parts])
    category_starts = _starts([len(part.categories) for part in parts])
    instances = [
        replace(
            part.instances,
            image_index=part.instances.image_index + np.int32(image_start),
            category_index=part.instances.category_index + np.int32(category_start),
        )
        for part, image_start, category_start in zip(
            parts, image_starts, category_starts, strict=True
        )
    ]
    return JoinedDataset(
        parts=tuple(parts),
        images=_stack([part.images for part in parts]),
        categories=_stack([part.categories for part in parts]),
        instances=_stack(instances if len(parts) > 1 else [parts[0].instances]),
        image_starts=image_starts,
        instance_starts=_starts([len(part.instances) for part in parts]),
    )


def _starts(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(accumulate(lengths[:-1], initial=0))


def _stack(tables: Sequence[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    columns: dict[str, Any] = {}
    for field in fields(tables[0]):
        values = [getattr(table, field.name) for table in tables]
        if isinstance(values[0], list):
            columns[field.name] = list(chain.from_iterable(values))
        else:
            columns[field.name] = np.concatenate(values)
    return type(tables[0])(**columns)
