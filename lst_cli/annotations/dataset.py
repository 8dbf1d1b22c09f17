"""The content of an annotation file as columns of numbers, its segmentations left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.segmentations import MOST_PIXELS

Int64 = npt.NDArray[np.int64]
Layout = Literal["lvis-v0.5", "lvis-v1", "coco"]


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a file, N rows in the file's order.

    Attributes:
        ids: Image ids, int64, shape (N,).
        heights: Stated heights in pixels, int32, shape (N,).
        widths: Stated widths in pixels, int32, shape (N,).
        file_names: As in the file; empty where it gives none (LVIS v1).
        coco_urls: As in the file; empty where it gives none.
        neg_category_ids: Classes verified to be absent, by category_id.
        not_exhaustive_category_ids: Classes of which some objects may lack an annotation.
    """

    ids: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    file_names: list[str]
    coco_urls: list[str]
    neg_category_ids: list[tuple[int, ...]]
    not_exhaustive_category_ids: list[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Categories:
    """The classes of a file, C rows in the file's order.

    Attributes:
        ids: category_ids, int64, shape (C,).
        names: Names.
        frequencies: LVIS's bins: "r", "c" or "f"; empty where the file gives none of these.
    """

    ids: npt.NDArray[np.int64]
    names: list[str]
    frequencies: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Instances:
    """The annotations of a file, M rows in the file's order.

    Attributes:
        ids: Annotation ids, int64, shape (M,).
        image_index: Row in `Images`, int32, shape (M,).
        category_index: Row in `Categories`, int32, shape (M,).
        boxes: Left, top, width and height in pixels, float64, shape (M, 4). Where the file gives
            none, the extent of the mask; NaN where there is no usable mask either.
        areas: Areas of the masks as stated, in square pixels, float64, shape (M,). Where the file
            gives none, the area of the mask, or else of the box.
        crowd: Whether the annotation stands for a group (COCO's iscrowd), shape (M,).
        ignore: Whether a match with it is neither right nor wrong (LVIS's ignore), shape (M,).
    """

    ids: npt.NDArray[np.int64]
    image_index: npt.NDArray[np.int32]
    category_index: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]
    ignore: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """Which of them AP counts, shape (M,)."""
        return ~self.crowd & ~self.ignore & (self.areas > 0) & (self.areas < np.inf)


@dataclass(frozen=True, eq=False)
class Dataset:
    """One annotation file without its segmentations.

    Attributes:
        path: The file.
        sha256: Of its bytes, in hexadecimal.
        layout: "coco" when no image has neg_category_ids or
            not_exhaustive_category_ids; otherwise "lvis-v0.5" when any image
            has a file_name, which LVIS v1 gave up, and "lvis-v1" when none has.
        federated: Whether only some classes are annotated in an image, as in
            both LVIS layouts. Without it every image is labelled exhaustively.
        images: The images.
        categories: The classes.
        instances: The annotations.
        unlisted: Ids of images that lack a federated list which others have; they count as
            having an empty one.
        computed: How often what the file does not give was computed: ("bbox", "mask"),
            ("area", "mask") or ("area", "bbox"), and the number of annotations.
        skipped: Rows of `instances` that `--skip-unusable` made crowds, by kind of fault.
    """

    path: Path
    sha256: str
    layout: Layout
    federated: bool
    images: Images
    categories: Categories
    instances: Instances
    unlisted: tuple[int, ...] = ()
    computed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    skipped: Mapping[str, Sequence[int]] = field(default_factory=dict)


def huge_images(dataset: Dataset, pixels: int = MOST_PIXELS) -> Int64:
    """Rows of the images that are said to have so many pixels, in which no mask can be drawn."""
    return np.flatnonzero(dataset.images.heights.astype(np.int64) * dataset.images.widths >= pixels)
