from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, PolygonMasks
from PIL import Image
from pycocotools import mask as mask_api

from lst_cli.errors import LstError
from lst_cli.modeling.heads.roi_heads import IGNORED
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.paste import CutOut
from lst_cli.samples.phase_dataset import Sample
from lst_cli.settings.models import DataSettings

pytestmark = pytest.mark.engine

HEIGHT, WIDTH = 10, 20
BOX = [2.0, 1.0, 5.0, 4.0]  # x, y, width, height
RECTANGLE = [[2.0, 1.0, 7.0, 1.0, 7.0, 5.0, 2.0, 5.0]]
Make = Callable[..., Mapper]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def make(pixels: np.ndarray, tmp_path: Path) -> Make:
    """A mapper that finds one image and by default changes nothing about it."""
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)

    def make(
        channels: str = "RGB", seed: int = 0, others: int = IGNORED, **settings: Any
    ) -> Mapper:
        plain = {"min_size": (HEIGHT,), "max_size": 1000, "min_size_test": HEIGHT, "flip": 0.0}
        data = DataSettings(**{**plain, **settings})
        return Mapper(lambda row: path, data, channels=channels, seed=seed, others=others)

    return make


def sample(*segmentations: Any, position: int = 0, **changes: Any) -> Sample:
    count, texts = len(segmentations), [json.dumps(one).encode() for one in segmentations]
    boxes, counts = np.array([BOX] * count).reshape(-1, 4), np.ones(count, dtype=bool)
    plain = Sample(position, 0, HEIGHT, WIDTH, boxes, np.arange(count), counts, texts)
    return replace(plain, **changes)


def rectangle_mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[1:5, 2:7] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = mask_api.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed form, background first, column by column."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, flat.size]).tolist()}


def bitmaps(instances: Any) -> np.ndarray:
    masks = instances.gt_masks
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *instances.image_size)
    array: np.ndarray = masks.tensor.numpy()
    return array


def test_nothing_is_changed_where_nothing_is_asked(make, pixels):
    item = make()(sample(RECTANGLE, labels=np.array([4]), counts=np.array([False])))
    assert torch.equal(item["image"], torch.from_numpy(pixels).permute(2, 0, 1))
    assert item["image"].dtype == torch.uint8
    assert (item["height"], item["width"]) == (HEIGHT, WIDTH)
    instances = item["instances"]
    assert instances.image_size == (HEIGHT, WIDTH)
    assert instances.gt_boxes.tensor.tolist() == [[2, 1, 7, 5]]
    assert instances.gt_classes.tolist() == [-1]
    assert instances.gt_labels.tolist() == [4]
    np.testing.assert_array_equal(bitmaps(instances)[0], rectangle_mask())


def test_channels_are_in_the_order_the_network_wants(make, pixels):
    rgb, bgr = (make(channels)(sample())["image"].numpy() for channels in ("RGB", "BGR"))
    np.testing.assert_array_equal(rgb[0], pixels[:, :, 0])
    np.testing.assert_array_equal(bgr[0], pixels[:, :, 2])
    np.testing.assert_array_equal(bgr, rgb[::-1])


def test_a_flip_turns_all_pixels_and_the_points_of_polygons(make, pixels):
    item = make(flip=1.0)(sample([[0, 0, 3, 0, 3, 9]]))
    np.testing.assert_array_equal(item["image"].numpy(), pixels[:, ::-1].transpose(2, 0, 1))
    assert item["instances"].gt_masks.polygons[0][0].tolist() == [20, 0, 17, 0, 17, 9]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_and_masks_grow_with_the_image_and_flip_about_its_middle(make, flip):
    mask = rectangle_mask()
    item = make(min_size=(2 * HEIGHT,), flip=flip)(sample(RECTANGLE, compressed(mask)))
    assert item["image"].shape == (3, 20, 40)
    box = [26, 2, 36, 10] if flip else [4, 2, 14, 10]
    assert item["instances"].gt_boxes.tensor.tolist() == [box] * 2
    grown = mask.repeat(2, 0).repeat(2, 1)
    for bitmap in bitmaps(item["instances"]):
        np.testing.assert_array_equal(bitmap, grown[:, ::-1] if flip else grown)
    assert (item["height"], item["width"]) == (HEIGHT, WIDTH)  # the stored image's


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_a_thin_strip_keeps_a_pixel(make, tmp_path, size):
    height, width = size
    mapper = make(max_size_test=100)
    Image.new("RGB", (width, height)).save(tmp_path / "image.png")
    shape = mapper(sample(height=height, width=width), augment=False)["image"].shape
    assert sorted(shape) == [1, 3, 100]


def test_boxes_are_cut_at_the_image_and_the_longer_edge_is_limited(make):
    boxes = np.array([[-3.0, 8.0, 30.0, 5.0]])
    item = make(min_size=(20,), max_size=30)(sample(RECTANGLE, boxes=boxes))
    assert item["image"].shape == (3, 15, 30)
    assert item["instances"].gt_boxes.tensor.tolist() == [[0, 12, 30, 15]]


def test_all_forms_of_a_mask_come_out_the_same_without_a_warning(make):
    hole = rectangle_mask()
    hole[2:4, 4] = 0
    for form in (compressed(hole), run_lengths(hole)):
        np.testing.assert_array_equal(bitmaps(make()(sample(form))["instances"])[0], hole)
    mask = rectangle_mask()
    polygon, rle, runs = RECTANGLE, compressed(mask), run_lengths(mask)
    torch.set_warn_always(True)  # of arrays that must not be written to
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for chosen in ([polygon], [rle], [runs], [runs, polygon, rle]):
                instances = make()(sample(*chosen))["instances"]
                assert isinstance(instances.gt_masks, PolygonMasks) is (chosen == [polygon])
                assert len(instances.gt_masks) == len(chosen)
                for bitmap in bitmaps(instances):
                    np.testing.assert_array_equal(bitmap, mask)
    finally:
        torch.set_warn_always(False)


def test_scraps_of_polygons_mark_nothing(make):
    # As a box, which is what pycocotools would take it for, the scrap would cover all.
    scraps = [[0, 0, 20, 10], [1, 1], *RECTANGLE]
    for others in ([], [compressed(rectangle_mask())]):
        instances = make()(sample(scraps, *others))["instances"]
        np.testing.assert_array_equal(bitmaps(instances)[0], rectangle_mask())
    instances = make()(sample([[0, 0, 20, 10]], RECTANGLE))["instances"]
    boxes = instances.gt_boxes.tensor
    assert instances.gt_masks.crop_and_resize(boxes, 28).any(2).any(1).tolist() == [False, True]


def test_an_image_without_objects(make):
    instances = make(flip=1.0)(sample())["instances"]
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.dtype == torch.int64


def mapped(mapper: Mapper, position: int) -> tuple[int, bool]:
    item = mapper(sample(RECTANGLE, position=position))
    height = item["image"].shape[1]
    left = item["instances"].gt_boxes.tensor[0, 0].item() * HEIGHT / height
    return height, round(left) != 2


def test_size_and_flip_are_a_function_of_seed_and_position(make):
    options = {"min_size": (10, 12, 14), "flip": 0.5}
    mapper = make(**options)
    forwards = [mapped(mapper, position) for position in range(40)]
    backwards = [mapped(make(**options), position) for position in reversed(range(40))]
    assert forwards == backwards[::-1]
    assert {height for height, _ in forwards} == {10, 12, 14}
    assert 10 < sum(flipped for _, flipped in forwards) < 30
    assert forwards != [mapped(make(seed=1, **options), position) for position in range(40)]


def test_evaluation_takes_the_test_size_and_never_flips(make, pixels):
    mapper = make(min_size=(40,), min_size_test=HEIGHT, max_size_test=1000, flip=1.0)
    item = mapper(sample(RECTANGLE), augment=False)
    np.testing.assert_array_equal(item["image"].numpy(), pixels.transpose(2, 0, 1))
    small = make(min_size_test=HEIGHT, max_size_test=10)(sample(), augment=False)
    assert small["image"].shape == (3, 5, 10)


def test_an_image_of_another_size_and_a_broken_segmentation_are_errors(make):
    with pytest.raises(LstError, match=r"image\.png is 20 wide and 10 high"):
        make()(sample(height=11))
    with pytest.raises(LstError, match="neither polygons nor an RLE"):
        make()(sample("nonsense"))


def test_what_does_not_count_is_what_it_is_told_to_be(make):
    one = sample(
        *[RECTANGLE] * 3, labels=np.array([4, 2, -1]), counts=np.array([True, False, False])
    )
    # K = 5 stands for the background; an object of a later phase is none in any case.
    for others, expected in ((IGNORED, [4, -1, -1]), (5, [4, 5, -1])):
        instances = make(others=others)(one)["instances"]
        assert instances.gt_classes.tolist() == expected
        assert instances.gt_labels.tolist() == [4, 2, -1]
        assert instances.gt_classes.dtype == torch.int64


# --- pasted objects ------------------------------------------------------------------------------


@pytest.mark.parametrize("segmentation", [[RECTANGLE], []])
def test_pasted_objects_are_objects_of_their_class(make, pixels, segmentation):
    mask = np.ones((4, 6), dtype=bool)
    objects = (CutOut(5, np.full((4, 6, 3), (1, 2, 3), np.uint8), mask),) * 2
    pasted = sample(*segmentation, pasted=objects, counts=np.zeros(len(segmentation), dtype=bool))
    item = make(channels="BGR")(pasted)
    instances = item["instances"]
    assert isinstance(instances.gt_masks, BitMasks)
    own = instances.gt_labels == 5
    assert instances.gt_labels[own].tolist() == instances.gt_classes[own].tolist()
    assert own.sum() >= 1
    assert (instances.gt_classes[~own] == IGNORED).all()
    assert torch.equal(
        instances.gt_boxes.tensor[own], instances[own].gt_masks.get_bounding_boxes().tensor
    )
    middle = instances.gt_boxes.get_centers()[own][-1].long().tolist()
    assert item["image"][:, middle[1], middle[0]].tolist() == [3, 2, 1]
    assert item["view"] is None
    again = make(channels="BGR")(pasted)
    assert torch.equal(item["image"], again["image"])


def test_what_nothing_covers_keeps_its_annotated_box(make):
    dot = CutOut(5, np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), dtype=bool))
    boxes = np.array([[2.5, 1.5, 4.0, 3.0]])
    for position in range(5):
        item = make()(sample(RECTANGLE, pasted=(dot,), boxes=boxes, position=position))
        if item["instances"].gt_masks.tensor[0].sum() == 20:
            assert item["instances"].gt_boxes.tensor[0].tolist() == [2.5, 1.5, 6.5, 4.5]
            return
    pytest.fail("the dot always covers the rectangle")


def test_views_tell_images_sizes_and_flips_apart(make):
    views = {make(flip=flip)(sample(RECTANGLE))["view"] for flip in (0.0, 1.0)}
    assert views == {(0, HEIGHT, WIDTH, False), (0, HEIGHT, WIDTH, True)}


# --- scale and colour ----------------------------------------------------------------------------


@pytest.mark.parametrize("segmentation", [[RECTANGLE], [], [run_lengths(rectangle_mask())]])
def test_what_becomes_larger_is_cropped_with_its_boxes_and_masks(make, pixels, segmentation):
    mapper, seen = make(scale_jitter=(3.0, 3.0)), set()
    for position in range(30):
        item = mapper(sample(*segmentation, position=position))
        assert item["image"].shape == (3, HEIGHT, WIDTH)
        assert item["view"] is None
        instances = item["instances"]
        seen.add(len(instances))
        if len(instances):
            [mask], [box] = bitmaps(instances), instances.gt_boxes.tensor.tolist()
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert [columns[0], rows[0]] == pytest.approx(box[:2], abs=1)
            assert [columns[-1] + 1, rows[-1] + 1] == pytest.approx(box[2:], abs=1)
    # An object out of sight is none.
    assert seen == ({0, 1} if segmentation else {0})


@pytest.mark.parametrize("form", [RECTANGLE, run_lengths(rectangle_mask())])
def test_a_cropped_object_has_the_box_of_what_is_left_and_is_none_if_little_is(make, form):
    # Drawn twice as large it has 10 x 8 = 80 pixels, of which 15 % are to be left.
    mapper, cut, whole, gone = make(scale_jitter=(2.0, 2.0)), 0, 0, 0
    loose = np.array([[1.8, 0.8, 5.4, 4.4]])  # an annotated box wider than the mask
    for position in range(200):
        instances = mapper(sample(form, boxes=loose, position=position))["instances"]
        areas = bitmaps(instances).sum((1, 2)) if len(instances) else []
        gone += len(instances) == 0
        for area, box in zip(areas, instances.gt_boxes.tensor.tolist(), strict=True):
            assert area >= 12
            tight = instances.gt_masks.get_bounding_boxes().tensor[0].tolist()
            assert (box == tight) is bool(area < 80)
            cut, whole = cut + (area < 80), whole + (area == 80)
    assert min(cut, whole, gone) > 5


def test_what_becomes_smaller_stays_whole(make):
    item = make(scale_jitter=(0.5, 0.5))(sample(RECTANGLE))
    assert item["image"].shape == (3, HEIGHT // 2, WIDTH // 2)
    assert item["instances"].gt_boxes.tensor.tolist() == [[1.0, 0.5, 3.5, 2.5]]
    assert isinstance(item["instances"].gt_masks, PolygonMasks)


def test_scale_and_colour_change_by_position_in_training_alone(make, pixels):
    mapper = make(scale_jitter=(0.5, 2.0), color_jitter=0.5)
    one, again, other = (mapper(sample(RECTANGLE, position=place)) for place in (1, 1, 2))
    assert torch.equal(one["image"], again["image"])
    assert one["image"].shape != other["image"].shape or (one["image"] != other["image"]).any()
    colours = make(color_jitter=0.5)(sample(RECTANGLE))
    assert (colours["image"].numpy() != pixels.transpose(2, 0, 1)).mean() > 0.5
    assert colours["view"] is None
    still = mapper(sample(RECTANGLE), augment=False)
    assert (still["image"].numpy() == pixels.transpose(2, 0, 1)).all()
    assert still["view"] is not None


def test_objects_are_pasted_into_what_is_left_of_the_image(make):
    dot = CutOut(5, np.full((2, 2, 3), 255, np.uint8), np.ones((2, 2), bool))
    item = make(scale_jitter=(3.0, 3.0))(sample(RECTANGLE, pasted=(dot,)))
    assert item["instances"].gt_classes.tolist()[-1] == 5
    assert bitmaps(item["instances"]).shape[1:] == (HEIGHT, WIDTH)
