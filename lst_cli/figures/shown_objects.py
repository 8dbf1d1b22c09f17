"""Objects to be drawn on validation images: annotated, and found by a phase."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.read import Dataset, read_segmentations
from lst_cli.annotations.segmentations import parse_segmentation, usable_part
from lst_cli.ap.results_file import Boxed, ResultsFile
from lst_cli.display.objects import PanelObject
from lst_cli.evaluate.stored import eval_command, load_metrics
from lst_cli.workspace.store import Workspace


class _Detection(Boxed, gc=False):
    segmentation: msgspec.Raw


def class_names(workspace: Workspace) -> dict[int, str]:
    """Names of all classes of a split, by category id."""
    return {record.category_id: record.name for record in workspace.split.classes}


def read_found(
    workspace: Workspace, phase: int, image_ids: Collection[int]
) -> dict[int, list[PanelObject]]:
    """Read what an evaluated phase found in some images."""
    metrics = load_metrics(workspace, phase)
    source = ResultsFile(
        workspace.phase(phase).detections,
        sha256=metrics.detections_sha256 if metrics else "",
        hint=eval_command(workspace, phase),
    )
    return find_in(source, image_ids, class_names(workspace))


def find_in(
    source: ResultsFile, image_ids: Collection[int], names: Mapping[int, str]
) -> dict[int, list[PanelObject]]:
    """Pick the detections of some images; the file passes through memory in blocks."""
    found: dict[int, list[PanelObject]] = {image_id: [] for image_id in image_ids}
    for first, block in source.blocks(_Detection):
        for row, one in enumerate(block, first):
            if one.image_id in found:
                size, counts = source.decode_mask(row, one.segmentation)
                label = names.get(one.category_id, str(one.category_id))
                rle = {"size": size, "counts": counts}
                shown = PanelObject(label, one.bbox, rle, one.score, one.category_id)
                found[one.image_id].append(shown)
    return found


def objects_of(dataset: Dataset, category_ids: Collection[int]) -> NDArray[np.bool_]:
    """Which annotations are objects of some classes, without crowds and unusable annotations.

    Only of these it is sure that they have masks.
    """
    own = np.isin(dataset.categories.ids, list(category_ids))[dataset.instances.category_index]
    return np.asarray(own & ~dataset.instances.crowd)


def read_annotated(
    dataset: Dataset, instances: NDArray[np.int64], names: Mapping[int, str]
) -> list[PanelObject]:
    """Read annotated objects, rows of `objects_of`; the file is read once for all of them."""
    category_ids = dataset.categories.ids[dataset.instances.category_index[instances]].tolist()
    boxes = dataset.instances.boxes[instances].tolist()
    texts = read_segmentations(dataset.path, instances)
    return [
        PanelObject(names[one], tuple(box), usable_part(parse_segmentation(text)), category_id=one)
        for one, box, text in zip(category_ids, boxes, texts, strict=True)
    ]
