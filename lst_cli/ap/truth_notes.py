"""What a reader of AP should know of the ground truth.

Nothing here changes a number: lvis-api counts these objects, and so do we.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.problems import count_of
from lst_cli.ap.ground_truth import GroundTruth
from lst_cli.check.boxes import check_box_layout, check_boxes_of_masks
from lst_cli.check.objects import count_surplus, find_unmatchable, tell_unmatchable


def truth_notes(truth: GroundTruth, most: int | None) -> tuple[str, ...]:
    """Sentences about objects that count as missed whatever is detected, and about wrong boxes.

    Args:
        truth: The ground truth, with or without masks.
        most: Detections an image that count; None for all.
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
