"""Annotation files of LVIS v0.5, LVIS v1 and COCO as columns of numbers.

A full LVIS training file has 57,000 images and 694,000 instances in half a gigabyte, nearly all of
it segmentations. They are skipped here, and a phase fetches its own by row (`read_segmentations`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from lst_cli.annotations.json_stream import LVIS_HINT, Decoder, ListStream
from lst_cli.annotations.records import (
    RECORDS,
    AnnotationDecoder,
    BoxedRecord,
    CategoryRecord,
    Columns,
    ImageRecord,
    RawSegmentation,
)
from lst_cli.annotations.segmentations import MOST_PIXELS, USABLE, area_of, examine
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent, stage

Int64 = npt.NDArray[np.int64]
Layout = Literal["lvis-v0.5", "lvis-v1", "coco"]

_FREQUENCIES = frozenset(("r", "c", "f"))
_DECODERS: dict[str, Decoder] = {
    "images": msgspec.json.Decoder(list[ImageRecord]),
    "categories": msgspec.json.Decoder(list[CategoryRecord]),
    "annotations": AnnotationDecoder(),
}
_SEGMENTATIONS: Decoder = msgspec.json.Decoder(list[RawSegmentation])


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a file, N rows in the file's order; texts are empty where it gives none."""

    ids: Int64  # (N,)
    heights: npt.NDArray[np.int32]  # as stated, in pixels, (N,)
    widths: npt.NDArray[np.int32]
    file_names: list[str]  # none in LVIS v1
    coco_urls: list[str]
    neg_category_ids: list[tuple[int, ...]]  # classes verified to be absent
    not_exhaustive_category_ids: list[tuple[int, ...]]  # some objects may lack an annotation

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """The file_name and the coco_url of each."""
        return list(zip(self.file_names, self.coco_urls, strict=True))

    @property
    def sizes(self) -> Int64:
        """Width and height of each, (N, 2)."""
        return np.stack((self.widths, self.heights), axis=1, dtype=np.int64)

    def stated_size(self, row: int) -> tuple[int, int]:
        """Height and width of one."""
        return int(self.heights[row]), int(self.widths[row])


@dataclass(frozen=True, eq=False)
class Categories:
    """The classes of a file, C rows in the file's order."""

    ids: Int64  # category_ids, (C,)
    names: list[str]
    frequencies: list[str]  # LVIS's bins: "r", "c" or "f"; empty where the file gives none

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Instances:
    """The annotations of a file, M rows in the file's order."""

    ids: Int64  # (M,)
    image_index: npt.NDArray[np.int32]  # row in `Images`, (M,)
    category_index: npt.NDArray[np.int32]  # row in `Categories`, (M,)
    # Left, top, width and height in pixels, (M, 4). Where the file gives none, the extent of the
    # mask; NaN where there is no usable mask either.
    boxes: npt.NDArray[np.float64]
    # As stated, in square pixels, (M,). Where the file gives none, that of the mask, or of the box.
    areas: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]  # whether it stands for a group (COCO's iscrowd), (M,)
    ignore: npt.NDArray[np.bool_]  # whether a match is neither right nor wrong (LVIS), (M,)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """Which of them AP counts, shape (M,)."""
        return ~self.crowd & ~self.ignore & (self.areas > 0) & (self.areas < np.inf)


@dataclass(frozen=True, eq=False)
class Dataset:
    """One annotation file without its segmentations."""

    path: Path
    sha256: str  # of its bytes, in hexadecimal
    layout: Layout  # "coco" if not federated; "lvis-v1" if no image has a file_name
    federated: bool  # only some classes are annotated in an image; else it is labelled exhaustively
    images: Images
    categories: Categories
    instances: Instances
    # Ids of images that lack a federated list which others have; it counts as empty.
    unlisted: tuple[int, ...] = ()
    # How many annotations lack what was computed: ("bbox" or "area", from "mask" or "bbox").
    computed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    # Rows of `instances` that `--skip-unusable` made crowds, by kind of fault.
    skipped: Mapping[str, Sequence[int]] = field(default_factory=dict)


def huge_images(dataset: Dataset, pixels: int = MOST_PIXELS) -> Int64:
    """Rows of the images that are said to have so many pixels, in which no mask can be drawn."""
    return np.flatnonzero(dataset.images.sizes.prod(axis=1) >= pixels)


def read_dataset(path: Path | str, *, progress: Progress = silent) -> Dataset:
    """Read an annotation file (UTF-8 JSON) in one pass, leaving its segmentations out.

    What would make the columns meaningless is an `LstError` that names file, record and field:
    other things than numbers where numbers belong, ids that occur twice, annotations of images or
    classes that are not there, images without a size. `lst_cli.check.fields` checks the rest. Where
    annotations have no box or no area, a second pass takes these from their masks; a box of four
    zeros is none.
    """
    path = Path(path)
    columns = {key: Columns(record.__struct_fields__) for key, record in RECORDS.items()}
    stream = ListStream(path, _DECODERS, progress=progress, digest=True)
    for key, first, records in stream:
        if key == "annotations":
            _refuse_lengths(path, first, records)
        try:
            columns[key].extend(records)
        except OverflowError as error:
            raise LstError(
                f"{path}: a number in {key} rows {first} to {first + len(records) - 1} "
                "has more than 64 bits",
                "repair the file: ids and sizes are whole numbers below 2^63",
            ) from error
    images, categories, annotations = columns.values()
    for kind, table in (("image", images), ("category", categories), ("annotation", annotations)):
        _refuse_duplicates(path, kind, table["id"])
    heights, widths = images["height"], images["width"]
    _refuse_sizes(path, images["id"], heights, widths)
    instances = Instances(
        ids=annotations["id"],
        image_index=_rows_of(path, "image", images, annotations),
        category_index=_rows_of(path, "category", categories, annotations),
        boxes=annotations["bbox"].reshape(-1, 4),
        areas=annotations["area"],
        crowd=annotations["iscrowd"],
        ignore=annotations["ignore"],
    )
    names = [name or "" for name in images["file_name"]]
    absent, partial = images["neg_category_ids"], images["not_exhaustive_category_ids"]
    federated = any(ids is not None for ids in absent + partial)
    unlisted = [
        image
        for image, *lists in zip(images["id"].tolist(), absent, partial, strict=True)
        if federated and None in lists
    ]
    # Of the two releases only the first has file names. Both have federated lists.
    lvis: Layout = "lvis-v0.5" if any(names) else "lvis-v1"
    return Dataset(
        path=path,
        sha256=stream.sha256,
        layout=lvis if federated else "coco",
        federated=federated,
        images=Images(
            ids=images["id"],
            heights=heights.astype(np.int32),
            widths=widths.astype(np.int32),
            file_names=names,
            coco_urls=[url or "" for url in images["coco_url"]],
            neg_category_ids=[ids or () for ids in absent],
            not_exhaustive_category_ids=[ids or () for ids in partial],
        ),
        categories=Categories(
            ids=categories["id"],
            names=categories["name"],
            # Another letter says nothing: the bin then follows from the training images.
            frequencies=[one if one in _FREQUENCIES else "" for one in categories["frequency"]],
        ),
        instances=instances,
        unlisted=tuple(unlisted),
        computed=_fill_from_masks(path, instances, heights, widths),
    )


def read_segmentations(
    path: Path | str, rows: Int64 | Sequence[int], *, progress: Progress = silent
) -> list[bytes]:
    """Fetch the segmentations of some rows, in any order, as JSON text for `parse_segmentation`.

    Reading stops behind the last wanted row. An `LstError` if the file has no such row, or no
    segmentation there.
    """
    path = Path(path)
    order, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
    if not len(order):
        return []
    found: list[bytes] = []
    for _, record in _records_in(path, order, progress):
        raw = bytes(record.segmentation)
        if not raw:
            raise LstError(
                f"{path}: annotation {record.id} has no segmentation",
                "give a file with instance masks, or remove the annotation",
            )
        found.append(raw)
    if len(found) < len(order):
        raise LstError(
            f"{path} has no annotation in row {order[len(found)]}",
            "the file is not the one that was split; put the old file back or split again",
        )
    return [found[place] for place in places.tolist()]


def iter_segmentations(
    path: Path, *, progress: Progress = silent
) -> Iterator[tuple[int, list[RawSegmentation]]]:
    """Stream the ids and raw segmentations of all annotations, each block with its first row.

    Records are valid until the next ones are asked for.
    """
    shown = stage(progress, f"masks of {path.name}")
    stream = ListStream(path, {"annotations": _SEGMENTATIONS}, progress=shown)
    for _, first, records in stream:
        yield first, records


def _records_in(
    path: Path, rows: Int64, progress: Progress = silent
) -> Iterator[tuple[int, RawSegmentation]]:
    """The records of some rows, ascending; reading stops behind the last."""
    for first, records in iter_segmentations(path, progress=progress):
        low, high = np.searchsorted(rows, (first, first + len(records)))
        for row in rows[low:high].tolist():
            yield row, records[row - first]
        if high == len(rows):
            return


def _fill_from_masks(
    path: Path, instances: Instances, heights: Int64, widths: Int64
) -> dict[tuple[str, str], int]:
    """Put in the boxes and areas that the file does not give; returns `Dataset.computed`."""
    boxes, areas = instances.boxes, instances.areas
    zero = ~boxes.any(axis=1)
    boxes[zero] = np.nan
    areas[zero & (areas == 0)] = np.nan
    lacks_box, lacks_area = np.isnan(boxes[:, 0]), np.isnan(areas)
    missing = np.flatnonzero(lacks_box | lacks_area)
    if not len(missing):
        return {}
    for row, record in _records_in(path, missing):
        image = instances.image_index[row]
        height, width = int(heights[image]), int(widths[image])
        segmentation, fault, extent = examine(bytes(record.segmentation), height, width)
        if segmentation is not None and fault in USABLE:
            if lacks_box[row]:
                left, top, right, bottom = extent
                boxes[row] = left, top, right - left, bottom - top
            if lacks_area[row]:
                areas[row] = area_of(segmentation, height, width)
    boxes[zero & np.isnan(boxes[:, 0])] = 0
    rest = np.isnan(areas)
    areas[rest] = boxes[rest, 2] * boxes[rest, 3]
    counted = ~instances.crowd & boxes.any(axis=1) & ~np.isnan(boxes[:, 0])
    computed = {
        ("bbox", "mask"): int((counted & lacks_box).sum()),
        ("area", "mask"): int((counted & lacks_area & ~rest).sum()),
        ("area", "bbox"): int((counted & rest).sum()),
    }
    return {what: count for what, count in computed.items() if count}


def _refuse_lengths(path: Path, first: int, records: Sequence[Any]) -> None:
    """See that boxes have four numbers, or none."""
    if records and isinstance(records[0], BoxedRecord):
        return
    for row, record in enumerate(records, first):
        if record.bbox and len(record.bbox) != 4:
            raise LstError(
                f"{path}: annotation in row {row} (id {record.id}): field bbox has "
                f"{len(record.bbox)} numbers; give four, or none",
                LVIS_HINT,
            )


def _refuse_duplicates(path: Path, kind: str, ids: Int64) -> None:
    if (ids[1:] > ids[:-1]).all():
        return
    unique, counts = np.unique(ids, return_counts=True)
    twice = unique[counts > 1].tolist()
    if twice:
        some = ", ".join(map(str, twice[:5])) + (", ..." if len(twice) > 5 else "")
        raise LstError(
            f"{path}: {len(twice)} {kind} id{'s occur' if len(twice) > 1 else ' occurs'} more than "
            f"once: {some}",
            f"give every {kind} its own id",
        )


def _refuse_sizes(path: Path, ids: Int64, heights: Int64, widths: Int64) -> None:
    sides = np.stack((widths, heights))
    wrong = np.flatnonzero(((sides < 1) | (sides > np.iinfo(np.int32).max)).any(axis=0))
    if len(wrong):
        row = wrong[0]
        raise LstError(
            f"{path}: image {ids[row]} has the stated width {widths[row]} "
            f"and height {heights[row]}",
            "state the size of every image in pixels",
        )


def _rows_of(path: Path, kind: str, table: Columns, annotations: Columns) -> npt.NDArray[np.int32]:
    """Rows of the images or classes that annotations name by id."""
    ids, wanted = table["id"], annotations[f"{kind}_id"]
    rows: npt.NDArray[np.int32]
    if len(ids) and ids.min() >= 0 and ids.max() < len(wanted):
        row_of_id = np.zeros(ids.max() + 1, np.int32)
        row_of_id[ids] = np.arange(len(ids))
        rows = row_of_id[wanted.clip(0, ids.max())]
    else:  # ids up to 2^63
        order = np.append(np.argsort(ids, kind="stable"), -1).astype(np.int32)
        rows = order[np.searchsorted(ids, wanted, sorter=order[:-1])]
    unknown = np.flatnonzero(rows < 0) if not len(ids) else np.flatnonzero(ids[rows] != wanted)
    if len(unknown):
        first, what = unknown[0], "images" if kind == "image" else "categories"
        raise LstError(
            f"{path}: {len(unknown)} annotation{'s name' if len(unknown) > 1 else ' names'} {what} "
            f"that are not in the file, the first: annotation {annotations['id'][first]} names "
            f"{kind} {wanted[first]}",
            f"remove these annotations or add the {what}",
        )
    return rows
