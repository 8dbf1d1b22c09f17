"""The data set of `lst demo`: a small long tail, drawn by this package.

It is a demonstration and no benchmark: training and validation show the same outlines in
other poses, colours and surroundings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lst_cli.demo.annotations import LabelledImage, build_annotation_file, describe_categories
from lst_cli.demo.counts import IntArray, deal_instances, long_tail_counts
from lst_cli.demo.glyphs import GLYPHS, Glyph
from lst_cli.demo.layout import arrange_glyphs
from lst_cli.demo.marker import DemoSet, claim, complete, describe_request, find_complete
from lst_cli.demo.paint import paint_layout
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent
from lst_cli.workspace.atomic import explain_os_error, write_text

# What suits the default set: a base of 7 classes and three phases of 7.
DEMO_BASE = 7
DEMO_PHASES = 3

_QUALITY = 92
_MIN_CLASSES = 4
_MIN_SIZE = 64


@dataclass(frozen=True)
class _Content:
    """What one image is to show, the lowest object first."""

    image_id: int
    address: str
    category_ids: IntArray
    glyphs: list[Glyph]


def draw_demo(
    directory: Path,
    *,
    seed: int = 0,
    classes: int = 28,
    size: int = 160,
    head: int = 260,
    val_per_class: int = 10,
    per_image: float = 4.0,
    progress: Progress = silent,
) -> DemoSet:
    """Draw a long-tailed instance segmentation set, or find it drawn already.

    The same arguments give the same bytes on the same versions of numpy and Pillow. A set
    counts as complete once its `demo.json` says so, which is written last; a set in
    `directory` that is incomplete or was drawn with other arguments is replaced.

    Args:
        directory: Where `train.json`, `val.json`, `images/` and `demo.json` go.
        seed: Decides the ranks of the classes and every image.
        classes: Number of classes; the default suits `DEMO_BASE` and `DEMO_PHASES`.
        size: Side of the square images in pixels.
        head: Training instances of the most frequent class; at least three
            classes have one.
        val_per_class: Validation instances of every class.
        per_image: Mean number of objects in an image.
        progress: Called with the images drawn so far and their number.

    Raises:
        LstError: If an argument makes no sense, the directory holds something else, it
            cannot be written, or the font is missing.
    """
    _check_arguments(seed, classes, size, head, val_per_class, per_image)
    record = describe_request(
        {
            "seed": seed,
            "classes": classes,
            "size": size,
            "head": head,
            "val_per_class": val_per_class,
            "per_image": per_image,
        }
    )
    with explain_os_error(directory):
        found = find_complete(directory, record)
        if found is not None:
            return found
        claim(directory, record)
        return _draw(directory, record, progress)


def _draw(directory: Path, record: dict[str, Any], progress: Progress) -> DemoSet:
    parameters = record["parameters"]
    seed, classes, per_image = (parameters[key] for key in ("seed", "classes", "per_image"))
    glyphs = sorted(GLYPHS[:classes], key=lambda glyph: glyph.name)
    rng = np.random.default_rng(seed)
    category_ids = _rank_categories(classes, rng)
    plans = {
        "train": deal_instances(long_tail_counts(classes, parameters["head"]), per_image, rng),
        "val": deal_instances([parameters["val_per_class"]] * classes, per_image, rng),
    }
    total = sum(len(plan) for plan in plans.values())
    drawn: dict[str, list[LabelledImage]] = {"train": [], "val": []}
    done = 0
    # Streams start at 1: numpy takes the seeds 0 and [0, 0, 0] for the same.
    for stream, (split, plan) in enumerate(plans.items(), start=1):
        folder = directory / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        for index, ranks in enumerate(plan):
            # A generator of its own makes an image independent of those before it.
            image_rng = np.random.default_rng([seed, stream, index])
            labels = category_ids[ranks]
            address = f"{split}/{done + 1:06d}.jpg"  # no name twice, whichever the folder
            drawn[split].append(
                _draw_image(
                    directory / "images" / address,
                    _Content(done + 1, address, labels, [glyphs[label - 1] for label in labels]),
                    parameters["size"],
                    image_rng,
                )
            )
            done += 1
            progress("images", done, total)
    categories = describe_categories(glyphs, drawn["train"])
    hashes, next_id = {}, 1
    for split, title in (("train", "training"), ("val", "validation")):
        document = build_annotation_file(
            drawn[split], categories, split=title, first_annotation_id=next_id
        )
        next_id += len(document["annotations"])
        text = json.dumps(document, separators=(",", ":")) + "\n"
        write_text(directory / f"{split}.json", text)
        hashes[split] = hashlib.sha256(text.encode()).hexdigest()
    counts = {
        f"{split}_{unit}": number
        for split, images in drawn.items()
        for unit, number in (
            ("images", len(images)),
            ("instances", sum(len(image.category_ids) for image in images)),
        )
    }
    return complete(directory, record, hashes, counts)


def _draw_image(
    path: Path, content: _Content, size: int, rng: np.random.Generator
) -> LabelledImage:
    layout = arrange_glyphs(rng, content.glyphs, size)
    pixels = paint_layout(rng, layout)
    Image.fromarray(pixels).save(path, format="JPEG", quality=_QUALITY, subsampling=0)
    labels = [int(category_id) for category_id in content.category_ids]
    return LabelledImage(content.image_id, content.address, size, labels, layout.visible)


def _rank_categories(classes: int, rng: np.random.Generator) -> IntArray:
    """Choose which category_id has which rank; ids in order of rank would hide mistakes."""
    while True:
        category_ids = rng.permutation(classes) + 1
        if len(np.unique(np.sign(np.diff(category_ids)))) > 1:
            return category_ids


def _check_arguments(
    seed: int, classes: int, size: int, head: int, val_per_class: int, per_image: float
) -> None:
    problems = [
        (
            not _MIN_CLASSES <= classes <= len(GLYPHS),
            f"classes = {classes}",
            f"from {_MIN_CLASSES} to {len(GLYPHS)}",
        ),
        (seed < 0, f"seed = {seed}", "0 or more"),
        (size < _MIN_SIZE, f"size = {size}", f"{_MIN_SIZE} pixels or more"),
        (head < 2, f"head = {head}", "2 or more"),
        (val_per_class < 1, f"val_per_class = {val_per_class}", "1 or more"),
        (not 1 <= per_image <= 6, f"per_image = {per_image}", "from 1 to 6"),
    ]
    for wrong, given, allowed in problems:
        if wrong:
            raise LstError(f"the demo set cannot be drawn with {given}", hint=f"use {allowed}")
