"""The annotation files of a benchmark for new classes: a base without them, and a few of them."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lst_cli.errors import LstError
from lst_cli.sweep.plan import Draws
from lst_cli.workspace.atomic import write_text


@dataclass(frozen=True)
class DrawnFiles:
    """The classes of each draw, and where the annotation files lie."""

    category_ids: tuple[tuple[int, ...], ...]
    names: tuple[tuple[str, ...], ...]
    root: Path

    @property
    def base(self) -> Path:
        """Training annotations without any image that shows a drawn class."""
        return self.root / "base.json"

    def few(self, draw: int, boxes: int) -> Path:
        """Images with so many boxes of each class of a draw, and all their known classes."""
        return self.root / f"draw{draw}-boxes{boxes}.json"

    def joint(self, boxes: int) -> Path:
        """The base and so many boxes of each class of all draws."""
        return self.root / f"joint-boxes{boxes}.json"


def draw_files(document: dict[str, Any], draws: Draws, root: Path) -> DrawnFiles:
    """Draw classes of a training file in LVIS or COCO format, and write what is learned from.

    The draw does not depend on a seed. More boxes of a class contain the fewer.

    Raises:
        LstError: If the file has too few classes with so many instances.
    """
    categories, annotations = document["categories"], document["annotations"]
    counts = Counter(one["category_id"] for one in annotations)
    low, high = draws.instances
    eligible = sorted(one["id"] for one in categories if low <= counts[one["id"]] <= high)
    needed = draws.draws * draws.classes
    if len(eligible) < needed:
        raise LstError(
            f"{needed} classes with {low} to {high} instances are to be left out, and the training "
            f"annotations have {len(eligible)}",
            "choose other numbers under [new-classes] in a plan of your own",
        )
    drawn = random.Random(0).sample(eligible, needed)
    groups = [
        tuple(drawn[start : start + draws.classes]) for start in range(0, needed, draws.classes)
    ]
    by_image = defaultdict(list)
    for one in annotations:
        by_image[one["image_id"]].append(one)
    named = {one["id"]: one["name"] for one in categories}
    names = tuple(tuple(named[one] for one in group) for group in groups)
    files = DrawnFiles(tuple(groups), names, root)
    base = _without(document, set(drawn))
    _write(files.base, base)

    def few(draw: int, group: Sequence[int], boxes: int) -> dict[str, Any]:
        chosen: list[dict[str, Any]] = []
        for category_id in group:
            own = [one for one in annotations if one["category_id"] == category_id]
            random.Random(draw).shuffle(own)
            chosen += own[:boxes]
        kept, images = {one["id"] for one in chosen}, {one["image_id"] for one in chosen}
        return {
            "images": [one for one in document["images"] if one["id"] in images],
            "categories": categories,
            # Known classes are annotated too, as a user would have them.
            "annotations": [
                one
                for image in sorted(images)
                for one in by_image[image]
                if one["id"] in kept or one["category_id"] not in drawn
            ],
        }

    for boxes in draws.boxes:
        joint = {key: {one["id"]: one for one in base[key]} for key in ("images", "annotations")}
        for draw, group in enumerate(groups):
            added = few(draw, group, boxes)
            _write(files.few(draw, boxes), added)
            for key, records in joint.items():
                records.update({one["id"]: one for one in added[key]})
        lists = {key: list(records.values()) for key, records in joint.items()}
        _write(files.joint(boxes), {**base, **lists})
    return files


def _without(document: dict[str, Any], drawn: set[int]) -> dict[str, Any]:
    showing = {one["image_id"] for one in document["annotations"] if one["category_id"] in drawn}
    images = [dict(one) for one in document["images"] if one["id"] not in showing]
    for image in images:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            if key in image:
                image[key] = [one for one in image[key] if one not in drawn]
    kept = [one for one in document["annotations"] if one["image_id"] not in showing]
    return {**document, "images": images, "annotations": kept}


def _write(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document)
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
