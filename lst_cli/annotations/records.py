"""The records of an annotation file, and the columns they are collected in."""

from __future__ import annotations

import math
from array import array
from itertools import chain
from typing import Any

import msgspec

FREQUENCIES = frozenset(("r", "c", "f"))
"""LVIS's bins: rare, common, frequent."""

_NO_BOX = [math.nan] * 4


class ImageRecord(msgspec.Struct, gc=False):
    """What is kept of one image; both releases and COCO have id and size."""

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
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: bool | int | None = False
    ignore: bool | int | None = False

    def __post_init__(self) -> None:
        if self.bbox and len(self.bbox) != 4:
            raise ValueError(f"field bbox has {len(self.bbox)} numbers; give four, or none")


class RawSegmentation(msgspec.Struct, gc=False):
    """An annotation's id and the JSON text of its segmentation, empty if it has none."""

    id: int
    segmentation: msgspec.Raw = msgspec.Raw(b"")


IMAGES: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[ImageRecord])
CATEGORIES: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[CategoryRecord])
ANNOTATIONS: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[AnnotationRecord])
SEGMENTATIONS: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[RawSegmentation])


class ImageColumns:
    """Images gathered column by column.

    Attributes:
        federated: Whether any has a federated list.
        unlisted: Ids of those that lack one or both.
    """

    def __init__(self) -> None:
        self.ids, self.heights, self.widths = array("q"), array("q"), array("q")
        self.file_names: list[str] = []
        self.coco_urls: list[str] = []
        self.neg_category_ids: list[tuple[int, ...]] = []
        self.not_exhaustive_category_ids: list[tuple[int, ...]] = []
        self.federated = False
        self.unlisted = array("q")

    def extend(self, records: list[ImageRecord]) -> None:
        """Append records.

        Raises:
            OverflowError: If a number has more than 64 bits.
        """
        self.ids.extend([image.id for image in records])
        self.heights.extend([image.height for image in records])
        self.widths.extend([image.width for image in records])
        self.file_names.extend([image.file_name or "" for image in records])
        self.coco_urls.extend([image.coco_url or "" for image in records])
        self.neg_category_ids.extend([image.neg_category_ids or () for image in records])
        self.not_exhaustive_category_ids.extend(
            [image.not_exhaustive_category_ids or () for image in records]
        )
        self.federated = self.federated or any(
            image.neg_category_ids is not None or image.not_exhaustive_category_ids is not None
            for image in records
        )
        self.unlisted.extend(
            [
                image.id
                for image in records
                if image.neg_category_ids is None or image.not_exhaustive_category_ids is None
            ]
        )


class CategoryColumns:
    """Classes gathered column by column."""

    def __init__(self) -> None:
        self.ids = array("q")
        self.names: list[str] = []
        self.frequencies: list[str] = []

    def extend(self, records: list[CategoryRecord]) -> None:
        """Append records.

        Raises:
            OverflowError: If a number has more than 64 bits.
        """
        self.ids.extend([category.id for category in records])
        self.names.extend([category.name for category in records])
        # Another letter says nothing: the bin then follows from the training images.
        self.frequencies.extend(
            [
                category.frequency if category.frequency in FREQUENCIES else ""
                for category in records
            ]
        )


class AnnotationColumns:
    """Annotations gathered column by column; boxes as one flat column of numbers.

    A missing box or area is NaN, which no file can state: JSON has none.
    """

    def __init__(self) -> None:
        self.ids, self.image_ids, self.category_ids = array("q"), array("q"), array("q")
        self.boxes, self.areas = array("d"), array("d")
        self.crowd, self.ignore = array("b"), array("b")

    def extend(self, records: list[AnnotationRecord]) -> None:
        """Append records.

        Raises:
            OverflowError: If a number has more than 64 bits.
        """
        self.ids.extend([annotation.id for annotation in records])
        self.image_ids.extend([annotation.image_id for annotation in records])
        self.category_ids.extend([annotation.category_id for annotation in records])
        self.boxes.extend(
            chain.from_iterable([annotation.bbox or _NO_BOX for annotation in records])
        )
        self.areas.extend(
            [math.nan if annotation.area is None else annotation.area for annotation in records]
        )
        self.crowd.extend([bool(annotation.iscrowd) for annotation in records])
        self.ignore.extend([bool(annotation.ignore) for annotation in records])
