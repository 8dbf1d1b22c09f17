from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from lst_cli.annotations.read import Images
from lst_cli.errors import LstError
from lst_cli.evaluate.detector import Detector, encode_box_masks

pytestmark = pytest.mark.engine

SIZES = [(48, 80), (64, 40), (50, 50)]  # height, width
IMAGE_IDS = [31, 7, 19]
CATEGORY_IDS = np.array([900, 3, 77])  # by label
IMAGES = Images(
    ids=np.array(IMAGE_IDS),
    heights=np.array([height for height, _ in SIZES], dtype=np.int32),
    widths=np.array([width for _, width in SIZES], dtype=np.int32),
    file_names=["0.png", "1.png", "2.png"],
    coco_urls=[""] * 3,
    neg_category_ids=[()] * 3,
    not_exhaustive_category_ids=[()] * 3,
)


@pytest.fixture(scope="module")
def network(make_model):
    network = make_model(len(CATEGORY_IDS), eval={"detections": 20})
    with torch.no_grad():  # as if trained: boxes move, and classes differ
        network.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.2)
    return network


@pytest.fixture(scope="module")
def open_detector(network, make_settings):
    def call(workers: int = 0) -> Detector:
        settings = make_settings(device="cpu", data={"workers": workers})
        return Detector(network, settings, CATEGORY_IDS.tolist())

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for row, size in enumerate(SIZES):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BOX).save(path / f"{row}.png")
    return path


def find_in(folder: Path, *names: str) -> Callable[[int], Path]:
    return lambda row: folder / (names or IMAGES.file_names)[row]


@torch.no_grad()
def detectron2s_own(model: Any, path: Path) -> Any:
    """detectron2's answer for an image, read and resized by hand."""
    picture = Image.open(path)
    width, height = picture.size
    scale = min(64 / min(width, height), 96 / max(width, height))
    resized = picture.resize(
        (int(width * scale + 0.5), int(height * scale + 0.5)), Image.Resampling.BILINEAR
    )
    image = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    [result] = model([{"image": image, "height": height, "width": width}])
    return result["instances"]


@pytest.mark.parametrize("workers", [0, 1])
def test_detections_are_detectron2s_in_lvis_format(workers, network, open_detector, folder):
    found = dict(open_detector(workers).detect(IMAGES, find_in(folder), range(3)))
    assert list(found) == [0, 1, 2]
    labels = set()
    for row, here in found.items():
        expected = detectron2s_own(network, folder / f"{row}.png")
        assert {one["image_id"] for one in here} == {IMAGE_IDS[row]}
        assert len(here) == len(expected)
        assert 0 < len(here) <= 20
        scores = [one["score"] for one in here]
        np.testing.assert_allclose(scores, expected.scores.numpy(), atol=1e-6)
        assert scores == sorted(scores, reverse=True)
        classes = [one["category_id"] for one in here]
        assert classes == CATEGORY_IDS[expected.pred_classes].tolist()
        labels.update(classes)
        boxes = np.array([one["bbox"] for one in here])
        x0, y0, x1, y1 = expected.pred_boxes.tensor.numpy().T
        np.testing.assert_allclose(boxes, np.stack([x0, y0, x1 - x0, y1 - y0], 1), atol=1e-3)
        assert boxes[:, :2].min() >= 0
        assert boxes[:, 2:].min() > 0
        assert ((boxes[:, :2] + boxes[:, 2:]) <= np.array(SIZES[row][::-1]) + 1e-3).all()
        for one, mask in zip(here, expected.pred_masks.numpy(), strict=True):
            assert one["segmentation"]["size"] == list(SIZES[row])
            np.testing.assert_array_equal(mask_api.decode(one["segmentation"]), mask)
        assert expected.pred_masks.any()
    assert len(labels) > 1
    first = found[0][0]
    assert list(first) == ["image_id", "category_id", "bbox", "score", "segmentation"]
    assert type(first["image_id"]) is type(first["category_id"]) is int
    assert {type(number) for number in (*first["bbox"], first["score"])} == {float}


def test_images_without_detections_still_count_as_done(network, open_detector, folder, monkeypatch):
    monkeypatch.setattr(network.roi_heads.box_predictor, "test_score_thresh", 1.1)
    found = list(open_detector().detect(IMAGES, find_in(folder), range(3)))
    assert found == [(0, []), (1, []), (2, [])]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_used_ends_it_after_those_before_or_is_skipped(
    workers, open_detector, folder
):
    def detect(**options: Any) -> Iterator[tuple[int, Any]]:
        find = find_in(folder, "0.png", "gone.png", "2.png")
        return open_detector(workers).detect(IMAGES, find, range(3), **options)

    done = []
    with pytest.raises(LstError, match=r"gone\.png"):  # noqa: PT012
        for row, _ in detect():
            done.append(row)
    assert done == [0]
    skipped: list[tuple[int, str]] = []
    found = dict(detect(skip=lambda row, error: skipped.append((row, error.message))))
    images = {row: {one["image_id"] for one in here} for row, here in found.items()}
    assert images == {0: {31}, 1: set(), 2: {19}}
    assert skipped == [(1, f"no such image: {folder / 'gone.png'}")]


def test_some_of_the_images_have_the_detections_they_have_among_all(open_detector, folder):
    detector, find = open_detector(), find_in(folder)
    everything = dict(detector.detect(IMAGES, find, range(3)))
    assert list(detector.detect(IMAGES, find, [2, 0])) == [(2, everything[2]), (0, everything[0])]
    assert list(detector.detect(IMAGES, find, [])) == []


def test_masks_are_encoded_while_the_model_is_at_work(network, open_detector, folder, monkeypatch):
    # The first image's masks wait for the model to begin with the second one.
    began = threading.Event()
    detect = network.detect
    order: list[str] = []

    def detect_and_tell(batch: Any) -> Any:
        order.append("model")
        if len(order) > 1:
            began.set()
        return detect(batch)

    def wait_and_encode(*arguments: Any) -> Any:
        assert began.wait(30), "nothing goes on meanwhile"
        return encode_box_masks(*arguments)

    monkeypatch.setattr(network, "detect", detect_and_tell)
    monkeypatch.setattr("lst_cli.evaluate.detector.encode_box_masks", wait_and_encode)
    assert [row for row, _ in open_detector().detect(IMAGES, find_in(folder), [0, 1])] == [0, 1]
