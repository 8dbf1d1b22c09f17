"""From an image to results, ours and detectron2's side by side: `make bench` prints CPU time.

Both ways do the same work in turn, so that a machine whose speed drifts is fair to both; medians
are printed. One thread each.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.bench

REGIONS, CLASSES, DETECTIONS = 1000, 1230, 300
HEIGHT, WIDTH = 800, 1333  # what the network sees
RUNS, IMAGES = 5, 2


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)


def side_by_side(runs: int, *ways: Callable[[], Any]) -> list[float]:
    """Median CPU seconds of each way."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(runs):
        for way, own in zip(ways, times, strict=True):
            began = time.process_time()
            way()
            own.append(time.process_time() - began)
    return [statistics.median(own) for own in times]


def test_detections_are_chosen_20_times_faster_than_by_detectron2():
    import torch
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
    from detectron2.structures import Boxes, Instances

    from lst_cli.modeling.detecting import DetectingOutputLayers

    torch.manual_seed(0)
    layers = DetectingOutputLayers(
        ShapeSpec(channels=1),
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        num_classes=CLASSES,
        test_score_thresh=0.0,
        test_nms_thresh=0.5,
        test_topk_per_image=DETECTIONS,
    )
    # Regions in heaps around 30 objects, as a trained network proposes them.
    objects = torch.randint(0, 30, (REGIONS,))
    sides = (torch.rand(30, 2) * 200 + 20)[objects] * (torch.randn(REGIONS, 2) / 5).exp()
    centres = (torch.rand(30, 2) * torch.tensor([float(WIDTH), float(HEIGHT)]))[objects]
    centres = centres + torch.randn(REGIONS, 2) * sides / 5
    regions = Instances((HEIGHT, WIDTH))
    regions.proposal_boxes = Boxes(torch.cat([centres - sides / 2, centres + sides / 2], dim=1))
    logits = torch.randn(REGIONS, CLASSES + 1) + 2 * torch.randn(30, CLASSES + 1)[objects]
    logits[:, -1] += 9  # most of it is background
    predictions = logits, torch.randn(REGIONS, 4 * CLASSES) * 0.3

    ways = (
        lambda: layers.inference(predictions, [regions]),
        lambda: FastRCNNOutputLayers.inference(layers, predictions, [regions]),
    )
    ([ours], _), ([theirs], _) = (way() for way in ways)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.pred_classes, theirs.pred_classes)
    first, second = side_by_side(RUNS, *ways)
    print(
        f"\nchoosing {DETECTIONS} detections of {REGIONS:,} x {CLASSES:,} candidates: "
        f"{1000 * first:.0f} ms, detectron2 {1000 * second:,.0f} ms, {second / first:.0f} times"
    )
    assert second >= 20 * first


@pytest.mark.parametrize(("height", "width"), [(480, 640), (800, 1200)])
def test_masks_are_encoded_3_times_faster_than_by_detectron2(height, width):
    import torch
    from detectron2.layers import paste_masks_in_image
    from pycocotools import mask as mask_api

    from lst_cli.evaluate.detector import encode_box_masks

    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:28, :28] / 27 - 0.5
    bends = rng.uniform(0.5, 2, (2, DETECTIONS, 1, 1))
    hills = rng.uniform(0.1, 0.25, (DETECTIONS, 1, 1)) - bends[0] * xs**2 - bends[1] * ys**2
    logits = 40 * hills + 0.3 * rng.normal(size=hills.shape)
    masks = (1 / (1 + np.exp(-logits))).astype(np.float32)
    size = np.array([width, height])
    sides = np.exp(rng.uniform(np.log(12), np.log(0.9 * height), (DETECTIONS, 2)))
    corners = rng.random((DETECTIONS, 2)) * size - sides / 2
    boxes = np.concatenate([corners.clip(0), (corners + sides).clip(max=size)], axis=1)
    boxes = boxes.astype(np.float32)

    def paste() -> list[Any]:
        full = paste_masks_in_image(
            torch.from_numpy(masks), torch.from_numpy(boxes), (height, width)
        )
        pixels = full.numpy().astype(np.uint8).transpose(1, 2, 0)
        return list(mask_api.encode(np.asfortranarray(pixels)))

    ours = encode_box_masks(masks, boxes, height, width)
    assert [one["counts"] for one in ours] == [one["counts"].decode() for one in paste()]
    first, second = side_by_side(RUNS, lambda: encode_box_masks(masks, boxes, height, width), paste)
    print(
        f"\nencoding {DETECTIONS} masks of {height}x{width}: {1000 * first:.0f} ms, "
        f"detectron2 {1000 * second:.0f} ms, {second / first:.1f} times"
    )
    assert second >= 3 * first


def test_whole_images_take_a_quarter_longer_at_most_than_with_80_classes():
    import torch
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model as build_detectron2
    from pycocotools import mask as mask_api

    from lst_cli.evaluate.detector import encode_box_masks
    from lst_cli.modeling.build import build_model
    from lst_cli.modeling.zoo_files import configs
    from lst_cli.settings.load import build_settings

    torch.manual_seed(0)
    ours = build_model(build_settings({"preset": "paper-r50"}), CLASSES).eval()
    for name, layer in ours.backbone.named_modules():
        if name.endswith("conv3.norm"):
            layer.weight.mul_(0.2)  # random weights would explode
    ours.roi_heads.box_predictor.cls_score.scale.fill_(60.0)  # as if it knew some classes

    def build_theirs(detections: int) -> Any:
        cfg = get_cfg()
        cfg.merge_from_file(f"{configs()}/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.05
        cfg.TEST.DETECTIONS_PER_IMAGE = detections
        model = build_detectron2(cfg).eval()
        model.backbone, model.proposal_generator = ours.backbone, ours.proposal_generator
        # Confident, so that as many detections remain as are allowed.
        model.roi_heads.box_predictor.cls_score.weight.normal_(std=3.0)
        return model

    def theirs(model: Any, item: dict[str, Any]) -> int:
        [result] = model([item])
        masks = result["instances"].pred_masks.numpy().astype(np.uint8)
        return len(mask_api.encode(np.asfortranarray(masks.transpose(1, 2, 0))))

    def lst(item: dict[str, Any]) -> int:
        [found] = ours.detect([item])
        boxes = found.pred_boxes.tensor.numpy()
        return len(encode_box_masks(found.box_masks.numpy(), boxes, *found.image_size))

    coarse = torch.rand(IMAGES, 3, 25, 42) * 255
    pixels = torch.nn.functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bilinear")
    items = [{"image": one, "height": 480, "width": 640} for one in pixels]
    hundred, many = build_theirs(100), build_theirs(DETECTIONS)
    for item in items:
        assert lst(item) == theirs(many, item) == DETECTIONS
        assert theirs(hundred, item) == 100
    ways = (lst, partial(theirs, hundred), partial(theirs, many))
    rows = [side_by_side(RUNS, *(partial(way, item) for way in ways)) for item in items]
    first, second, third = (statistics.mean(column) for column in zip(*rows, strict=True))
    print(
        f"\na whole image of {HEIGHT}x{WIDTH}: {first:.1f} s; Mask R-CNN of 80 classes above 0.05 "
        f"with 100 detections {second:.1f} s, {first / second:.2f} times; "
        f"with {DETECTIONS} detections {third:.1f} s, {first / third:.2f} times"
    )
    assert first <= 1.25 * third
