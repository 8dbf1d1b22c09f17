from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from lst_cli.data.lvis import read_dataset
from lst_cli.evaluation.ground_truth import GroundTruth, build_ground_truth
from lst_cli.evaluation.lvis_ap import ApResult, lvis_ap
from lst_cli.evaluation.sources import Records

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


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., GroundTruth]:
    """Write a dict as an annotation file and read it back as ground truth."""

    def build(content: dict[str, Any], *words: Any, **keywords: Any) -> GroundTruth:
        categories = [{"name": str(one["id"])} | one for one in content["categories"]]
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content | {"categories": categories}))
        return build_ground_truth(read_dataset(path), *words, **keywords)

    return build


@pytest.fixture
def score(build: Callable[..., GroundTruth]) -> Callable[..., ApResult]:
    """Score detections against a dict."""

    def score(
        content: dict[str, Any],
        detections: list[dict[str, Any]],
        iou_type: Any,
        category_ids: list[int] | None = None,
        **keywords: Any,
    ) -> ApResult:
        truth = build(content, category_ids, masks=iou_type == "segm")
        return lvis_ap(truth, Records(detections), iou_type=iou_type, **keywords)

    return score


@pytest.fixture
def assert_same() -> Callable[..., None]:
    """Compare with lvis-api's own evaluation, to the last bit."""

    def assert_same(result: ApResult, evaluation: Any) -> None:
        np.testing.assert_array_equal(result.precision, evaluation.eval["precision"])
        np.testing.assert_array_equal(result.recall, evaluation.eval["recall"])
        expected = {name.split("@")[0]: value for name, value in evaluation.results.items()}
        assert result.summary == expected

    return assert_same


@pytest.fixture
def draw() -> types.SimpleNamespace:
    return types.SimpleNamespace(
        annotation=annotation,
        detection=detection,
        image=image,
        federated_set=random_federated_set,
        rle_of=rle_of,
    )
