"""What the masks of an annotation file have wrong with them, and annotations to leave out."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import SKIP_HINT, Problem, Severity, count_of, problems_of
from lst_cli.annotations.read import Dataset, iter_segmentations, read_dataset
from lst_cli.annotations.segmentations import FAULTS, UNKNOWN, USABLE, examine
from lst_cli.check.boxes import check_boxes
from lst_cli.check.fields import FAULT_WORDS, annotation_name, box_faults, image_sizes
from lst_cli.check.objects import check_objects
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Masks:
    """What one pass over the segmentations of a file tells; it passes over crowds."""

    # Rows of the instances by kind of fault, those that leave a mask to train on included.
    faults: Mapping[str, list[int]]
    # What each mask reaches, see `segmentations.measure`, shape (M, 4); NaN if not known.
    extents: npt.NDArray[np.float64]


def examine_masks(dataset: Dataset, *, progress: Progress = silent) -> Masks:
    """Read a file again, for its segmentations; an `LstError` if it is not the same any more."""
    widths, heights = image_sizes(dataset).T.tolist()
    crowd = dataset.instances.crowd.tolist()
    faults: dict[str, list[int]] = {}
    extents = array("d")
    rows = 0
    for first, records in iter_segmentations(dataset.path, progress=progress):
        rows = first + len(records)
        if rows > len(crowd):
            break
        for row, record in enumerate(records, first):
            extent = UNKNOWN
            if not crowd[row]:
                _, fault, extent = examine(bytes(record.segmentation), heights[row], widths[row])
                if fault is not None:
                    faults.setdefault(fault, []).append(row)
            extents.extend(extent)
    if rows != len(crowd):
        raise LstError(f"{dataset.path} changed while it was read", "run the same command again")
    return Masks(faults, np.array(extents).reshape(-1, 4))


def leave_out_unusable(
    dataset: Dataset, masks: Masks | None = None, *, progress: Progress = silent
) -> Dataset:
    """Take the annotations that `lst check` has an error for as crowds (`--skip-unusable`).

    So they are not trained on, and in evaluation a detection of their class in their image that
    matches nothing else is not counted as wrong. Each such row is in `skipped` under its first
    fault. Without masks the file is read again.
    """
    masks = masks or examine_masks(dataset, progress=progress)
    errors = {kind: rows for kind, (level, rows) in box_faults(dataset).items() if level == "error"}
    unusable = {kind: rows for kind, rows in masks.faults.items() if kind not in USABLE}
    crowd = dataset.instances.crowd.copy()
    skipped: dict[str, list[int]] = {}
    for kind, rows in (errors | unusable).items():
        left = [row for row in rows if not crowd[row]]
        if left:
            skipped[kind] = left
            crowd[left] = True
    return replace(dataset, instances=replace(dataset.instances, crowd=crowd), skipped=skipped)


def read_usable(path: Path | str, *, progress: Progress = silent) -> Dataset:
    """Read an annotation file and leave out what cannot be used."""
    return leave_out_unusable(read_dataset(path, progress=progress), progress=progress)


def tell_skipped(skipped: Mapping[str, int]) -> str:
    """Say how many annotations were left out, of which kinds.

    Example:
        >>> tell_skipped({"no-segmentation": 3, "box-no-area": 1})
        '4 annotations left out: 3 with no segmentation, 1 with a box of no area'
    """
    kinds = ", ".join(f"{count:,} with {FAULT_WORDS[kind]}" for kind, count in skipped.items())
    return f"{count_of(sum(skipped.values()), 'annotation', 'annotations')} left out: {kinds}"


def check_masks(dataset: Dataset, masks: Masks, *, training: bool = True) -> list[Problem]:
    """Check the masks of a file, the boxes against them, and then what the boxes say.

    In a validation file, where no class is learned from masks, those without a pixel are among
    the objects that no detection matches.
    """
    crowd = dataset.instances.crowd
    faults = {kind: [row for row in rows if not crowd[row]] for kind, rows in masks.faults.items()}

    def name(row: int) -> str:
        return annotation_name(dataset, row, with_box=False)

    found: list[Problem] = []
    for kind, what in FAULTS.items():
        if training or kind != "no-pixel":
            severity: Severity = "warning" if kind in USABLE else "error"
            text, hint = f"annotation[|s] with {what}", None if kind in USABLE else SKIP_HINT
            found += problems_of(faults.get(kind, ()), name, severity, kind, text, hint)
    if len(faults.get("no-segmentation", ())) == (~crowd).sum() > 0:
        message = "the file has boxes only; masks are needed, as polygons or RLE"
        found = [replace(found[0], message=message, hint="give a file with a mask of each object")]
    boxes = check_boxes(dataset, masks.extents)
    found += boxes
    if not any(problem.severity == "error" for problem in boxes):
        found += check_objects(dataset, training=training, no_pixel=faults.get("no-pixel", ()))
    return found
