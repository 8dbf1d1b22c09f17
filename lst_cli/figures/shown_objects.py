"""Objects to be drawn on validation images: annotated, and found by a phase."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.read import Dataset, read_segmentations
from lst_cli.annotations.segmentations import parse_segmentation, usable_part
from lst_cli.ap.results_file import RESULTS_HINT, ResultsFile
from lst_cli.display.records import PanelObject
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import eval_command, load_metrics
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class Found:
    """A detection of a results file."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    segmentation: dict[str, Any]


class _Line(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    segmentation: msgspec.Raw


_RLE: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def read_found(workspace: Workspace, phase: int, image_ids: set[int]) -> list[Found]:
    """Read what a phase found in some images.

    Args:
        workspace: With the phase evaluated.
        phase: The phase.
        image_ids: The images.

    Raises:
        LstError: If the file is missing or damaged.
    """
    metrics, again = load_metrics(workspace, phase), eval_command(workspace, phase)
    sha256 = metrics.detections_sha256 if metrics else ""
    try:
        return find_in(ResultsFile(workspace.phase(phase).detections, sha256=sha256), image_ids)
    except LstError as error:
        raise LstError(error.message, again) from error


def find_in(source: ResultsFile, image_ids: set[int]) -> list[Found]:
    """Pick the detections of some images; the file passes through memory in blocks.

    Raises:
        LstError: If the file cannot be read, or is not the one that was written.
    """
    try:
        return [
            Found(one.image_id, one.category_id, one.bbox, one.score, _RLE.decode(one.segmentation))
            for _, records in source.blocks(_Line)
            for one in records
            if one.image_id in image_ids
        ]
    except msgspec.DecodeError as error:
        raise LstError(f"{source.path}: a segmentation is no RLE: {error}", RESULTS_HINT) from error


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
