"""Detections that can count against a ground truth, in columns, and what they overlap.

A results file is read in blocks and, for masks, twice: which detections count is decided from
image, class and score alone. Only areas and overlaps of masks are kept in memory.

Letters: D detections, E pairs of a detection and an annotation that overlap.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.ground_truth import GroundTruth, Ints
from lst_cli.ap.metrics import IouType
from lst_cli.ap.results_file import (
    RESULTS_HINT,
    Boxed,
    Masked,
    ResultsFile,
    Scored,
    measure_masks,
)
from lst_cli.check.boxes import check_box_layout
from lst_cli.errors import LstError

FOREGROUND = 0.5  # the lowest IoU at which a detection matches an annotation of its class
BACKGROUND = 0.1  # the IoU below which a detection has nothing to do with an annotation

_NUMBERED = " (LVIS v0.5 and v1 number classes differently)"
_RELEASES = {
    "lvis-v0.5": ("LVIS v0.5", _NUMBERED),
    "lvis-v1": ("LVIS v1", _NUMBERED),
    "coco": ("a COCO-format file", ""),
}


@dataclass(frozen=True)
class Cap:
    """How many detections take part; None for all."""

    per_image: int | None = 300  # the best of each image, over all classes, as in LVIS
    per_class: int | None = None  # the best of each class, over all images


LVIS_CAP = Cap()
FIXED_AP = Cap(per_image=None, per_class=10_000)  # AP_fixed of Dave et al. 2021


class Overlaps(NamedTuple):
    """Row of the detection, row of the annotation and IoU of each pair, shape (E,) each."""

    detection: NDArray[np.int32]
    annotation: NDArray[np.int32]
    iou: NDArray[np.float64]

    def at(self, pairs: Any) -> Overlaps:
        """Some of the pairs."""
        return Overlaps(*(column[pairs] for column in self))


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections that count, by class, image, falling score and place in the file."""

    iou_type: IouType
    given: int  # detections in the file
    image: NDArray[np.int32]  # row in the ground truth, shape (D,)
    category: NDArray[np.int32]  # column in the ground truth, shape (D,)
    scores: NDArray[np.float64]  # shape (D,)
    areas: NDArray[np.float64]  # of the mask or of the box, in square pixels, shape (D,)
    overlaps: Overlaps
    any_class: bool  # whether `overlaps` has pairs of different classes
    notes: tuple[str, ...]  # sentences about boxes that cannot be x, y, width, height in pixels

    def __len__(self) -> int:
        return len(self.scores)


def gather_detections(
    truth: GroundTruth,
    source: ResultsFile,
    iou_type: IouType,
    cap: Cap = LVIS_CAP,
    *,
    any_class: bool = False,
) -> Detections:
    """Read detections and keep those that can count.

    As in lvis-api the cap comes first, and takes all classes of the file into account; then
    detections without an area are left out, and those of classes that nobody looked for in their
    image. `segm` reads no boxes, `bbox` no masks. With `any_class`, overlaps with annotations of
    other classes are found too, for an analysis of errors. An `LstError` if a detection names an
    unknown image or class, lacks a field, or has a number or a mask that cannot be used.
    """
    for name, most in (("per_image", cap.per_image), ("per_class", cap.per_class)):
        if most is not None and most < 1:
            raise LstError(f"the cap {name} on detections is {most}", "make it 1 or more")
    image_ids, category_ids, scores, boxes = _read_columns(source, iou_type == "bbox")
    image = _places(truth, source, "image", truth.image_ids, image_ids)
    known = np.array(sorted(truth.known_category_ids), dtype=np.int64)
    column_of = {one: column for column, one in enumerate(truth.category_ids)}
    columns = np.array([column_of.get(one, -1) for one in known.tolist()], dtype=np.int32)
    category = columns[_places(truth, source, "class", known, category_ids)]
    del image_ids
    rows = rows_under_cap(cap, image, category_ids, scores)
    given = len(scores)
    del category_ids
    positive = np.unique(truth.pair_keys(truth.image, truth.category)[truth.counts])
    pair = truth.pair_keys(image[rows], category[rows])
    looked_for = np.isin(pair, positive) | truth.labelled_absent(pair)
    rows = rows[(category[rows] >= 0) & looked_for]
    # From here on only those that may count are held.
    image, category, scores = image[rows], category[rows], scores[rows]
    del pair, looked_for
    finder = _OverlapFinder(truth, any_class)
    if boxes is None:
        areas, overlaps = _read_masks(truth, source, rows, image, category, finder)
    else:
        boxes = boxes[rows]
        with np.errstate(over="ignore"):  # lvis-api drops infinite areas
            areas = boxes[:, 2] * boxes[:, 3]
        overlaps = finder.find(image, category, boxes)
    del rows
    sized = np.flatnonzero((areas > 0) & (areas < np.inf))
    # lexsort is stable: what is equal in all of these stays as in the source.
    chosen = sized[np.lexsort((-scores[sized], image[sized], category[sized]))]
    place = np.full(len(areas), -1, dtype=np.int32)
    place[chosen] = np.arange(len(chosen))
    overlaps = overlaps._replace(detection=place[overlaps.detection])
    notes: tuple[str, ...] = ()
    if boxes is not None:
        sizes = truth.sizes[image[chosen]][:, ::-1].astype(np.float64)
        found = check_box_layout(boxes[chosen], sizes, str, what="detections")
        notes = tuple(f"{one.message[:1].upper()}{one.message[1:]}." for one in found)
    return Detections(
        iou_type=iou_type,
        given=given,
        image=image[chosen],
        category=category[chosen],
        scores=scores[chosen],
        areas=areas[chosen],
        overlaps=overlaps.at(overlaps.detection >= 0),
        any_class=any_class,
        notes=notes,
    )


def _read_columns(
    source: ResultsFile, with_boxes: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None]:
    """Image ids, category ids, scores and perhaps boxes of all detections."""
    # Arrays grow in place; joining blocks would take the memory twice.
    image_ids, category_ids, scores, boxes = array("q"), array("q"), array("d"), array("d")
    for _, records in source.blocks(Boxed if with_boxes else Scored):
        image_ids.extend([record.image_id for record in records])
        category_ids.extend([record.category_id for record in records])
        scores.extend([record.score for record in records])
        if with_boxes:
            boxes.extend(chain.from_iterable([record.bbox for record in records]))
    columns = np.asarray(image_ids), np.asarray(category_ids), np.asarray(scores)
    if not with_boxes:
        return *columns, None
    box = np.asarray(boxes).reshape(-1, 4)
    negative = np.flatnonzero((box[:, 2:] < 0).any(axis=1))
    _refuse(source, negative, f"the box {box[negative[:1]].ravel().tolist()}")
    return *columns, box


def _refuse(source: ResultsFile, rows: NDArray[np.int64], what: str) -> None:
    if len(rows):
        more = f" (and {len(rows) - 1} more like it)" if len(rows) > 1 else ""
        raise LstError(f"{source.path}: detection {rows[0]} has {what}{more}", RESULTS_HINT)


def _places(
    truth: GroundTruth, source: ResultsFile, kind: str, known: Ints, ids: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Where each id stands among the known ones of the file, which are ascending."""
    unknown = np.flatnonzero(~np.isin(ids, known))
    if len(unknown):
        row = unknown[0]
        more = f" ({len(unknown)} of {len(ids)} detections do such)" if len(unknown) > 1 else ""
        release, otherwise = _RELEASES[truth.layout]
        raise LstError(
            f"{source.path}: detection {row} names the unknown {kind} {ids[row]}{more}",
            f"{truth.path} is {release}: score detections against the file that they were made "
            f"for{otherwise}",
        )
    return np.searchsorted(known, ids).astype(np.int32)


def rows_under_cap(
    cap: Cap, image: Ints, category_ids: Ints, scores: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Rows under the cap, ascending; of equal scores the earlier ones stay."""
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
    truth: GroundTruth,
    source: ResultsFile,
    rows: NDArray[np.int64],
    image: Ints,
    category: Ints,
    finder: _OverlapFinder,
) -> tuple[NDArray[np.float64], Overlaps]:
    """Areas and overlaps of the masks in some rows of the file, ascending, block by block."""
    areas, broken = np.zeros(len(rows)), [rows[:0]]
    found: list[array[Any]] = [array("i"), array("i"), array("d")]  # grow in place, as above
    for first, records in source.blocks(Masked) if len(rows) else ():
        low, high = np.searchsorted(rows, (first, first + len(records)))
        part = slice(int(low), int(high))
        counts = []
        sizes = truth.sizes[image[part]]
        for row, stated in zip(rows[part].tolist(), sizes.tolist(), strict=True):
            size, text = source.decode_mask(row, records[row - first].segmentation)
            if list(size) != stated:
                raise LstError(
                    f"{source.path}: detection {row} has a mask of size {list(size)} in an image "
                    f"of size {stated} (height, width)",
                    "make the masks at the size that the annotation file states",
                )
            counts.append(text.encode())
        areas[part], wrong = measure_masks(counts, sizes.prod(axis=1))
        broken.append(rows[part][wrong])
        if not len(wrong):  # pycocotools reads beyond broken ones
            pairs = finder.find(image[part], category[part], counts)
            moved: Sequence[Any] = pairs._replace(detection=pairs.detection + part.start)
            for column, values in zip(found, moved, strict=True):
                column.frombytes(values.tobytes())
    _refuse(source, np.concatenate(broken), "run lengths that do not fill its image")
    return areas, Overlaps(*map(np.asarray, found))


class _OverlapFinder:
    """Compares detections with the annotations of their image that have an area.

    These are those of the same class with an IoU of `FOREGROUND` or more, or, for an analysis of
    errors, those of any class with `BACKGROUND` or more.
    """

    def __init__(self, truth: GroundTruth, any_class: bool) -> None:
        self._truth, self._any_class = truth, any_class
        counted = np.flatnonzero(truth.counts)
        keys = self._group_keys(truth.image[counted], truth.category[counted])
        order = np.argsort(keys, kind="stable")
        self._annotations, self._keys = counted[order].astype(np.int32), keys[order]

    def _group_keys(self, image: Ints, category: Ints) -> Ints:
        return image if self._any_class else self._truth.pair_keys(image, category)

    def find(
        self, image: Ints, category: Ints, shapes: NDArray[np.float64] | Sequence[bytes]
    ) -> Overlaps:
        """The overlapping pairs of D detections: of boxes (D, 4), or of masks' run lengths."""
        from pycocotools import mask

        truth, least = self._truth, BACKGROUND if self._any_class else FOREGROUND
        keys = self._group_keys(image, category)
        rows = np.flatnonzero(np.isin(keys, self._keys)).astype(np.int32)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        groups = np.unique(keys[rows])
        bounds = [
            np.searchsorted(sides, groups, side).tolist()
            for sides in (keys[rows], self._keys)
            for side in ("left", "right")
        ]
        nothing = np.zeros(0, dtype=np.int32)
        found = [Overlaps(nothing, nothing, np.zeros(0))]
        for begin, end, low, high in zip(*bounds, strict=True):
            mine, theirs = rows[begin:end], self._annotations[low:high]
            detected: Any
            annotated: Any
            if isinstance(shapes, np.ndarray):
                detected, annotated = shapes[mine], truth.boxes[theirs]
            else:
                assert truth.rles is not None
                size = truth.sizes[image[mine[0]]].tolist()
                detected = [{"size": size, "counts": shapes[row]} for row in mine.tolist()]
                annotated = [truth.rles[row] for row in theirs.tolist()]
            ious = mask.iou(detected, annotated, np.zeros(len(theirs), dtype=np.uint8))
            row, column = np.nonzero(ious >= least)
            found.append(Overlaps(mine[row], theirs[column], ious[row, column]))
        return Overlaps(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
