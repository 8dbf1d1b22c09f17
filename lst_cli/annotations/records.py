"""The records of an annotation file, and the columns they are collected in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np


class ImageRecord(msgspec.Struct, gc=False):
    """What is kept of one image."""

    id: int
    height: int
    width: int
    file_name: str | None = None
    coco_url: str | None = None
    neg_category_ids: tuple[int, ...] | None = None
    not_exhaustive_category_ids: tuple[int, ...] | None = None


class CategoryRecord(msgspec.Struct, gc=False):
    """What is kept of one class."""

    id: int
    name: str
    frequency: str | None = None


class AnnotationRecord(msgspec.Struct, gc=False):
    """All that any command reads of one annotation but its segmentation, which is skipped.

    A field that a later command needs belongs here, so that a bad value is refused at once.
    """

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, ...] | None = None
    area: float | None = None
    iscrowd: bool | int | None = False
    ignore: bool | int | None = False


class BoxedRecord(AnnotationRecord, gc=False):
    """The same; its box has four numbers or is missing, which is decoded and checked faster."""

    bbox: tuple[float, float, float, float] | None = None


class AnnotationDecoder:
    """Decodes a list of annotations, as fast as they allow."""

    _boxed = msgspec.json.Decoder(list[BoxedRecord])
    _any = msgspec.json.Decoder(list[AnnotationRecord])

    def decode(self, text: bytes) -> list[Any]:
        """Decode as `BoxedRecord` if all fit, else as `AnnotationRecord`."""
        try:
            return self._boxed.decode(text)
        except msgspec.ValidationError:
            return self._any.decode(text)


class RawSegmentation(msgspec.Struct, gc=False):
    """An annotation's id and the JSON text of its segmentation, empty if it has none."""

    id: int
    segmentation: msgspec.Raw = msgspec.Raw(b"")


RECORDS = {"images": ImageRecord, "categories": CategoryRecord, "annotations": AnnotationRecord}
"""The record of each list of an annotation file."""

_NO_BOX = (np.nan,) * 4
_DTYPES: dict[str, Any] = {
    **dict.fromkeys(("id", "height", "width", "image_id", "category_id"), np.int64),
    **dict.fromkeys(("bbox", "area"), np.float64),
    **dict.fromkeys(("iscrowd", "ignore"), np.bool_),
}

# Fields of annotations, of which there are most: in half the time that attrgetter takes.
_LISTS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "id": lambda records: [record.id for record in records],
    "image_id": lambda records: [record.image_id for record in records],
    "category_id": lambda records: [record.category_id for record in records],
    "bbox": lambda records: [record.bbox for record in records],
    "area": lambda records: [record.area for record in records],
    "iscrowd": lambda records: [record.iscrowd for record in records],
    "ignore": lambda records: [record.ignore for record in records],
}


class Columns:
    """The fields of the records of one list: numbers as arrays, everything else as a list.

    A missing box or area is NaN, which no file can state: JSON has none.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._parts: dict[str, list[Any]] = {name: [] for name in fields}

    def extend(self, records: list[Any]) -> None:
        """Append records.

        Raises:
            OverflowError: If a number has more than 64 bits.
        """
        for name, parts in self._parts.items():
            values = _LISTS[name](records) if name in _LISTS else map(attrgetter(name), records)
            if name == "bbox":
                numbers = chain.from_iterable([box or _NO_BOX for box in values])
                parts.append(np.fromiter(numbers, np.float64, 4 * len(records)))
            elif name in _DTYPES:
                parts.append(np.fromiter(values, _DTYPES[name], len(records)))
            else:
                parts += values

    def __getitem__(self, name: str) -> Any:
        parts = self._parts[name]
        return np.concatenate((np.zeros(0, _DTYPES[name]), *parts)) if name in _DTYPES else parts
