"""Detections that can count against a ground truth, in columns.

A results file in LVIS or COCO format is read in blocks and, for masks, twice: which of the
detections count is decided from image, class and score alone, and only their masks are kept.

Letters: D detections.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.ground_truth import GroundTruth, contains
from lst_cli.ap.run_lengths import measure_masks
from lst_cli.ap.sources import RESULTS_HINT, Source
from lst_cli.errors import LstError

IouType = Literal["segm", "bbox"]

_RELEASES = {
    "lvis-v0.5": "LVIS v0.5",
    "lvis-v1": "LVIS v1",
    "coco": "a COCO-format file",
}


@dataclass(frozen=True)
class Cap:
    """How many detections take part.

    Attributes:
        per_image: The best of each image, over all classes (LVIS: 300); None for all.
        per_class: The best of each class, over all images (AP_fixed of Dave et al. 2021: 10,000);
            None for all.
    """

    per_image: int | None = 300
    per_class: int | None = None


FIXED_AP = Cap(per_image=None, per_class=10_000)


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections that count: under the cap, of a class to score, where it was looked for.

    Ordered by class, image, falling score and place in the source, in this order.

    Attributes:
        given: Detections in the source.
        image: Row of the image in the ground truth, shape (D,).
        category: Column of the class there, shape (D,).
        scores: Shape (D,).
        areas: Of the mask for masks, of the box for boxes, in square pixels, shape (D,).
        boxes: x, y, width, height in pixels, shape (D, 4); None for masks.
        counts: Compressed run lengths of the masks; None for boxes.
    """

    given: int
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    scores: NDArray[np.float64]
    areas: NDArray[np.float64]
    boxes: NDArray[np.float64] | None
    counts: list[bytes] | None

    def __len__(self) -> int:
        return len(self.scores)


def gather_detections(
    truth: GroundTruth, source: Source, iou_type: IouType, cap: Cap | None = None
) -> Detections:
    """Read detections and keep those that can count.

    What lvis-api does to them, in its order: the cap comes first, and takes all classes of the
    file into account; then detections without an area go; then those of classes that nobody
    looked for in their image.

    Args:
        truth: What they are held against.
        source: The detections.
        iou_type: `segm` reads masks and no box; `bbox` boxes and no mask, so that small, medium
            and large mean mask area for masks.
        cap: How many take part; LVIS's 300 an image by default.

    Returns:
        The detections, ordered.

    Raises:
        LstError: If one names an unknown image or class, lacks a field, or holds a number or a
            mask that means nothing.
    """
    cap = Cap() if cap is None else cap
    for name, most in (("per_image", cap.per_image), ("per_class", cap.per_class)):
        if most is not None and most < 1:
            raise LstError(f"the cap {name} on detections is {most}", "make it 1 or more")
    image_ids, category_ids, scores, boxes = _columns(source, iou_type == "bbox")
    image = _image_rows(truth, source, image_ids)
    category = _category_columns(truth, source, category_ids)
    del image_ids
    rows = rows_under_cap(cap, image, category_ids, scores)
    given = len(scores)
    del category_ids
    positive = np.unique(truth.pair_keys(truth.image, truth.category)[truth.counts])
    pair = truth.pair_keys(image[rows], category[rows])
    looked_for = contains(positive, pair) | truth.labelled_absent(pair)
    rows = rows[(category[rows] >= 0) & looked_for]
    # From here on only those that may count are held.
    image, category, scores = image[rows], category[rows], scores[rows]
    del pair, looked_for
    counts: list[bytes] | None = None
    if boxes is None:
        counts = _read_masks(truth, source, rows, image)
        areas, broken = measure_masks(counts, truth.sizes[image].prod(axis=1))
        _refuse(source, rows[broken], lambda row: "has run lengths that do not fill its image")
    else:
        boxes = boxes[rows]
        with np.errstate(over="ignore"):  # lvis-api drops infinite areas
            areas = boxes[:, 2] * boxes[:, 3]
    del rows
    sized = np.flatnonzero((areas > 0) & (areas < np.inf))
    # lexsort is stable: what is equal in all of these stays as in the source.
    chosen = sized[np.lexsort((-scores[sized], image[sized], category[sized]))]
    return Detections(
        given=given,
        image=image[chosen],
        category=category[chosen],
        scores=scores[chosen],
        areas=areas[chosen],
        boxes=None if boxes is None else boxes[chosen],
        counts=None if counts is None else [counts[row] for row in chosen.tolist()],
    )


def _columns(
    source: Source, with_boxes: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None]:
    """Image ids, category ids, scores and perhaps boxes of all detections."""
    # Arrays grow in place; joining blocks would take the memory twice.
    image_ids, category_ids, scores, boxes = array("q"), array("q"), array("d"), array("d")
    for records in source.keys(with_boxes):
        image_ids.extend([record.image_id for record in records])
        category_ids.extend([record.category_id for record in records])
        scores.extend([record.score for record in records])
        if with_boxes:
            boxes.extend(chain.from_iterable([record.bbox for record in records]))
    keys = np.asarray(image_ids), np.asarray(category_ids)
    score, box = np.asarray(scores), np.asarray(boxes).reshape(-1, 4)
    strange = np.flatnonzero(~np.isfinite(score))
    _refuse(source, strange, lambda row: f"has the score {score[row]}")
    if not with_boxes:
        return *keys, score, None
    strange = np.flatnonzero(~np.isfinite(box).all(axis=1) | (box[:, 2:] < 0).any(axis=1))
    _refuse(source, strange, lambda row: f"has the box {box[row].tolist()}")
    return *keys, score, box


def _refuse(source: Source, rows: NDArray[np.int64], describe: Callable[[int], str]) -> None:
    if len(rows):
        more = f" (and {len(rows) - 1} more like it)" if len(rows) > 1 else ""
        raise LstError(
            f"{source.name}: detection {rows[0]} {describe(int(rows[0]))}{more}", RESULTS_HINT
        )


def _image_rows(
    truth: GroundTruth, source: Source, image_ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    unknown = ~contains(truth.image_ids, image_ids)
    _refuse_unknown(truth, source, unknown, image_ids, "image")
    return np.searchsorted(truth.image_ids, image_ids)


def _category_columns(
    truth: GroundTruth, source: Source, category_ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Column of each detection's class, -1 for one that is not to be scored."""
    known = np.array(sorted(truth.known_category_ids), dtype=np.int64)
    _refuse_unknown(truth, source, ~contains(known, category_ids), category_ids, "class")
    column_of = {category_id: column for column, category_id in enumerate(truth.category_ids)}
    columns = np.array([column_of.get(one, -1) for one in known.tolist()], dtype=np.int64)
    return columns[np.searchsorted(known, category_ids)]


def _refuse_unknown(
    truth: GroundTruth,
    source: Source,
    unknown: NDArray[np.bool_],
    ids: NDArray[np.int64],
    kind: str,
) -> None:
    rows = np.flatnonzero(unknown)
    if not len(rows):
        return
    more = f" ({len(rows)} of {len(ids)} detections do such)" if len(rows) > 1 else ""
    raise LstError(
        f"{source.name}: detection {rows[0]} names the unknown {kind} {ids[rows[0]]}{more}",
        f"{truth.path} is {_RELEASES[truth.layout]}: score detections against the file that they "
        "were made for"
        + ("" if truth.layout == "coco" else " (LVIS v0.5 and v1 number classes differently)"),
    )


def rows_under_cap(
    cap: Cap,
    image: NDArray[np.int64],
    category_ids: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Rows under the cap, ascending; of equal scores the earlier ones stay.

    Args:
        cap: The cap.
        image: Row of each detection's image, shape (D,).
        category_ids: Shape (D,).
        scores: Shape (D,).
    """
    rows = np.arange(len(scores))
    for most, group in ((cap.per_image, image), (cap.per_class, category_ids)):
        if most is None or not len(rows):
            continue
        members = group[rows]
        if group is category_ids:  # any numbers
            _, members = np.unique(members, return_inverse=True)
        if np.bincount(members).max() <= most:
            continue
        order = np.lexsort((-scores[rows], members))
        starts = np.searchsorted(members[order], np.arange(members.max() + 1))
        place = np.arange(len(order)) - starts[members[order]]
        rows = np.sort(rows[order[place < most]])
    return rows


def _read_masks(
    truth: GroundTruth, source: Source, rows: NDArray[np.int64], image: NDArray[np.int64]
) -> list[bytes]:
    """Compressed run lengths of some detections, ascending by row."""
    found: list[bytes] = []
    sizes = truth.sizes[image]
    if not len(rows):
        return found
    for first, segmentations in source.masks():
        low, high = np.searchsorted(rows, (first, first + len(segmentations)))
        for row, (height, width) in zip(
            rows[low:high].tolist(), sizes[low:high].tolist(), strict=True
        ):
            try:
                rle = source.parse(segmentations[row - first])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise LstError(
                    f"{source.name}: detection {row} has a segmentation that is not a compressed "
                    f"RLE: {str(error).replace('`', '')}",
                    RESULTS_HINT,
                ) from error
            if rle.size != (height, width):
                raise LstError(
                    f"{source.name}: detection {row} has a mask of size {list(rle.size)} in an "
                    f"image of size {[height, width]} (height, width)",
                    "make the masks at the size that the annotation file states",
                )
            found.append(rle.counts.encode("utf-8", "surrogatepass"))
    return found
