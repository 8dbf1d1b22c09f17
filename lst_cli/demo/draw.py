"""The data set of `lst demo`: a small long tail, drawn by this package.

It is a demonstration and no benchmark: training and validation show the same outlines in
other poses, colours and surroundings. Its files are in LVIS v1 layout, every image labelled
exhaustively.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features
from pycocotools import mask as mask_tools

from lst_cli.demo.layout import GLYPHS, Bools, Glyph, arrange_glyphs, find_font
from lst_cli.demo.paint import paint_layout
from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.phases.bins import frequency_of
from lst_cli.progress import Progress, silent
from lst_cli.workspace.atomic import explain_os_error, write_text
from lst_cli.workspace.records import load_json, save_json

_MARKER = "demo.json"
_FORMAT = 1  # raise it when the same parameters draw something else
_QUALITY = 92
_TITLES = {"train": "training", "val": "validation"}
# Above 1, the middle of the curve of counts is fuller and its end steeper than a straight line in
# log scale, as in LVIS; two ranks less than all reach 1, so that the last three share it.
_CURVATURE = 1.15
_FLAT_END = 2


@dataclass(frozen=True)
class Parameters:
    """What is drawn."""

    seed: int = 0  # decides the ranks of the classes and every image
    classes: int = 28  # at least 4; suits the base and the phases of `lst demo`
    size: int = 160  # side of the square images in pixels, at least 64
    head: int = 260  # training instances of the most frequent class; at least three have one
    val_per_class: int = 10  # validation instances of every class
    per_image: float = 4.0  # mean number of objects in an image, from 1 to 6


DEFAULT = Parameters()


class DemoSet(NamedTuple):
    """A drawn set; the `coco_url` of both files starts at `images_dir`."""

    train_json: Path
    val_json: Path
    images_dir: Path
    reused: bool  # whether it was there already and nothing was drawn


def draw_demo(
    directory: Path, parameters: Parameters = DEFAULT, *, progress: Progress = silent
) -> DemoSet:
    """Draw a long-tailed instance segmentation set, or find it drawn already.

    The same parameters give the same bytes on the same versions of numpy and Pillow. A set
    is complete once its `demo.json` says so, which is written last; one that is incomplete or was
    drawn with other parameters is replaced. Other files in `directory` are an LstError.
    """
    record = {  # everything that decides the bytes of a set
        "format": _FORMAT,
        "parameters": asdict(parameters),
        "versions": {
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "freetype": str(features.version("freetype2")),
            "libjpeg": str(features.version("jpg")),
            "font": hashlib.sha256(find_font().read_bytes()).hexdigest(),
        },
    }
    reused = _is_complete(directory, record)
    if not reused:
        with explain_os_error(directory):
            _claim(directory, record)
            _draw(directory, parameters, record, progress)
    return DemoSet(directory / "train.json", directory / "val.json", directory / "images", reused)


def _is_complete(directory: Path, record: dict[str, Any]) -> bool:
    """Whether the set in a directory is the one asked for, whole and unchanged."""
    try:
        marker = load_json(directory / _MARKER, "lst demo")
        if not marker["complete"] or any(marker[key] != record[key] for key in record):
            return False
        for split in ("train", "val"):
            content = read_regular(directory / f"{split}.json")
            if hashlib.sha256(content).hexdigest() != marker["sha256"][split]:
                return False
            images = list((directory / "images" / split).glob("*.jpg"))
            if len(images) != marker["counts"][f"{split}_images"]:
                return False
    except (LstError, OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _claim(directory: Path, record: dict[str, Any]) -> None:
    """Mark the directory as ours and remove what an earlier set left there."""
    if not (directory / _MARKER).exists():
        for name in ("train.json", "val.json", "images"):
            if (directory / name).exists():
                raise LstError(
                    f"{directory / name} was not drawn by lst demo and will not be replaced",
                    hint="choose an empty directory",
                )
    save_json({**record, "complete": False}, directory / _MARKER)
    for split in ("train", "val"):
        (directory / f"{split}.json").unlink(missing_ok=True)
        for path in (directory / "images" / split).glob("[0-9]*.jpg"):
            path.unlink()


def _draw(
    directory: Path, parameters: Parameters, record: dict[str, Any], progress: Progress
) -> None:
    classes, per_image = parameters.classes, parameters.per_image
    glyphs = sorted(GLYPHS[:classes], key=lambda glyph: glyph.name)
    rng = np.random.default_rng(parameters.seed)
    category_ids = rank_categories(classes, rng)
    plans = {
        "train": deal_instances(long_tail_counts(classes, parameters.head), per_image, rng),
        "val": deal_instances([parameters.val_per_class] * classes, per_image, rng),
    }
    categories: list[dict[str, Any]] = []
    marker: dict[str, Any] = {**record, "complete": True, "sha256": {}, "counts": {}}
    image_id, next_id = 0, 1  # no id twice in both files
    # Streams start at 1: numpy takes the seeds 0 and [0, 0, 0] for the same.
    for stream, (split, plan) in enumerate(plans.items(), start=1):
        (directory / "images" / split).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for index, ranks in enumerate(plan):
            image_id += 1
            # A generator of its own makes an image independent of those before it.
            image_rng = np.random.default_rng([parameters.seed, stream, index])
            labels = category_ids[ranks].tolist()
            chosen = [glyphs[label - 1] for label in labels]
            layout = arrange_glyphs(image_rng, chosen, parameters.size)
            address = f"{split}/{image_id:06d}.jpg"  # no name twice, whichever the folder
            Image.fromarray(paint_layout(image_rng, layout)).save(
                directory / "images" / address, format="JPEG", quality=_QUALITY, subsampling=0
            )
            images.append(
                {
                    "id": image_id,
                    "width": parameters.size,
                    "height": parameters.size,
                    "coco_url": address,
                    # All objects are annotated, so that all other classes are known to be absent.
                    "neg_category_ids": sorted(set(range(1, classes + 1)) - set(labels)),
                    "not_exhaustive_category_ids": [],
                }
            )
            annotations += annotate(layout.visible, labels, image_id, next_id)
            next_id += len(labels)
            progress("images", image_id, len(plans["train"]) + len(plans["val"]))
        categories = categories or describe_categories(glyphs, annotations)
        document = {
            "info": {
                "description": f"lst demo, {_TITLES[split]}: glyphs drawn by a program, "
                "not photographs",
                "version": "v1",
            },
            "licenses": [],
            "images": images,
            "categories": categories,
            "annotations": annotations,
        }
        text = json.dumps(document, separators=(",", ":")) + "\n"
        write_text(directory / f"{split}.json", text)
        marker["sha256"][split] = hashlib.sha256(text.encode()).hexdigest()
        marker["counts"][f"{split}_images"] = len(images)
        marker["counts"][f"{split}_instances"] = len(annotations)
    save_json(marker, directory / _MARKER)


def annotate(
    masks: Bools, labels: Sequence[int], image_id: int, first_id: int
) -> list[dict[str, Any]]:
    """Annotations of the visible pixels of an image's objects, shape (M, H, W)."""
    # pycocotools wants Fortran order, objects last.
    codes = mask_tools.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [
        {
            "id": first_id + row,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": mask_tools.toBbox(code).tolist(),
            "area": float(mask_tools.area(code)),
            "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
        }
        for row, (category_id, code) in enumerate(zip(labels, codes, strict=True))
    ]


def describe_categories(
    glyphs: Sequence[Glyph], annotations: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """List the classes as LVIS does, ids from 1 on, with their counts in the training set."""
    instances = Counter(one["category_id"] for one in annotations)
    pairs = {(one["category_id"], one["image_id"]) for one in annotations}
    images = Counter(category_id for category_id, _ in pairs)
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


def rank_categories(classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose which category_id has which rank; ids in order of rank would hide mistakes."""
    while True:
        category_ids = rng.permutation(classes) + 1
        if len(np.unique(np.sign(np.diff(category_ids)))) > 1:
            return category_ids


def long_tail_counts(classes: int, head: int) -> list[int]:
    """Give every rank its number of training instances, from `head` down to one.

    The logarithm of the count falls along the ranks with a slight bend, as LVIS's sorted counts
    do. At least the last three ranks have one instance.

    Example:
        >>> long_tail_counts(8, 100)
        [100, 49, 20, 8, 3, 1, 1, 1]
    """
    position = np.minimum(np.arange(classes) / (classes - 1 - _FLAT_END), 1.0)
    counts = np.rint(np.exp(math.log(head) * (1.0 - position**_CURVATURE)))
    return list(map(int, counts))


def deal_instances(
    counts: list[int], per_image: float, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Spread instances over images at random, so that head and tail classes meet.

    Gives one array of ranks per image, the lowest object first; no image is empty.
    """
    ranks = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = max(1, math.ceil(ranks.size / per_image))
    # Sizes are one to about twice the mean, without a lucky image of fifteen objects:
    # each image has one object for sure and at most 2 * mean - 1 in all.
    slots = np.repeat(np.arange(images), max(1, math.ceil(2 * per_image) - 2))
    extra = rng.permutation(slots)[: ranks.size - images]
    sizes = 1 + np.bincount(extra, minlength=images)
    return np.split(ranks, np.cumsum(sizes)[:-1])
