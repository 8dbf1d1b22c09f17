from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_utils

HEIGHT, WIDTH = 160, 220


def rectangle(x: float, y: float, w: float, h: float) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def rle_of(box: list[float], height: int = HEIGHT, width: int = WIDTH) -> dict[str, Any]:
    rle: dict[str, Any] = mask_utils.frPyObjects([rectangle(*box)], height, width)[0]
    return rle


def random_box(rng: np.random.Generator) -> list[float]:
    x, y = rng.integers(0, 60, 2).tolist()
    w, h = rng.integers(6, 120, 2).tolist()
    return [float(min(x, WIDTH - w)), float(min(y, HEIGHT - h)), float(w), float(h)]


def annotation(number: int, image_id: int, category_id: int, box: list[float]) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": box[2] * box[3],
        "segmentation": [rectangle(*box)],
    }


def detection(image_id: int, category_id: int, score: float, box: list[float]) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": score,
        "bbox": box,
        "segmentation": rle_of(box),
    }


def image(image_id: int, negative: list[int], partial: list[int]) -> dict[str, Any]:
    return {
        "id": image_id,
        "height": HEIGHT,
        "width": WIDTH,
        "neg_category_ids": negative,
        "not_exhaustive_category_ids": partial,
    }


def random_federated_set(
    seed: int, images: int = 14, per_image: int = 30
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Nine classes of which 9 has no instance and 8 is never named; ties, empty areas, ignores."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for image_id in rng.permutation(np.arange(1, images + 1) * 7).tolist():
        present = rng.choice([1, 2, 3, 4, 5, 6, 7], size=3, replace=False).tolist()
        absent = [key for key in (1, 2, 3, 4, 5, 6, 7, 9) if key not in present]
        negative = rng.choice(absent, size=2, replace=False).tolist()
        records.append(image(image_id, negative, [present[0]] if rng.random() < 0.5 else []))
        boxes = []
        for category_id in present:
            for _ in range(int(rng.integers(1, 4))):
                box = random_box(rng)
                boxes.append((category_id, box))
                annotations.append(annotation(len(annotations) + 1, image_id, category_id, box))
                if rng.random() < 0.1:
                    annotations[-1]["ignore"] = 1
                if rng.random() < 0.05:
                    annotations[-1]["area"] = 0.0
        for _ in range(per_image):
            category_id, box = boxes[int(rng.integers(len(boxes)))]
            moved = (np.array(box) + rng.integers(-5, 6, 4) * [1, 1, 0.5, 0.5]).tolist()
            moved[:2] = max(moved[0], 0.0), max(moved[1], 0.0)
            if rng.random() < 0.05:
                moved[2] = 0.0
            if rng.random() < 0.4:
                category_id = int(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9]))
            score = float(rng.integers(0, 8)) / 8  # many ties
            detections.append(detection(image_id, category_id, score, moved))
    letters = "ffccrrrcr"
    categories = [{"id": key, "frequency": letters[key - 1]} for key in range(9, 0, -1)]
    order = rng.permutation(len(detections)).tolist()
    ground_truth = {"images": records, "annotations": annotations, "categories": categories}
    return ground_truth, [detections[position] for position in order]


def run_reference(
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    iou_type: str,
    *,
    folder: Path,
    max_detections: int = 300,
    category_ids: list[int] | None = None,
) -> Any:
    """Run the installed lvis package's own files; only numpy's lost name is lent to them."""
    (folder / "truth.json").write_text(json.dumps(ground_truth))
    spec = importlib.util.find_spec("lvis")
    assert spec is not None
    package = types.ModuleType("lvis")
    package.__path__ = list(spec.submodule_search_locations or ())
    detections = copy.deepcopy(detections)
    if iou_type == "segm":
        for each in detections:
            del each["bbox"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float", float, raising=False)
        before = set(sys.modules)
        patch.setitem(sys.modules, "lvis", package)
        try:
            truth = importlib.import_module("lvis.lvis").LVIS(str(folder / "truth.json"))
            found = importlib.import_module("lvis.results").LVISResults(
                truth, detections, max_detections
            )
            evaluation = importlib.import_module("lvis.eval").LVISEval(truth, found, iou_type)
            evaluation.params.max_dets = max_detections
            if category_ids is not None:
                evaluation.params.cat_ids = category_ids
            evaluation.run()
        finally:
            for name in set(sys.modules) - before - {"lvis"}:
                if name.startswith("lvis."):
                    del sys.modules[name]
    return evaluation


@pytest.fixture
def reference(tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(run_reference, folder=tmp_path)


@pytest.fixture
def draw() -> types.SimpleNamespace:
    return types.SimpleNamespace(
        annotation=annotation,
        detection=detection,
        image=image,
        federated_set=random_federated_set,
        rle_of=rle_of,
    )
