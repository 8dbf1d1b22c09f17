"""`lst predict` with the real network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.engine


def test_any_image_is_predicted_as_it_is_when_evaluated(finished, tiny, run):
    evaluated = json.loads(finished.phase(2).detections.read_text())
    images = {one["id"]: one for one in json.loads(tiny.val_json.read_text())["images"]}
    chosen = sorted({one["image_id"] for one in evaluated})[:2]
    names = [Path(images[one]["coco_url"]).name for one in chosen]
    paths = [next(tiny.images.rglob(name)) for name in names]
    scores = sorted(one["score"] for one in evaluated if one["image_id"] in chosen)
    score = (scores[-6] + scores[-5]) / 2  # the five best of both images

    outcome = run("predict", *paths, "-w", finished.root, "--score", score).ok()
    folder = finished.layout.predictions(2)
    assert outcome.out.endswith(f"{folder}\n")
    found = json.loads((folder / "predictions.json").read_text())
    assert sum(len(one["objects"]) for one in found["images"]) == 5
    for image_id, image in zip(chosen, found["images"], strict=True):
        expected = [
            one for one in evaluated if one["image_id"] == image_id and one["score"] >= score
        ]
        keys = ("category_id", "bbox", "segmentation")
        assert [[one[key] for key in keys] for one in image["objects"]] == [
            [pytest.approx(one["bbox"], abs=1e-3) if key == "bbox" else one[key] for key in keys]
            for one in expected
        ]
        with Image.open(folder / image["picture"]) as picture:
            assert picture.size == (640, 640)
