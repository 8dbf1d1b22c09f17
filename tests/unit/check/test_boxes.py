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
IMAGE_SIZES = np.array([[640, 480], [480, 640], [640, 427], [500, 375]], dtype=np.float64)


def drawn(count: int = 60) -> tuple[Array, Array, Array, Array]:
    """Boxes, extents, sizes and images of objects that agree."""
    random = np.random.default_rng(0)
    images = np.arange(count) // 3
    sizes = IMAGE_SIZES[images % 4]
    corners = np.sort(random.random((count, 2, 2)) * 0.85, axis=1)
    extents = np.concatenate((corners[:, 0], corners[:, 1] + 0.1), axis=1)
    extents = (extents * np.tile(sizes, 2)).round(2)
    boxes = np.concatenate((extents[:, :2], extents[:, 2:] - extents[:, :2]), axis=1)
    return boxes, extents, sizes, images


BOXES, EXTENTS, SIZES, IMAGES = drawn()


def compare(boxes: Array, extents: Array = EXTENTS) -> list[Problem]:
    """The problems of boxes beside the drawn masks, or others."""
    n = len(boxes)
    return check_boxes_of_masks(boxes, extents[:n], SIZES[:n], IMAGES[:n], lambda row: f"box {row}")


def corners(boxes: Array) -> Array:
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)


def moved(*by: float, rows: slice = slice(None)) -> Array:
    boxes = BOXES.copy()
    boxes[rows] += by
    return boxes


def first(count: int, these: Array, others: Array) -> Array:
    """So many of these, and the rest of others."""
    return np.concatenate((these[:count], others[count:]))


# x, y, width and height of a box; p and q of its image.
MEANINGS: dict[str, Callable[..., Any]] = {
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


@pytest.mark.parametrize("look", MEANINGS)
@pytest.mark.parametrize("count", [4, 60])
def test_boxes_of_another_meaning_are_an_error_that_names_it(look, count):
    (problem,) = compare(np.stack(MEANINGS[look](*BOXES.T, *SIZES.T), axis=1)[:count])
    assert (problem.severity, problem.kind) == ("error", "box-not-of-mask")
    assert look in problem.message
    assert problem.count >= 0.9 * count


SIDES = np.tile(SIZES, 2)


@pytest.mark.parametrize(
    ("look", "extents"),
    [
        ("masks in shares of the image", EXTENTS / SIDES),
        ("masks in percent of the image", 100 * EXTENTS / SIDES),
        ("masks with rows first", EXTENTS[:, [1, 0, 3, 2]]),
        ("masks in shares of the image, with rows first", (EXTENTS / SIDES)[:, [1, 0, 3, 2]]),
        ("masks of images of another size, by 0.5", 2 * EXTENTS),
    ],
)
def test_masks_of_another_meaning_beside_right_boxes_are_named(look, extents):
    (problem,) = compare(BOXES, extents)
    assert problem.severity == "error"
    assert problem.message.endswith(f"look like {look}")


def grown(*edges: float) -> Array:
    """All boxes with a margin to the left, top, right and bottom, cut off at the image."""
    low = np.maximum(BOXES[:, :2] - edges[:2], 0)
    return np.concatenate((low, np.minimum(corners(BOXES)[:, 2:] + edges[2:], SIZES) - low), axis=1)


ONE_ODD = moved(40, 0, 0, 90, rows=slice(7, 8))
MARGIN = "like boxes larger than the mask on every side"


@pytest.mark.parametrize(
    ("boxes", "severity", "kind", "message"),
    [
        (ONE_ODD, "warning", "box-not-of-mask", "1 of 60 boxes differs from the extent of its "),
        (first(9, corners(BOXES), BOXES), "warning", "box-not-of-mask", "like boxes as corners"),
        (np.roll(BOXES, 5, axis=0), "error", "box-not-of-mask", ": in no way that is recognised"),
        (np.concatenate((0 * SIZES, SIZES), axis=1), "error", "box-not-of-mask", "differ"),
        (moved(-8, -8, 16, 16), "warning", "box-not-of-mask", MARGIN),
        (moved(-4, -20, 8, 40), "warning", "box-not-of-mask", MARGIN),
        (
            BOXES * (1, 1, 1.5, 1.5) - np.concatenate((BOXES[:, 2:] / 4, 0 * SIZES), axis=1),
            "warning", "box-not-of-mask", MARGIN,
        ),
        (grown(30, 30, 30, 30), "warning", "box-not-of-mask", MARGIN),
        (moved(1, 1, 0, 0), "warning", "box-one-pixel-off", "pixel right and down of their"),
        (BOXES - (1, 1, 0, 0), "warning", "box-one-pixel-off", "pixel left and up of their"),
    ],
)  # fmt: skip
def test_wrong_boxes_are_an_error_only_if_most_are_far_off(boxes, severity, kind, message):
    (problem,) = compare(boxes)
    assert (problem.severity, problem.kind) == (severity, kind)
    assert message in problem.message
    if boxes is ONE_ODD:
        assert problem.message.endswith("its mask")
        assert problem.examples[0].startswith("box 7, its mask: [")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_or_two_odd_boxes_get_no_guess(count):
    boxes = first(count, corners(BOXES), BOXES)
    for (problem,) in (compare(boxes), compare(boxes[:count])):
        assert ("like" in problem.message) == (count == 3)
        assert "recognised" not in problem.message


@pytest.mark.parametrize(("count", "severity"), [(29, "warning"), (30, "error")])
def test_half_of_the_boxes_make_a_file_useless(count, severity):
    (problem,) = compare(first(count, corners(BOXES), BOXES))
    assert problem.severity == severity


@pytest.mark.parametrize(("off", "problems"), [(3.9, 0), (4.1, 1)])
def test_an_edge_may_be_off_by_two_pixels_and_a_fiftieth_of_the_mask(off, problems):
    mask = np.array([[100.0, 100, 200, 200]])
    assert len(compare(np.array([[100 + off, 100, 100 - off, 100]]), mask)) == problems


@pytest.mark.parametrize(("share", "named"), [(0.04, True), (0.12, False)])
def test_a_meaning_is_recognised_within_a_twentieth_of_the_mask(share, named):
    sides = np.concatenate((0 * SIZES, BOXES[:, 2:]), axis=1)
    (problem,) = compare(corners(BOXES), EXTENTS + share * sides)
    assert (
        problem.message.endswith("look like boxes as corners (left, top, right, bottom)") == named
    )


def test_two_meanings_in_one_file_are_both_named():
    (problem,) = compare(first(30, corners(BOXES), BOXES / SIDES))
    assert problem.severity == "error"
    assert "boxes in shares of the image" in problem.message
    assert "boxes as corners" in problem.message


CUT_OFF = np.array([[-30.0, 5, 700, 90]])


@pytest.mark.parametrize(
    ("boxes", "extents"),
    [
        (BOXES.round(), EXTENTS),
        (np.concatenate((np.floor(BOXES[:, :2]), np.ceil(BOXES[:, 2:])), axis=1), EXTENTS),
        (moved(0, 0, 1, 1), EXTENTS),
        (BOXES - (1, 1, -2, -2), EXTENTS),
        (BOXES * (1, 1, 1.01, 1.01), EXTENTS),
        # Cut off at the image, as its mask is not.
        (np.array([[0, 5, 640, 85]]), CUT_OFF),
        # Not known.
        (first(1, BOXES * np.nan, BOXES), first(2, EXTENTS, EXTENTS * np.nan)),
        (BOXES[:0], EXTENTS),
    ],
)
def test_rounding_cuts_and_what_is_not_known_are_no_problem(boxes, extents):
    assert compare(boxes, extents) == []


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_boxes_computed_from_their_masks_are_no_problem(data):
    count = data.draw(st.integers(1, 30))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = np.tile(random.integers(4, 2000, 2), (count, 1)).astype(np.float64)
    corners = np.sort(random.random((count, 2, 2)), axis=1)
    extents = corners.reshape(count, 4) * np.tile(sizes, 2)
    if data.draw(st.booleans()):  # pixels
        extents[:, :2], extents[:, 2:] = np.floor(extents[:, :2]), np.floor(extents[:, 2:]) + 1
    boxes = np.concatenate((extents[:, :2], extents[:, 2:] - extents[:, :2]), axis=1)
    boxes = boxes.round(data.draw(st.integers(0, 3)))
    assert check_boxes_of_masks(boxes, extents, sizes, random.integers(0, 5, count), str) == []
    large = (boxes[:, 2:] > 2).all(axis=1)
    assert check_box_layout(boxes[large], sizes[large], str) == []


# --- boxes without masks -------------------------------------------------------------------------


@pytest.mark.parametrize("look", list(MEANINGS)[1:8])
def test_boxes_alone_that_reach_out_of_their_images_are_named(look):
    boxes = np.stack(MEANINGS[look](*BOXES.T, *SIZES.T), axis=1)
    (problem,) = check_box_layout(boxes, SIZES, str)
    assert (problem.severity, problem.kind) == ("error", "box-layout")
    assert f"none would if they were {look}" in problem.message


@pytest.mark.parametrize("look", [look for look in MEANINGS if "shares" in look])
def test_boxes_alone_in_shares_of_the_image_are_named(look):
    boxes = np.stack(MEANINGS[look](*BOXES.T, *SIZES.T), axis=1)[:3]
    (problem,) = check_box_layout(boxes, SIZES[:3], str, what="detections")
    assert problem.severity == "error"
    assert problem.message == (
        "3 of 3 detections hold no number above 1: they look like shares of the image"
    )


def test_images_whose_width_and_height_are_exchanged_are_named_where_masks_agree():
    (problem,) = check_box_layout(BOXES, SIZES[:, ::-1], str, readings=())
    assert problem.severity == "error"
    assert "if width and height of the images were exchanged" in problem.message


def test_boxes_of_larger_images_are_a_warning():
    (problem,) = check_box_layout(BOXES * 2, SIZES, str)
    assert problem.severity == "warning"
    assert problem.message.endswith("of 60 boxes reach out of their images")


def test_boxes_without_area_and_a_few_that_reach_out_are_no_problem():
    boxes = first(40, 0 * BOXES, moved(300, 0, 0, 0, rows=slice(40, 42)))
    assert check_box_layout(boxes, SIZES, str) == []
