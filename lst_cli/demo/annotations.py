"""The demo set's JSON: LVIS v1 layout, every image labelled exhaustively."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_tools

from lst_cli.demo.glyphs import Glyph
from lst_cli.demo.layout import Bools
from lst_cli.phases.bins import frequency_of


@dataclass(frozen=True)
class LabelledImage:
    """What the annotation file says of one image."""

    image_id: int  # unique over both files
    address: str  # path below the image directory, with slashes
    category_ids: list[int]  # of every object
    masks: Bools  # visible pixels of every object, shape (M, H, W)


def describe_categories(
    glyphs: Sequence[Glyph], train: Sequence[LabelledImage]
) -> list[dict[str, Any]]:
    """List the classes as LVIS does, ids from 1 on, with their counts in the training images."""
    instances = Counter(one for image in train for one in image.category_ids)
    images = Counter(one for image in train for one in set(image.category_ids))
    return [
        {
            "id": category_id,
            "name": glyph.name,
            "synset": f"{glyph.name.replace(' ', '_').lower()}.demo",
            "synonyms": [glyph.name],
            "def": glyph.definition,
            "frequency": frequency_of(images[category_id]),
            "image_count": images[category_id],
            "instance_count": instances[category_id],
        }
        for category_id, glyph in enumerate(glyphs, start=1)
    ]


def build_annotation_file(
    images: Sequence[LabelledImage],
    categories: Sequence[dict[str, Any]],
    split: str,
    first_annotation_id: int,
) -> dict[str, Any]:
    """Put one split together as LVIS v1 lays it out.

    All objects of an image are annotated, so the classes that it lacks are listed as
    negative and none as labelled in part.
    """
    everything = {category["id"] for category in categories}
    annotations: list[dict[str, Any]] = []
    for image in images:
        annotations += _annotate(image, first_annotation_id + len(annotations))
    return {
        "info": {
            "description": f"lst demo, {split}: glyphs drawn by a program, not photographs",
            "version": "v1",
        },
        "licenses": [],
        "images": [
            {
                "id": image.image_id,
                "width": image.masks.shape[2],
                "height": image.masks.shape[1],
                "coco_url": image.address,
                "neg_category_ids": sorted(everything.difference(image.category_ids)),
                "not_exhaustive_category_ids": [],
            }
            for image in images
        ],
        "categories": list(categories),
        "annotations": annotations,
    }


def _annotate(image: LabelledImage, first_id: int) -> list[dict[str, Any]]:
    # pycocotools wants Fortran order, objects last.
    codes = mask_tools.encode(np.asfortranarray(image.masks.transpose(1, 2, 0).astype(np.uint8)))
    areas, boxes = mask_tools.area(codes), mask_tools.toBbox(codes)
    return [
        {
            "id": first_id + row,
            "image_id": image.image_id,
            "category_id": category_id,
            "bbox": boxes[row].tolist(),
            "area": float(areas[row]),
            "segmentation": {
                "size": list(image.masks.shape[1:]),
                "counts": codes[row]["counts"].decode("ascii"),
            },
        }
        for row, category_id in enumerate(image.category_ids)
    ]
