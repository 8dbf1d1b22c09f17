"""An annotation file as the ground truth of some classes, in columns.

In phase t, classes of later phases do not exist: their annotations are dropped, and so are
their names in the federated lists. Every image stays, since one without an instance of a
seen class can still be labelled as having none.

Letters: N images, M annotations, K classes.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset, Layout, huge_images, iter_segmentations
from lst_cli.annotations.segmentations import FAULTS, MOST_PIXELS, USABLE, Rle, draw_mask, examine
from lst_cli.check.boxes import check_box_layout, check_boxes_of_masks
from lst_cli.check.masks import tell_skipped
from lst_cli.check.objects import count_surplus, find_unmatchable, tell_unmatchable
from lst_cli.errors import LstError
from lst_cli.phases.bins import frequency_of
from lst_cli.progress import Progress, silent

Ints = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is known about K classes in N images; pairs of both are as in `pair_keys`, ascending."""

    path: Path
    layout: Layout
    image_ids: NDArray[np.int64]  # ascending, as lvis-api goes through images, shape (N,)
    sizes: NDArray[np.int64]  # height and width of each image in pixels, shape (N, 2)
    category_ids: tuple[int, ...]  # the classes to score, in the order of their columns
    # These and all others of the file, whose detections take part in the cap on detections only.
    known_category_ids: frozenset[int]
    frequencies: tuple[str, ...]  # "r", "c", "f", or "" of each class
    image: NDArray[np.int64]  # row of each annotation's image, in the order of the file, shape (M,)
    category: NDArray[np.int64]  # column of each annotation's class, shape (M,)
    boxes: NDArray[np.float64]  # x, y, width, height in pixels, shape (M, 4)
    areas: NDArray[np.float64]  # as stated, in square pixels, shape (M,)
    ignore: NDArray[np.bool_]  # whether a match with it is neither right nor wrong, shape (M,)
    rles: list[Rle] | None  # mask of each annotation; None if they were not asked for
    negative: NDArray[np.int64]  # pairs verified to be absent
    # In a file that is not federated, pairs of which it is not known whether the class is absent.
    unsure: NDArray[np.int64]
    partial: NDArray[np.int64]  # pairs where not every instance is outlined
    federated: bool  # whether the file says which classes were looked for in which image
    notes: tuple[str, ...]  # sentences about what was read differently from what the file says

    def pair_keys(self, image: Ints, category: Ints) -> NDArray[np.int64]:
        """One number for each pair of image and class: row times K plus column."""
        return image.astype(np.int64) * len(self.category_ids) + category

    def labelled_absent(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a class that has no annotation in an image is known not to be there."""
        # Without federated lists these are N times K pairs, which are not listed.
        listed = self.negative if self.federated else self.unsure
        return np.isin(keys, listed, invert=not self.federated)

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which annotations lvis-api looks at: it passes over those without an area, shape (M,)."""
        return (self.areas > 0) & (self.areas < np.inf)


def build_ground_truth(
    dataset: Dataset,
    category_ids: Iterable[int] | None = None,
    train_image_counts: Mapping[int, int] | None = None,
    *,
    masks: bool = True,
    progress: Progress = silent,
) -> GroundTruth:
    """Keep what some classes, by default all, need of an annotation file, and read their masks.

    A plain COCO-format file names no negatives: every image is taken to be labelled for every
    class. Crowd regions, which LVIS does not have, are dropped, and their class counts as not
    exhaustively labelled in that image. Training images of each class decide whether it is rare,
    common or frequent where the file does not say. An `LstError` if a class is asked for twice, or
    a segmentation is unusable.
    """
    listed = tuple(dataset.categories.ids.tolist())
    # lvis-api takes them in this order, on which the last bits of its means depend.
    wanted = tuple(sorted(listed)) if category_ids is None else tuple(category_ids)
    if len(set(wanted)) != len(wanted):
        raise LstError("a class is listed twice among those to score", "list every class once")
    frequencies = _frequencies(dataset, wanted, train_image_counts)
    column_of = {category_id: column for column, category_id in enumerate(wanted)}
    columns = np.array([column_of.get(one, -1) for one in listed], dtype=np.int64)

    order = np.argsort(dataset.images.ids, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    instances = dataset.instances
    category = columns[instances.category_index]  # (all annotations of the file,)
    image = rank[instances.image_index]
    kept = np.flatnonzero((category >= 0) & ~instances.crowd)
    crowds = np.flatnonzero((category >= 0) & instances.crowd)
    sizes = np.stack([dataset.images.heights, dataset.images.widths], axis=1)[order]
    rles, scraps = None, 0
    if masks:
        if len(huge := huge_images(dataset)):
            images, row = dataset.images, huge[0]
            raise LstError(
                f"{dataset.path}: image {images.ids[row]} has the stated width "
                f"{images.widths[row]} and height {images.heights[row]}; "
                f"masks are drawn up to {MOST_PIXELS:,} pixels",
                "state the image's size; boxes alone can be scored: --iou-type bbox",
            )
        rles, scraps = _read_masks(dataset, kept, sizes[image[kept]].astype(np.int64), progress)
    k = len(wanted)
    crowded = np.unique(image[crowds] * k + category[crowds])
    negative = _pairs(dataset.images.neg_category_ids, rank, column_of)
    partial = _pairs(dataset.images.not_exhaustive_category_ids, rank, column_of)
    return GroundTruth(
        path=dataset.path,
        layout=dataset.layout,
        image_ids=dataset.images.ids[order],
        sizes=sizes.astype(np.int64),
        category_ids=wanted,
        known_category_ids=frozenset(wanted) | frozenset(listed),
        frequencies=frequencies,
        image=image[kept],
        category=category[kept],
        boxes=instances.boxes[kept],
        areas=instances.areas[kept],
        ignore=instances.ignore[kept],
        rles=rles,
        negative=np.setdiff1d(negative, crowded),
        unsure=crowded,
        partial=np.union1d(partial, crowded),
        federated=dataset.federated,
        notes=_notes(dataset, crowds, len(set(wanted) - set(listed)), scraps),
    )


def _frequencies(
    dataset: Dataset, wanted: Sequence[int], train_image_counts: Mapping[int, int] | None
) -> tuple[str, ...]:
    stated = dict(zip(dataset.categories.ids.tolist(), dataset.categories.frequencies, strict=True))
    frequencies = {category_id: stated.get(category_id, "") for category_id in wanted}
    for category_id, frequency in frequencies.items():
        if not frequency and train_image_counts is not None:
            if category_id not in train_image_counts:
                raise LstError(
                    f"the number of training images of class {category_id} is not known",
                    "give the annotations that the model was trained on",
                )
            frequencies[category_id] = frequency_of(train_image_counts[category_id])
    return tuple(frequencies.values())


def _pairs(
    lists: Sequence[Collection[int]], rank: NDArray[np.int64], column_of: Mapping[int, int]
) -> NDArray[np.int64]:
    """Keys of the pairs that federated lists name, ascending."""
    k = len(column_of)
    keys = [
        row * k + column_of[category_id]
        for row, named in zip(rank.tolist(), lists, strict=True)
        for category_id in named
        if category_id in column_of
    ]
    return np.unique(np.array(keys, dtype=np.int64))


def _read_masks(
    dataset: Dataset, rows: NDArray[np.int64], sizes: NDArray[np.int64], progress: Progress
) -> tuple[list[Rle], int]:
    """The mask of some annotations, ascending by row, and how many have polygons left out."""
    found: list[Rle] = []
    scraps = 0
    for first, records in iter_segmentations(dataset.path, progress=progress) if len(rows) else ():
        low, high = np.searchsorted(rows, (first, first + len(records)))
        for place, row in enumerate(rows[low:high].tolist(), start=int(low)):
            record = records[row - first]
            height, width = sizes[place].tolist()
            segmentation, fault, _ = examine(bytes(record.segmentation), height, width)
            # A mask without a pixel is scored as lvis-api does, though nobody can learn from it.
            if segmentation is None or fault not in (*USABLE, "empty-mask"):
                raise LstError(
                    f"{dataset.path}: annotation {record.id} has "
                    f"{FAULTS[fault or 'no-segmentation']}",
                    "leave such annotations out with --skip-unusable, or score boxes alone with "
                    "--iou-type bbox; all of them are shown by "
                    f"lst check --val {shlex.quote(str(dataset.path))}",
                )
            scraps += fault == "some-short-polygons"
            found.append(draw_mask(segmentation, height, width))
    return found, scraps


def truth_notes(truth: GroundTruth, most: int | None) -> tuple[str, ...]:
    """Sentences about objects that count as missed whatever is detected, and about wrong boxes.

    lvis-api counts these objects, and so does lst. `most` detections an image count; None for all.
    """
    single = ~truth.ignore
    rows = np.flatnonzero(truth.counts & single)
    image, boxes = truth.image[rows], truth.boxes[rows]
    sizes = truth.sizes[image][:, ::-1].astype(np.float64)
    extents, areas = _mask_extents(truth, rows)
    wrong = check_boxes_of_masks(boxes, extents, sizes, image, str)
    wrong = wrong or check_box_layout(boxes, sizes, str)
    said = [problem.message for problem in wrong]
    if not len(rows):
        said.append("no annotation of the classes to score counts, so that there is no AP")
    if without := int((single & ~truth.counts).sum()):
        told = count_of(without, "annotation has", "annotations have")
        said.append(f"{told} an area of 0: not scored, and detections there may count as wrong")
    keys = truth.pair_keys(image, truth.category[rows])
    found = find_unmatchable(keys, boxes, sizes, areas == 0)
    if found and not any(problem.severity == "error" for problem in wrong):
        said.append(tell_unmatchable(found, len(rows)))
    surplus, told = (0, "") if most is None else count_surplus(image, most)
    if surplus:
        said.append(told)
    return tuple(f"{truth.path.name}: {sentence}." for sentence in said)


def _mask_extents(
    truth: GroundTruth, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Extents and areas of masks, NaN where there is none."""
    extents, areas = np.full((len(rows), 4), np.nan), np.full(len(rows), np.nan)
    if truth.rles is None or not len(rows):
        return extents, areas
    from pycocotools import mask

    chosen = [truth.rles[row] for row in rows.tolist()]
    # One by one: pycocotools 2.0.11 raises OverflowError for more than 255 at once.
    areas = np.array([mask.area(rle) for rle in chosen], dtype=np.float64)
    boxes = np.asarray(mask.toBbox(chosen), dtype=np.float64)
    extents = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
    extents[areas == 0] = np.nan
    return extents, areas


def _notes(
    dataset: Dataset, crowds: NDArray[np.int64], missing: int, scraps: int
) -> tuple[str, ...]:
    notes = []
    if not dataset.federated:
        notes.append(
            "The annotation file does not say which classes were looked for in which image: "
            "every image counts as labelled for every class."
        )
    if dataset.unlisted:
        notes.append(
            f"{count_of(len(dataset.unlisted), 'image has', 'images have')} no neg_category_ids or "
            "not_exhaustive_category_ids, which others have: their lists count as empty."
        )
    if scraps:
        told = count_of(scraps, "annotation has", "annotations have")
        notes.append(f"{told} {FAULTS['some-short-polygons']}.")
    for skipped in dataset.skipped.values():
        crowds = np.setdiff1d(crowds, skipped)
    if len(crowds):
        told = count_of(len(crowds), "crowd annotation is", "crowd annotations are")
        notes.append(
            f"{told} left out; detections of the same class and image that match nothing else "
            "are not counted as wrong."
        )
    if dataset.skipped:
        told = tell_skipped({kind: len(rows) for kind, rows in dataset.skipped.items()})
        notes.append(f"{told}; they count as crowds.")
    if missing:
        notes.append(
            f"{missing} of the classes to score are not listed in the annotation file and have no "
            "ground truth there."
        )
    return tuple(notes)
