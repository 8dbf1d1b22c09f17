from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.annotations.problems import Problem
from lst_cli.check.boxes import check_box_layout, check_boxes_of_masks

Array = Any
SIZES = np.array([[640, 480], [480, 640], [640, 427], [500, 375]], dtype=np.float64)


def drawn(count: int = 60) -> tuple[Array, Array, Array, Array]:
    """Boxes, extents, sizes and images of objects that agree."""
    random = np.random.default_rng(0)
    images = np.arange(count) // 3
    sizes = SIZES[images % 4]
    corners = np.sort(random.random((count, 2, 2)) * 0.85, axis=1)
    extents = np.concatenate((corners[:, 0], corners[:, 1] + 0.1), axis=1)
    extents = (extents * np.tile(sizes, 2)).round(2)
    boxes = np.concatenate((extents[:, :2], extents[:, 2:] - extents[:, :2]), axis=1)
    return boxes, extents, sizes, images


def all_right(boxes: Array, extents: Array, sizes: Array, images: Array) -> bool:
    return check_boxes_of_masks(boxes, extents, sizes, images, str) == []


def compare(boxes: Array, extents: Array, sizes: Array, images: Array) -> Problem:
    """The problem of boxes beside their masks."""
    (problem,) = check_boxes_of_masks(boxes, extents, sizes, images, lambda row: f"box {row}")
    return problem


def alone(boxes: Array, sizes: Array, **more: Any) -> Problem:
    """The problem of boxes by themselves."""
    (problem,) = check_box_layout(boxes, sizes, str, **more)
    return problem


# x, y, width and height of a box; p and q of its image.
BOXES: dict[str, Callable[..., Any]] = {
    "boxes in shares of the image (0 to 1)": lambda x, y, w, h, p, q: (x / p, y / q, w / p, h / q),
    "boxes as corners (left, top, right, bottom)": lambda x, y, w, h, *_: (x, y, x + w, y + h),
    "boxes with the centre first": lambda x, y, w, h, *_: (x + w / 2, y + h / 2, w, h),
    "boxes with rows first": lambda x, y, w, h, *_: (y, x, h, w),
    "boxes as corners, rows first": lambda x, y, w, h, *_: (y, x, y + h, x + w),
    "boxes with the centre first, rows": lambda x, y, w, h, *_: (y + h / 2, x + w / 2, h, w),
    "boxes as left, right, top, bottom": lambda x, y, w, h, *_: (x, x + w, y, y + h),
    "boxes with width and height exchanged": lambda x, y, w, h, *_: (x, y, h, w),
    "boxes in shares of the image (0 to 1), as corners (": (
        lambda x, y, w, h, p, q: (x / p, y / q, (x + w) / p, (y + h) / q)
    ),
    "boxes in shares of the image (0 to 1), with the centre first (": (
        lambda x, y, w, h, p, q: ((x + w / 2) / p, (y + h / 2) / q, w / p, h / q)
    ),
    "boxes in shares of the image (0 to 1), as corners, rows": (
        lambda x, y, w, h, p, q: (y / q, x / p, (y + h) / q, (x + w) / p)
    ),
    "boxes in percent of the image": (
        lambda x, y, w, h, p, q: (100 * x / p, 100 * y / q, 100 * w / p, 100 * h / q)
    ),
    "boxes in thousandths of the image, as corners, rows first": lambda x, y, w, h, p, q: tuple(
        np.round([1000 * y / q, 1000 * x / p, 1000 * (y + h) / q, 1000 * (x + w) / p])
    ),
    "boxes (or masks) of images of another size, by 0.5": (
        lambda x, y, w, h, *_: (x / 2, y / 2, w / 2, h / 2)
    ),
    "boxes of images of another size, by 2": lambda x, y, w, h, *_: (2 * x, 2 * y, 2 * w, 2 * h),
    "of images of another size, by numbers that differ": (
        lambda x, y, w, h, p, q: (x * 600 / p, y * 600 / q, w * 600 / p, h * 600 / q)
    ),
    "moved by 20 across and -7 down, in pixels": lambda x, y, w, h, *_: (x + 20, y - 7, w, h),
    "boxes (or masks) measured from the bottom": lambda x, y, w, h, p, q: (x, q - y - h, w, h),
    "boxes (or masks) of mirrored images": lambda x, y, w, h, p, q: (p - x - w, y, w, h),
    "boxes (or masks) of images turned by 180": (
        lambda x, y, w, h, p, q: (p - x - w, q - y - h, w, h)
    ),
    "boxes (or masks) of images turned by 90 degrees": (
        lambda x, y, w, h, p, q: (y * p / q, q - (x + w) * q / p, h * p / q, w * q / p)
    ),
}


@pytest.mark.parametrize("look", BOXES)
@pytest.mark.parametrize("count", [4, 60])
def test_boxes_of_another_meaning_are_an_error_that_names_it(look, count):
    boxes, extents, sizes, images = drawn(count)
    wrong = np.stack(BOXES[look](*boxes.T, *sizes.T), axis=1)
    problem = compare(wrong, extents, sizes, images)
    assert (problem.severity, problem.kind) == ("error", "box-not-of-mask")
    assert look in problem.message
    assert problem.count >= 0.9 * count


MASKS: dict[str, Callable[..., Array]] = {
    "masks in shares of the image": lambda ends, whole: ends / whole,
    "masks in percent of the image": lambda ends, whole: 100 * ends / whole,
    "masks with rows first": lambda ends, whole: ends[:, [1, 0, 3, 2]],
    "masks in shares of the image, with rows first": (
        lambda ends, whole: (ends / whole)[:, [1, 0, 3, 2]]
    ),
    "masks of images of another size, by 0.5": lambda ends, whole: 2 * ends,
}


@pytest.mark.parametrize("look", MASKS)
def test_masks_of_another_meaning_beside_right_boxes_are_named(look):
    boxes, extents, sizes, images = drawn()
    problem = compare(boxes, MASKS[look](extents, np.tile(sizes, 2)), sizes, images)
    assert problem.severity == "error"
    assert problem.message.endswith(f"look like {look}")


def test_a_few_wrong_boxes_are_a_warning_with_examples():
    boxes, extents, sizes, images = drawn()
    boxes[7] += (40, 0, 0, 90)
    problem = compare(boxes, extents, sizes, images)
    assert (problem.severity, problem.count) == ("warning", 1)
    assert problem.examples[0].startswith("box 7, its mask: [")
    assert problem.message == "1 of 60 boxes differs from the extent of its mask"


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_odd_boxes_get_no_guess(count):
    boxes, extents, sizes, images = drawn()
    boxes[:count, 2:] += boxes[:count, :2]
    problem = compare(boxes, extents, sizes, images)
    few = compare(boxes[:count], extents[:count], sizes[:count], images[:count])
    for one in (problem, few):
        assert "like" not in one.message
        assert "recognised" not in one.message


@pytest.mark.parametrize(
    "grow",
    [
        lambda box, size: np.add(box, (-8, -8, 16, 16)),
        lambda box, size: np.add(box, (-4, -20, 8, 40)),
        lambda box, size: box * (1, 1, 1.5, 1.5) - np.concatenate((box[2:] / 4, (0, 0))),
        lambda box, size: _cut(np.add(box, (-30, -30, 60, 60)), size),
    ],
)
def test_boxes_with_a_margin_are_a_warning_that_says_so(grow):
    boxes, extents, sizes, images = drawn()
    wide = np.stack([grow(box, size) for box, size in zip(boxes, sizes, strict=True)])
    problem = compare(wide, extents, sizes, images)
    assert problem.severity == "warning"
    assert "like boxes larger than the mask on every side" in problem.message


def _cut(box: Array, size: Array) -> Array:
    """A box as far as it lies in its image."""
    low = np.maximum(box[:2], 0)
    return np.concatenate((low, np.minimum(box[:2] + box[2:], size) - low))


def test_boxes_of_whole_images_are_no_margin():
    boxes, extents, sizes, images = drawn()
    boxes[:, :2], boxes[:, 2:] = 0, sizes
    problem = compare(boxes, extents, sizes, images)
    assert problem.severity == "error"


def test_a_few_corners_among_many_right_boxes_are_named_too():
    boxes, extents, sizes, images = drawn()
    boxes[:9, 2:] += boxes[:9, :2]
    problem = compare(boxes, extents, sizes, images)
    assert problem.severity == "warning"
    assert "like boxes as corners" in problem.message


def test_two_meanings_in_one_file_are_both_named():
    boxes, extents, sizes, images = drawn()
    boxes[:30, 2:] += boxes[:30, :2]
    boxes[30:] /= np.tile(sizes[30:], 2)
    problem = compare(boxes, extents, sizes, images)
    assert problem.severity == "error"
    assert "boxes in shares of the image" in problem.message
    assert "boxes as corners" in problem.message


def test_boxes_that_belong_to_other_masks_are_an_error_without_a_name():
    boxes, *others = drawn()
    problem = compare(np.roll(boxes, 5, axis=0), *others)
    assert problem.severity == "error"
    assert problem.message.endswith("in no way that is recognised")


@pytest.mark.parametrize("step", [1, -1])
def test_boxes_that_count_pixels_from_one_are_a_warning(step):
    boxes, extents, sizes, images = drawn()
    boxes[:, :2] += step
    problem = compare(boxes, extents, sizes, images)
    assert (problem.severity, problem.kind) == ("warning", "box-one-pixel-off")


@pytest.mark.parametrize(
    "change",
    [
        lambda boxes: boxes.round(),
        lambda boxes: np.concatenate((np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])), axis=1),
        lambda boxes: np.add(boxes, (0, 0, 1, 1)),
        lambda boxes: boxes - (1, 1, -2, -2),
        lambda boxes: boxes * (1, 1, 1.01, 1.01),
    ],
)
def test_rounding_of_any_kind_is_no_problem(change):
    boxes, extents, sizes, images = drawn()
    assert all_right(change(boxes), extents, sizes, images)


def test_a_box_cut_off_at_the_image_is_that_of_a_mask_that_goes_on():
    boxes, extents, sizes, images = drawn()
    extents[3] = (-30, 5, 700, 90)
    boxes[3] = (0, 5, sizes[3, 0], 85)
    assert all_right(boxes, extents, sizes, images)


def test_what_is_not_known_is_passed_over():
    boxes, extents, sizes, images = drawn()
    extents[2:], boxes[0] = np.nan, np.nan
    assert all_right(boxes, extents, sizes, images)
    assert all_right(boxes[:0], extents[:0], sizes[:0], images[:0])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_boxes_computed_from_their_masks_never_raise_anything(data):
    count = data.draw(st.integers(1, 30))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = np.tile(random.integers(4, 2000, 2), (count, 1)).astype(np.float64)
    corners = np.sort(random.random((count, 2, 2)), axis=1)
    extents = corners.reshape(count, 4) * np.tile(sizes, 2)
    if data.draw(st.booleans()):  # pixels
        extents[:, :2], extents[:, 2:] = np.floor(extents[:, :2]), np.floor(extents[:, 2:]) + 1
    boxes = np.concatenate((extents[:, :2], extents[:, 2:] - extents[:, :2]), axis=1)
    boxes = boxes.round(data.draw(st.integers(0, 3)))
    assert all_right(boxes, extents, sizes, random.integers(0, 5, count))
    large = (boxes[:, 2:] > 2).all(axis=1)
    assert check_box_layout(boxes[large], sizes[large], str) == []


@pytest.mark.parametrize("look", list(BOXES)[1:8])
def test_boxes_alone_that_reach_out_of_their_images_are_named(look):
    boxes, _, sizes, _ = drawn()
    problem = alone(np.stack(BOXES[look](*boxes.T, *sizes.T), axis=1), sizes)
    assert (problem.severity, problem.kind) == ("error", "box-layout")
    assert f"none would if they were {look}" in problem.message


@pytest.mark.parametrize("look", [look for look in BOXES if "shares" in look])
def test_boxes_alone_in_shares_of_the_image_are_named(look):
    boxes, _, sizes, _ = drawn(3)
    problem = alone(np.stack(BOXES[look](*boxes.T, *sizes.T), axis=1), sizes, what="detections")
    assert problem.severity == "error"
    assert problem.message == (
        "3 of 3 detections hold no number above 1: they look like shares of the image"
    )


def test_images_whose_width_and_height_are_exchanged_are_named_where_masks_agree():
    boxes, _, sizes, _ = drawn()
    problem = alone(boxes, sizes[:, ::-1], readings=())
    assert problem.severity == "error"
    assert "if width and height of the images were exchanged" in problem.message


def test_boxes_of_larger_images_are_a_warning():
    boxes, _, sizes, _ = drawn()
    problem = alone(boxes * 2, sizes)
    assert problem.severity == "warning"
    assert problem.message.endswith("of 60 boxes reach out of their images")


def test_boxes_without_area_and_a_few_that_reach_out_raise_nothing():
    boxes, _, sizes, _ = drawn()
    boxes[:40] = 0
    boxes[40:42, 0] += 300
    assert check_box_layout(boxes, sizes, str) == []
