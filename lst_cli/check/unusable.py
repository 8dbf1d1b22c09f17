"""Annotations that cannot be used, left out on request (`--skip-unusable`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.annotations.segmentations import USABLE
from lst_cli.check.fields import box_faults, words_for
from lst_cli.check.masks import find_segmentation_faults
from lst_cli.progress import Progress, silent


def leave_out_unusable(dataset: Dataset, *, progress: Progress = silent) -> Dataset:
    """Take the annotations that `lst check` has an error for as crowds.

    So they are not trained on, and in evaluation a detection of their class in their image that
    matches nothing else is not counted as wrong.

    Args:
        dataset: The file, which is read again for its masks.
        progress: Called with bytes read and bytes in the file.

    Returns:
        The dataset, with each such row in `skipped` under its first fault.

    Raises:
        LstError: If the file cannot be read again.
    """
    faults: dict[str, list[int]] = {
        kind: rows for kind, (severity, rows) in box_faults(dataset).items() if severity == "error"
    }
    for fault, rows in find_segmentation_faults(dataset.path, dataset, progress=progress).items():
        if fault not in USABLE:
            faults[fault] = rows
    crowd = dataset.instances.crowd.copy()
    skipped: dict[str, list[int]] = {}
    for kind, rows in faults.items():
        left = [row for row in rows if not crowd[row]]
        if left:
            skipped[kind] = left
            crowd[np.array(left)] = True
    return replace(dataset, instances=replace(dataset.instances, crowd=crowd), skipped=skipped)


def read_usable(path: Path | str, *, progress: Progress = silent) -> Dataset:
    """Read an annotation file and leave out what cannot be used.

    Args:
        path: The file.
        progress: Called with bytes read and bytes in the file, in each pass over it.

    Raises:
        LstError: If the file cannot be read.
    """
    return leave_out_unusable(read_dataset(path, progress=progress), progress=progress)


def tell_skipped(skipped: Mapping[str, int]) -> str:
    """Say how many annotations were left out, of which kinds.

    Example:
        >>> tell_skipped({"no-segmentation": 3, "box-no-area": 1})
        '4 annotations left out: 3 with no segmentation, 1 with a box of no area'
    """
    kinds = ", ".join(f"{count:,} with {words_for(kind)}" for kind, count in skipped.items())
    return f"{count_of(sum(skipped.values()), 'annotation', 'annotations')} left out: {kinds}"
