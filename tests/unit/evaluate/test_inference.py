from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from lst_cli.annotations.read import Images
from lst_cli.errors import LstError
from lst_cli.evaluate import inference as predicting
from lst_cli.evaluate.box_masks import encode_box_masks
from lst_cli.evaluate.inference import Detection, predict_rows
from lst_cli.modeling.build import build_model
from lst_cli.samples.mapper import Mapper
from lst_cli.settings.load import build_settings

pytestmark = pytest.mark.engine

SIZES = [(48, 80), (64, 40), (50, 50)]  # height, width
IMAGE_IDS = [31, 7, 19]
CATEGORY_IDS = np.array([900, 3, 77])  # by label
SETTINGS = build_settings(
    {
        "preset": "lite",
        "model": {"mask_mlp_hidden": 8},
        "data": {"min_size_test": 64, "max_size_test": 96},
        "eval": {"detections": 20},
        "detectron2": {
            "MODEL.FPN.OUT_CHANNELS": 16,
            "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
            "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
            "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
            "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [24], [48]],
        },
    }
)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    network = build_model(SETTINGS, len(CATEGORY_IDS))
    network.backbone.bottom_up.load_imagenet()
    with torch.no_grad():  # as if trained: boxes move, and classes differ
        network.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.2)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for row, size in enumerate(SIZES):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BOX).save(path / f"{row}.png")
    return path


@pytest.fixture
def images() -> Images:
    count = len(SIZES)
    return Images(
        ids=np.array(IMAGE_IDS),
        heights=np.array([height for height, _ in SIZES], dtype=np.int32),
        widths=np.array([width for _, width in SIZES], dtype=np.int32),
        file_names=[f"{row}.png" for row in range(count)],
        coco_urls=[""] * count,
        neg_category_ids=[()] * count,
        not_exhaustive_category_ids=[()] * count,
    )


@pytest.fixture
def mapper(folder: Path) -> Mapper:
    return Mapper(lambda row: folder / f"{row}.png", SETTINGS.data, channels="RGB", seed=0)


@torch.no_grad()
def inference(model: Any, path: Path) -> Any:
    """detectron2's own answer for an image, read and resized by hand."""
    picture = Image.open(path)
    width, height = picture.size
    scale = min(64 / min(width, height), 96 / max(width, height))
    resized = picture.resize(
        (int(width * scale + 0.5), int(height * scale + 0.5)), Image.Resampling.BILINEAR
    )
    image = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    model.eval()
    [result] = model([{"image": image, "height": height, "width": width}])
    return result["instances"]


def predict(model: Any, images: Images, mapper: Mapper, workers: int = 0) -> Iterator[Detection]:
    """Detections in all images, one after another."""
    rows = range(len(images.ids))
    for _, found in predict_rows(model, images, mapper, CATEGORY_IDS, rows, workers=workers):
        yield from found


@pytest.mark.parametrize("workers", [0, 1])
def test_detections_are_detectron2s_in_lvis_format(
    workers: int, model: Any, images: Images, mapper: Mapper, folder: Path
) -> None:
    found = list(predict(model, images, mapper, workers))
    assert list(dict.fromkeys(detection.image_id for detection in found)) == IMAGE_IDS
    labels = set()
    for row, (image_id, size) in enumerate(zip(IMAGE_IDS, SIZES, strict=True)):
        expected = inference(model, folder / f"{row}.png")
        here = [detection for detection in found if detection.image_id == image_id]
        assert len(here) == len(expected)
        assert 0 < len(here) <= 20
        scores = [detection.score for detection in here]
        np.testing.assert_allclose(scores, expected.scores.numpy(), atol=1e-6)
        assert scores == sorted(scores, reverse=True)
        assert [d.category_id for d in here] == CATEGORY_IDS[expected.pred_classes].tolist()
        labels.update(expected.pred_classes.tolist())
        x0, y0, x1, y1 = expected.pred_boxes.tensor.numpy().T
        np.testing.assert_allclose(
            np.array([d.box for d in here]), np.stack([x0, y0, x1 - x0, y1 - y0], 1), atol=1e-3
        )
        for detection, mask in zip(here, expected.pred_masks.numpy(), strict=True):
            assert detection.rle["size"] == list(size)
            np.testing.assert_array_equal(mask_api.decode(detection.rle), mask)
        assert expected.pred_masks.any()
    assert len(labels) > 1


def test_boxes_lie_in_the_stored_image(model: Any, images: Images, mapper: Mapper) -> None:
    sizes = dict(zip(IMAGE_IDS, SIZES, strict=True))
    for detection in predict(model, images, mapper):
        x, y, width, height = detection.box
        assert min(x, y) >= 0
        assert min(width, height) > 0
        assert x + width <= sizes[detection.image_id][1] + 1e-3
        assert y + height <= sizes[detection.image_id][0] + 1e-3


def test_a_detection_is_what_results_files_hold() -> None:
    detection = Detection(4, 9, (1.0, 2.0, 3.0, 4.0), 0.5, {"size": [2, 2], "counts": "04"})
    assert detection.as_dict() == {
        "image_id": 4,
        "category_id": 9,
        "bbox": [1.0, 2.0, 3.0, 4.0],
        "score": 0.5,
        "segmentation": {"size": [2, 2], "counts": "04"},
    }


def test_results_are_of_jsons_own_types(model: Any, images: Images, mapper: Mapper) -> None:
    first = next(predict(model, images, mapper)).as_dict()
    assert type(first["image_id"]) is type(first["category_id"]) is int
    assert {type(number) for number in (*first["bbox"], first["score"])} == {float}
    assert type(first["segmentation"]["counts"]) is str
    assert [type(side) for side in first["segmentation"]["size"]] == [int, int]


def test_images_without_detections_still_count_as_done(
    model: Any, images: Images, mapper: Mapper
) -> None:
    predictor = model.roi_heads.box_predictor
    before = predictor.test_score_thresh
    predictor.test_score_thresh = 1.1
    try:
        found = list(predict_rows(model, images, mapper, CATEGORY_IDS, range(3)))
    finally:
        predictor.test_score_thresh = before
    assert found == [(0, []), (1, []), (2, [])]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(
    training: bool, model: Any, images: Images, mapper: Mapper
) -> None:
    model.train(training)
    list(predict(model, images, mapper))
    assert model.training is training


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_used_is_named(
    workers: int, model: Any, images: Images, folder: Path
) -> None:
    lost = Mapper(lambda row: folder / f"{row + 2}.png", SETTINGS.data, channels="RGB", seed=0)
    with pytest.raises(LstError, match=r"2\.png|3\.png"):
        list(predict(model, images, lost, workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_used_is_passed_over_where_that_is_asked(
    workers: int, model: Any, images: Images, folder: Path
) -> None:
    files = {0: "0.png", 1: "gone.png", 2: "2.png"}
    mapper = Mapper(lambda row: folder / files[row], SETTINGS.data, channels="RGB", seed=0)
    skipped: list[tuple[int, str]] = []
    found = dict(
        predict_rows(
            model, images, mapper, CATEGORY_IDS, range(3), workers=workers,
            skip=lambda row, error: skipped.append((row, error.message)),
        )
    )  # fmt: skip
    assert {row: {one.image_id for one in here} for row, here in found.items()} == {
        0: {31}, 1: set(), 2: {19}
    }  # fmt: skip
    assert skipped == [(1, f"no such image: {folder / 'gone.png'}")]


@pytest.mark.parametrize("workers", [0, 1])
def test_some_of_the_images_have_the_detections_they_have_among_all(
    workers: int, model: Any, images: Images, mapper: Mapper
) -> None:
    everything = list(predict(model, images, mapper))
    found = dict(predict_rows(model, images, mapper, CATEGORY_IDS, [2, 0], workers=workers))
    assert list(found) == [2, 0]
    for row, one in found.items():
        assert one == [d for d in everything if d.image_id == IMAGE_IDS[row]]
    assert list(predict_rows(model, images, mapper, CATEGORY_IDS, [])) == []


def test_images_before_one_that_cannot_be_used_are_not_lost(
    model: Any, images: Images, folder: Path
) -> None:
    files = {0: "0.png", 1: "1.png", 2: "gone.png"}
    mapper = Mapper(lambda row: folder / files[row], SETTINGS.data, channels="RGB", seed=0)
    done = []
    with pytest.raises(LstError, match=r"gone\.png"):  # noqa: PT012
        for row, _ in predict_rows(model, images, mapper, CATEGORY_IDS, [0, 1, 2]):
            done.append(row)
    assert done == [0, 1]


def test_masks_are_encoded_while_the_model_is_at_work(
    model: Any, images: Images, mapper: Mapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first image's masks wait for the model to begin with the second one.
    began = threading.Event()
    detect, encode = model.detect, encode_box_masks
    order: list[str] = []

    def detect_and_tell(batch: Any) -> Any:
        order.append("model")
        if len(order) > 1:
            began.set()
        return detect(batch)

    def wait_and_encode(*arguments: Any) -> Any:
        assert began.wait(30), "nothing goes on meanwhile"
        return encode(*arguments)

    monkeypatch.setattr(model, "detect", detect_and_tell)
    monkeypatch.setattr(predicting, "encode_box_masks", wait_and_encode)
    assert [row for row, _ in predict_rows(model, images, mapper, CATEGORY_IDS, [0, 1])] == [0, 1]
