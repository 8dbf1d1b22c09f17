"""What the masks of an annotation file have wrong with them.

This reads the file a second time, now for the segmentations.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from lst_cli.annotations.problems import SKIP_HINT, Problem, count_of, examples
from lst_cli.annotations.read import Dataset, iter_segmentations
from lst_cli.annotations.segmentations import FAULTS, UNKNOWN, USABLE, SegmentationFault, examine
from lst_cli.check.boxes import check_boxes
from lst_cli.check.objects import check_objects
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent


def find_segmentation_faults(
    path: Path | str,
    dataset: Dataset,
    *,
    progress: Progress = silent,
    extents: array[float] | None = None,
) -> dict[SegmentationFault, list[int]]:
    """Find the annotations whose segmentation cannot be used as it stands.

    Crowds are passed over: training does not see them.

    Args:
        path: The annotation file.
        dataset: What `read_dataset` made of it.
        progress: Called with bytes read and bytes in the file.
        extents: Gets what each mask reaches, four numbers each, see `measure`.

    Returns:
        Rows of `dataset.instances` by kind of fault; kinds that do not occur
        are left out. "some-short-polygons" leaves a usable mask, the others
        leave none.

    Raises:
        LstError: If the file cannot be read or is not the one of the dataset.
    """
    instances, images = dataset.instances, dataset.images
    heights = images.heights[instances.image_index].tolist()
    widths = images.widths[instances.image_index].tolist()
    crowd = instances.crowd.tolist()
    found: dict[SegmentationFault, list[int]] = {}
    row = 0
    for first_row, records in iter_segmentations(Path(path), progress=progress):
        if first_row + len(records) > len(instances):
            break
        for row, record in enumerate(records, first_row):
            extent = UNKNOWN
            if not crowd[row]:
                _, fault, extent = examine(bytes(record.segmentation), heights[row], widths[row])
                if fault is not None:
                    found.setdefault(fault, []).append(row)
            if extents is not None:
                extents.extend(extent)
        row = first_row + len(records)
    if row != len(instances):
        raise LstError(f"{path} changed while it was read", "run the same command again")
    return found


def check_segmentations(
    path: Path | str, dataset: Dataset, *, training: bool = True, progress: Progress = silent
) -> list[Problem]:
    """Check the masks of a file, the boxes against them, and then what the boxes say.

    Args:
        path: The annotation file.
        dataset: What `read_dataset` made of it.
        training: Whether classes are learned from it, see `check_objects`.
        progress: Called with bytes read and bytes in the file.

    Returns:
        The problems; empty if there are none.

    Raises:
        LstError: If the file cannot be read or is not the one of the dataset.
    """
    extents = array("d")
    faults = find_segmentation_faults(path, dataset, progress=progress, extents=extents)
    instances, images = dataset.instances, dataset.images
    found = [
        Problem(
            "warning" if kind in USABLE else "error",
            kind,
            f"{count_of(len(rows), 'annotation', 'annotations')} with {what}",
            len(rows),
            examples(
                f"annotation {instances.ids[row]} of image {images.ids[instances.image_index[row]]}"
                for row in rows
            ),
            None if kind in USABLE else SKIP_HINT,
        )
        for kind, what in FAULTS.items()
        if (rows := faults.get(kind)) and (training or kind != "no-pixel")
    ]
    if len(faults.get("no-segmentation", ())) == (~instances.crowd).sum() > 0:
        message = "the file has boxes only; masks are needed, as polygons or RLE"
        found = [replace(found[0], message=message, hint="give a file with a mask of each object")]
    boxes = check_boxes(dataset, np.array(extents).reshape(-1, 4))
    found += boxes
    if not any(problem.severity == "error" for problem in boxes):
        found += check_objects(dataset, training=training, no_pixel=faults.get("no-pixel", ()))
    return found
