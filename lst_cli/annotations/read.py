"""Annotation files of LVIS v0.5, LVIS v1 and COCO as columns of numbers.

A full LVIS training file has 57,000 images and 694,000 instances in half a
gigabyte, of which the segmentations are nearly all. Splitting and replaying need
none of them, so they are skipped here and fetched by row when a phase needs its
own (`read_segmentations`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.dataset import (
    Categories,
    Dataset,
    Images,
    Instances,
    Int64,
    Layout,
    huge_images,
)
from lst_cli.annotations.json_stream import BLOCK_SIZE, ListStream
from lst_cli.annotations.records import (
    ANNOTATIONS,
    CATEGORIES,
    IMAGES,
    SEGMENTATIONS,
    AnnotationColumns,
    CategoryColumns,
    ImageColumns,
    RawSegmentation,
)
from lst_cli.annotations.segmentations import (
    USABLE,
    area_of,
    examine,
    parse_segmentation,
)
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent, stage

__all__ = [
    "Categories",
    "Dataset",
    "Images",
    "Instances",
    "Layout",
    "RawSegmentation",
    "huge_images",
    "iter_segmentations",
    "parse_segmentation",
    "read_dataset",
    "read_segmentations",
]


def read_dataset(
    path: Path | str, *, progress: Progress = silent, block_size: int = BLOCK_SIZE
) -> Dataset:
    """Read an annotation file in one pass, leaving its segmentations out.

    What would make the columns meaningless is refused here: other things than
    numbers where numbers belong, ids that stand twice, annotations of images
    or classes that are not there, images without a size. What training can
    live with is left to `lst_cli.check.fields`. Where annotations have no box or
    no area, a second pass takes these from their masks; a box of four zeros is none.

    Args:
        path: An LVIS v0.5, LVIS v1 or COCO annotation file, UTF-8 JSON.
        progress: Called with bytes read and bytes in the file.
        block_size: Bytes read at once.

    Returns:
        The file's images, classes and annotations.

    Raises:
        LstError: Naming the file, the record and the field that is wrong.
    """
    path = Path(path)
    images, categories, annotations = ImageColumns(), CategoryColumns(), AnnotationColumns()
    columns: dict[str, ImageColumns | CategoryColumns | AnnotationColumns] = {
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    decoders = {"images": IMAGES, "categories": CATEGORIES, "annotations": ANNOTATIONS}
    stream = ListStream(path, decoders, block_size=block_size, progress=progress, digest=True)
    for key, first_row, records in stream:
        try:
            columns[key].extend(records)
        except OverflowError as error:
            raise LstError(
                f"{path}: a number in {key} rows {first_row} to {first_row + len(records) - 1} "
                "has more than 64 bits",
                "repair the file: ids and sizes are whole numbers below 2^63",
            ) from error
    image_ids = _int64(images.ids)
    category_ids = _int64(categories.ids)
    annotation_ids = _int64(annotations.ids)
    _refuse_duplicates(path, "image", image_ids)
    _refuse_duplicates(path, "category", category_ids)
    _refuse_duplicates(path, "annotation", annotation_ids)
    heights, widths = _int64(images.heights), _int64(images.widths)
    _refuse_sizes(path, image_ids, heights, widths)
    instances = Instances(
        ids=annotation_ids,
        image_index=_rows_of(
            path, "image", image_ids, _int64(annotations.image_ids), annotation_ids
        ),
        category_index=_rows_of(
            path, "category", category_ids, _int64(annotations.category_ids), annotation_ids
        ),
        boxes=np.array(annotations.boxes, dtype=np.float64).reshape(-1, 4),
        areas=np.array(annotations.areas, dtype=np.float64),
        crowd=np.array(annotations.crowd, dtype=np.bool_),
        ignore=np.array(annotations.ignore, dtype=np.bool_),
    )
    computed = _fill_from_masks(path, instances, heights, widths)
    return Dataset(
        path=path,
        sha256=stream.sha256,
        layout=_layout(images),
        federated=images.federated,
        images=Images(
            ids=image_ids,
            heights=heights.astype(np.int32),
            widths=widths.astype(np.int32),
            file_names=images.file_names,
            coco_urls=images.coco_urls,
            neg_category_ids=images.neg_category_ids,
            not_exhaustive_category_ids=images.not_exhaustive_category_ids,
        ),
        categories=Categories(category_ids, categories.names, categories.frequencies),
        instances=instances,
        unlisted=tuple(images.unlisted) if images.federated else (),
        computed=computed,
    )


def read_segmentations(
    path: Path | str,
    rows: npt.NDArray[np.int64] | Sequence[int],
    *,
    progress: Progress = silent,
    block_size: int = BLOCK_SIZE,
) -> list[bytes]:
    """Fetch the segmentations of some annotations, as they stand in the file.

    Args:
        path: The file that `read_dataset` read.
        rows: Rows of `Instances`, in any order, repeated or not.
        progress: Called with bytes read and bytes in the file; reading stops
            behind the last wanted row.
        block_size: Bytes read at once.

    Returns:
        For each row the JSON text of its segmentation, for `parse_segmentation`.

    Raises:
        LstError: If the file cannot be read, has fewer annotations than a row
            says, or has none of segmentation there.
    """
    path = Path(path)
    wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
    order = np.unique(wanted)
    if not len(order):
        return []
    if order[0] < 0:
        raise ValueError(f"rows begin at 0, got {order[0]}")
    found: list[bytes] = []
    for first_row, records in iter_segmentations(path, progress=progress, block_size=block_size):
        low, high = np.searchsorted(order, (first_row, first_row + len(records)))
        for row in order[low:high].tolist():
            record = records[row - first_row]
            raw = bytes(record.segmentation)
            if not raw:
                raise LstError(
                    f"{path}: annotation {record.id} has no segmentation",
                    "give a file with instance masks, or remove the annotation",
                )
            found.append(raw)
        if len(found) == len(order):
            break
    if len(found) < len(order):
        raise LstError(
            f"{path} has no annotation in row {order[len(found)]}",
            "the file is not the one that was split; put the old file back or split anew",
        )
    return [found[index] for index in np.searchsorted(order, wanted).tolist()]


def iter_segmentations(
    path: Path, *, progress: Progress = silent, block_size: int = BLOCK_SIZE
) -> Iterator[tuple[int, list[RawSegmentation]]]:
    """Stream the ids and raw segmentations of all annotations.

    Yields:
        The first row and its records, each with `id` and `segmentation`, the
        latter empty where the file has none. The records are valid until the
        next ones are asked for.

    Raises:
        LstError: If the file cannot be read.
    """
    stream = ListStream(
        path,
        {"annotations": SEGMENTATIONS},
        block_size=block_size,
        progress=stage(progress, f"masks of {path.name}"),
    )
    for _, first_row, records in stream:
        yield first_row, records


def _fill_from_masks(
    path: Path, instances: Instances, heights: Int64, widths: Int64
) -> dict[tuple[str, str], int]:
    """Put in the boxes and areas that the file does not give.

    Returns:
        How many of which, see `Dataset.computed`.

    Raises:
        LstError: If the file cannot be read again.
    """
    boxes, areas = instances.boxes, instances.areas
    zero = ~boxes.any(axis=1)
    boxes[zero] = np.nan
    areas[zero & (areas == 0)] = np.nan
    lacks_box, lacks_area = np.isnan(boxes[:, 0]), np.isnan(areas)
    missing = np.flatnonzero(lacks_box | lacks_area)
    if not len(missing):
        return {}
    for first_row, records in iter_segmentations(path):
        low, high = np.searchsorted(missing, (first_row, first_row + len(records)))
        for row in missing[low:high].tolist():
            image = instances.image_index[row]
            height, width = int(heights[image]), int(widths[image])
            segmentation, fault, extent = examine(
                bytes(records[row - first_row].segmentation), height, width
            )
            if segmentation is not None and fault in USABLE:
                if np.isnan(boxes[row, 0]):
                    left, top, right, bottom = extent
                    boxes[row] = left, top, right - left, bottom - top
                if np.isnan(areas[row]):
                    areas[row] = area_of(segmentation, height, width)
    boxes[zero & np.isnan(boxes[:, 0])] = 0
    rest = np.isnan(areas)
    areas[rest] = boxes[rest, 2] * boxes[rest, 3]
    told = ~instances.crowd & boxes.any(axis=1) & ~np.isnan(boxes[:, 0])
    counts = {
        ("bbox", "mask"): told & lacks_box,
        ("area", "mask"): told & lacks_area & ~rest,
        ("area", "bbox"): told & rest,
    }
    return {key: int(mask.sum()) for key, mask in counts.items() if mask.any()}


def _int64(column: array[int]) -> npt.NDArray[np.int64]:
    return np.array(column, dtype=np.int64)


def _layout(images: ImageColumns) -> Layout:
    # The one difference every file of the two releases shows. Federated fields
    # are in both, and so are frequency and image_count.
    if not images.federated:
        return "coco"
    return "lvis-v0.5" if any(images.file_names) else "lvis-v1"


def _refuse_duplicates(path: Path, kind: str, ids: npt.NDArray[np.int64]) -> None:
    unique, counts = np.unique(ids, return_counts=True)
    twice = unique[counts > 1]
    if len(twice):
        raise LstError(
            f"{path}: {len(twice)} {kind} id{'s stand' if len(twice) > 1 else ' stands'} more than "
            f"once: {_some(twice)}",
            f"give every {kind} an id of its own",
        )


def _refuse_sizes(
    path: Path,
    ids: npt.NDArray[np.int64],
    heights: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
) -> None:
    limit = np.iinfo(np.int32).max
    wrong = np.flatnonzero((heights < 1) | (widths < 1) | (heights > limit) | (widths > limit))
    if len(wrong):
        row = wrong[0]
        raise LstError(
            f"{path}: image {ids[row]} is said to be {widths[row]} wide and {heights[row]} high",
            "state the size of every image in pixels",
        )


def _rows_of(
    path: Path,
    kind: str,
    ids: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    annotation_ids: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """Turn ids into rows.

    Raises:
        LstError: If an annotation names an id that is not there.
    """
    order = np.argsort(ids, kind="stable")
    if len(ids):
        place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
        rows = order[place]
        unknown = np.flatnonzero(ids[rows] != wanted)
    else:
        rows = np.zeros(len(wanted), dtype=np.int64)
        unknown = np.arange(len(wanted))
    if len(unknown):
        _refuse_unknown(path, kind, wanted[unknown], annotation_ids[unknown])
    narrow: npt.NDArray[np.int32] = rows.astype(np.int32)
    return narrow


def _refuse_unknown(
    path: Path, kind: str, ids: npt.NDArray[np.int64], annotation_ids: npt.NDArray[np.int64]
) -> NoReturn:
    what = "images" if kind == "image" else "categories"
    raise LstError(
        f"{path}: {len(ids)} annotation{'s name' if len(ids) > 1 else ' names'} {what} that are "
        f"not in the file, the first: annotation {annotation_ids[0]} names {kind} {ids[0]}",
        f"remove these annotations or add the {what}",
    )


def _some(ids: npt.NDArray[np.int64], most: int = 5) -> str:
    return ", ".join(str(number) for number in ids[:most].tolist()) + (
        ", ..." if len(ids) > most else ""
    )
