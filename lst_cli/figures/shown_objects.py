"""Objects to be drawn on validation images: annotated, and found by a phase."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.read import Dataset, read_segmentations
from lst_cli.annotations.segmentations import parse_segmentation, usable_part
from lst_cli.display.records import PanelObject
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import eval_command, load_metrics
from lst_cli.files import read_regular
from lst_cli.workspace.store import Workspace


class Found(msgspec.Struct):
    """A detection of a results file."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    segmentation: dict[str, Any]


def read_found(workspace: Workspace, phase: int, image_ids: set[int]) -> list[Found]:
    """Read what a phase found in some images.

    Args:
        workspace: With the phase evaluated.
        phase: The phase.
        image_ids: The images.

    Raises:
        LstError: If the file is missing or damaged.
    """
    path = workspace.phase(phase).detections
    metrics, again = load_metrics(workspace, phase), eval_command(workspace, phase)
    try:
        content = read_regular(path)
        everything = msgspec.json.decode(content, type=list[Found])
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise LstError(f"{path}: cannot be read: {error}", again) from error
    wanted = metrics.detections_sha256 if metrics else ""
    if wanted and hashlib.sha256(content).hexdigest() != wanted:
        raise LstError(f"{path}: changed or damaged after lst wrote it", again)
    return [found for found in everything if found.image_id in image_ids]


def objects_of(dataset: Dataset, category_ids: Collection[int]) -> NDArray[np.bool_]:
    """Which annotations are objects of some classes.

    Crowds, and what was left out as unusable, are none: nothing promises that they have masks.
    """
    own = np.isin(dataset.categories.ids, list(category_ids))[dataset.instances.category_index]
    found: NDArray[np.bool_] = own & ~dataset.instances.crowd
    return found


def read_annotated(
    dataset: Dataset, instances: NDArray[np.int64], names: Mapping[int, str]
) -> list[PanelObject]:
    """Read annotated objects; the file is read once for all of them.

    Args:
        dataset: The annotations.
        instances: Rows of its instances, of `objects_of` only.
        names: What to call classes, by category id.
    """
    category_ids = dataset.categories.ids[dataset.instances.category_index[instances]]
    return [
        PanelObject(
            names[int(category_id)],
            tuple(float(value) for value in dataset.instances.boxes[instance]),  # type: ignore[arg-type]
            usable_part(parse_segmentation(text)),
            category_id=int(category_id),
        )
        for instance, category_id, text in zip(
            instances, category_ids, read_segmentations(dataset.path, instances), strict=True
        )
    ]
