"""Small federated sets with everything awkward in them, against lvis-api, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask

from lst_cli.ap.detections import Cap

Box = tuple[int, int, int, int]
HEIGHT, WIDTH = 100, 110
# Cutting 1 to 10 columns off a box 20 wide leaves an IoU of exactly 0.95, 0.90, ... 0.50. Cut at
# either end by 5 it overlaps itself equally much.
SHAPES = ((0, 0, 20, 5), (5, 0, 15, 5), (0, 3, 20, 4), (0, 0, 32, 32), (0, 0, 96, 96), (7, 7, 0, 9))
CUTS = (0, 0, 0, 5, 5, 5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 110)
AREAS = (0.0, -1.0, 1024.0, 1023.5, 9216.0, 9216.5, 1e10, 1e11)
SCORES = (0.0, 0.25, 0.5, 0.5, 1.0, 7.5, -1.0)


@cache
def rle_of(x: int, y: int, w: int, h: int) -> bytes:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    return bytes(mask.encode(pixels)["counts"])


@st.composite
def boxes(draw: st.DrawFn, shapes: tuple[Box, ...]) -> Box:
    x, y, w, h = draw(st.sampled_from(shapes))
    return x, y, max(w - draw(st.sampled_from(CUTS)), 0), h


@st.composite
def federated_sets(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    crowded = draw(st.booleans())  # everything of one class, in one image, in one place

    def some(of: list[int], most: int) -> list[int]:
        most = 1 if crowded else most
        return draw(st.lists(st.sampled_from(of), min_size=1, max_size=most, unique=True))

    # lvis-api is wrong about an annotation with the id 0, of which there is a test of its own.
    image_ids = some([-3, 0, 1, 2, 10**12, 2**62], 4)
    category_ids = some([-1, 0, 1, 2, 1203], 3)
    a_box = boxes(SHAPES[:2] if crowded else SHAPES)
    some_classes: Any = st.lists(st.sampled_from(category_ids), max_size=2)
    images = [
        {
            "id": image_id,
            "height": HEIGHT,
            "width": WIDTH,
            "neg_category_ids": draw(some_classes),
            "not_exhaustive_category_ids": draw(some_classes),
        }
        for image_id in image_ids
    ]
    where = st.tuples(st.sampled_from(image_ids), st.sampled_from(category_ids))
    annotations: list[dict[str, Any]] = []
    ids = draw(st.permutations([-5, -1, 1, 2, 3, 4, 5, 2**53]))
    for number in ids[: draw(st.integers(0, 8))]:
        image_id, category_id = draw(where)
        box = draw(a_box)
        stated = draw(st.sampled_from([None, None, *AREAS]))
        shape = {"size": [HEIGHT, WIDTH], "counts": rle_of(*box).decode()}
        annotations.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": list(box),
                "area": float(box[2] * box[3]) if stated is None else stated,
                "ignore": draw(st.sampled_from([0, 0, 1])),
                "segmentation": shape,
            }
        )
    found: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 12))):
        image_id, category_id = draw(where)
        box = draw(a_box)
        if len(annotations) > 0 and draw(st.booleans()):
            near = draw(st.sampled_from(annotations))
            image_id, category_id = near["image_id"], near["category_id"]
        shape = {"size": [HEIGHT, WIDTH], "counts": rle_of(*box)}
        found.append(
            {
                "image_id": image_id,
                "category_id": category_id,
                "score": draw(st.sampled_from(SCORES)),
                "bbox": list(box),
                "segmentation": shape,
            }
        )
    categories = [{"id": key, "frequency": draw(st.sampled_from("rcf"))} for key in category_ids]
    return {"images": images, "annotations": annotations, "categories": categories}, found


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@settings(
    deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=federated_sets(), most=st.sampled_from([300, 1, 2, 5]))
def test_every_number_is_lvis_apis(
    score: Callable[..., Any],
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
    iou_type: Any,
    drawn: tuple[dict[str, Any], list[dict[str, Any]]],
    most: int,
) -> None:
    content, found = drawn
    result = score(content, found, iou_type, cap=Cap(per_image=most))
    assert result.category_ids == tuple(sorted(one["id"] for one in content["categories"]))
    assert_same(result, reference(content, found, iou_type, max_detections=most))


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [20, 21])
def test_hundreds_of_tied_detections_on_every_image(
    draw: Any,
    score: Callable[..., Any],
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
    seed: int,
    iou_type: Any,
) -> None:
    content, found = draw.federated_set(seed, images=3, per_image=450)  # images interleaved
    content["categories"].sort(key=lambda one: one["id"] % 4)
    result = score(content, found, iou_type)
    assert_same(result, reference(content, found, iou_type))
    assert 0 < result.summary["AP"] < 1
