"""Annotations and detections of LVIS's size and shape, drawn in code and streamed to disk.

How many annotations, classes and negatives an image has, how large outlines are and how many
corners they have follow what the first hundred images of LVIS v0.5 val show; the numbers of
classes by frequency and of images are v1's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

FREQUENT, COMMON, RARE = 405, 461, 337  # classes; 1,203 together
PER_IMAGE = 300  # detections
SIZES = ((480, 640), (427, 640), (426, 640), (640, 480), (428, 640), (640, 427), (375, 500))
SIZE_SHARES = (0.33, 0.18, 0.14, 0.12, 0.09, 0.08, 0.06)
# Share of images with so many classes that have instances.
POSITIVES = (0.02, 0.20, 0.20, 0.19, 0.14, 0.09, 0.06, 0.04, 0.03, 0.02, 0.01)
# Images of a hundred with so many classes known to be absent.
NEGATIVES = {0: 4, 5: 2, 6: 15, 7: 21, 8: 12, 9: 1, 11: 4, 12: 9, 13: 14, 14: 14, 15: 4}
NOT_EXHAUSTIVE = 0.055  # share of the pairs of an image and a class it has instances of
OUTLINES, CORNERS = 256, 32  # different shapes; corners of a detected one


@dataclass(frozen=True)
class LvisFiles:
    """One set to evaluate."""

    images: int  # `PER_IMAGE` times as many detections
    annotations: Path  # ground truth, LVIS v1 layout
    detections: Path  # with boxes and masks, a line each, best first within an image


@pytest.fixture(scope="session")
def lvis_files(tmp_path_factory):
    """Give the files of so many images, made once; `LST_KEEP` names a place to keep them."""
    kept = os.environ.get("LST_KEEP")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("lvis-files")
    folder.mkdir(parents=True, exist_ok=True)
    # Files of another version of this generator have other names.
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]

    def give(images: int) -> LvisFiles:
        files = LvisFiles(
            images,
            folder / f"lvis-{images}-{version}-val.json",
            folder / f"lvis-{images}-{version}-results.json",
        )
        if not (files.annotations.exists() and files.detections.exists()):
            _write(files)
        return files

    return give


def _write(files: LvisFiles) -> None:
    """Draw the images one by one; only their records are held."""
    rng = np.random.default_rng(files.images)
    draw = _Drawing(rng)
    ids = np.sort(rng.choice(581_929, files.images, replace=False)) + 1
    records: list[dict[str, Any]] = []
    unfinished = [path.with_suffix(".part") for path in (files.annotations, files.detections)]
    with unfinished[0].open("w") as annotations, unfinished[1].open("w") as detections:
        annotations.write('{"info": {"version": "synthetic"}, "annotations": [')
        detections.write("[")
        number, before = 0, "\n"
        for image_id in ids.tolist():
            truth = draw.truth(image_id)
            records.append(truth.record)
            for each in truth.annotations:
                number += 1
                annotations.write(",\n" if number > 1 else "\n")
                annotations.write(json.dumps({"id": number, **each}))
            for line in draw.detections(truth):
                detections.write(before + line)
                before = ",\n"
        rest = json.dumps({"images": records, "categories": draw.categories()})
        annotations.write("\n], " + rest[1:])
        detections.write("\n]\n")
    for part, path in zip(unfinished, (files.annotations, files.detections), strict=True):
        part.replace(path)


@dataclass(frozen=True)
class _Truth:
    """An image and what is in it; boxes (G, 4) as x, y, width, height."""

    record: dict[str, Any]
    annotations: list[dict[str, Any]]
    boxes: NDArray[np.float64]
    outlines: NDArray[np.int64]
    category_ids: NDArray[np.int64]


class _Drawing:
    """What all images share: how frequent the classes are, and the outlines."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        classes = FREQUENT + COMMON + RARE
        # Training images by rank: capped for the most frequent classes, as LVIS capped them.
        bounds = [0, 0.08 * classes, FREQUENT, FREQUENT + COMMON, classes - 1]
        counts = np.log([1950, 1800, 100.5, 10.5, 1])
        by_rank = np.exp(np.interp(np.arange(classes), bounds, counts))
        # LVIS's ids are alphabetical, so that they say nothing about frequency.
        ranks = rng.permutation(classes)
        self._counts = by_rank[ranks]
        self._chances = self._counts / self._counts.sum()
        self._frequencies = np.repeat(["f", "c", "r"], [FREQUENT, COMMON, RARE])[ranks]
        shares = {"f": 1.1, "c": 1.0, "r": 0.37}
        negative = np.array([shares[frequency] for frequency in self._frequencies])
        self._negative_chances = negative / negative.sum()

        self._waves = rng.normal(0, 1, (OUTLINES, 4)) * [0.16, 0.10, 0.07, 0.05]
        self._phases = rng.uniform(0, 2 * np.pi, (OUTLINES, 4))
        self._stretch = np.exp(rng.uniform(0, 1.5, OUTLINES))
        self._turn = rng.uniform(0, np.pi, OUTLINES)
        self._detected = np.stack([self._outline(one, CORNERS) for one in range(OUTLINES)])
        self._fill = np.array([_area(each) for each in self._detected])  # of its box

    def categories(self) -> list[dict[str, Any]]:
        return [
            {
                "id": number, "name": f"class {number}", "synset": f"class_{number}.n.01",
                "frequency": str(frequency), "image_count": round(count),
                "instance_count": round(3 * count),
            }
            for number, (count, frequency) in enumerate(
                zip(self._counts.tolist(), self._frequencies, strict=True), start=1
            )
        ]  # fmt: skip

    def truth(self, image_id: int) -> _Truth:
        """Draw an image's classes and their instances."""
        rng = self._rng
        height, width = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
        chances = self._chances
        positive = 1 + rng.choice(
            len(chances), rng.choice(len(POSITIVES), p=POSITIVES), replace=False, p=chances
        )
        wanted = rng.choice(list(NEGATIVES), p=np.array(list(NEGATIVES.values())) / 100)
        negative = 1 + rng.choice(len(chances), wanted, replace=False, p=self._negative_chances)
        # Most classes once, a few by the dozen.
        instances = np.minimum(rng.uniform(0, 1, len(positive)) ** (-1 / 1.2), 90).astype(int)

        category_ids = np.repeat(positive, instances)
        # What comes in numbers is small, and of one size in one image.
        of_class = 4.05 - 0.33 * np.log(instances) + rng.normal(0, 0.85, len(positive))
        scales = np.repeat(of_class, instances) + rng.normal(0, 0.45, len(category_ids))
        outlines = rng.integers(OUTLINES, size=len(category_ids))
        boxes = self._boxes(scales, outlines, height, width)
        annotations = [
            self._annotation(image_id, category_id, box, outline)
            for category_id, box, outline in zip(
                category_ids.tolist(), boxes, outlines.tolist(), strict=True
            )
        ]
        unlabelled = positive[rng.uniform(size=len(positive)) < NOT_EXHAUSTIVE][:3]
        record = {
            "id": image_id, "height": height, "width": width,
            "coco_url": f"http://images.cocodataset.org/val2017/{image_id:012d}.jpg",
            "neg_category_ids": np.setdiff1d(negative, positive).tolist(),
            "not_exhaustive_category_ids": unlabelled.tolist(),
        }  # fmt: skip
        return _Truth(record, annotations, boxes, outlines, category_ids)

    def detections(self, truth: _Truth) -> Iterator[str]:
        """Draw detections as lines of JSON: copies, copies of another class, negatives, noise."""
        from pycocotools import mask

        rng, record = self._rng, truth.record
        height, width = record["height"], record["width"]
        negative = np.array(record["neg_category_ids"], dtype=np.int64)
        kind = rng.choice(4, PER_IMAGE, p=[0.35, 0.25, 0.15, 0.25])
        if not len(negative):
            kind[kind == 2] = 3
        if not len(truth.boxes):
            kind[kind < 2] = 3
        blur = np.exp(rng.normal(-2.1, 0.7, PER_IMAGE))  # of a copy, in lengths of its box

        outlines = rng.integers(OUTLINES, size=PER_IMAGE)
        boxes = self._boxes(rng.normal(3.4, 1.0, PER_IMAGE), outlines, height, width)
        category_ids = 1 + rng.choice(len(self._chances), PER_IMAGE, p=self._chances)
        if len(truth.boxes):
            source = rng.integers(len(truth.boxes), size=PER_IMAGE)
            copied = (kind < 2) | ((kind == 2) & (rng.uniform(size=PER_IMAGE) < 0.5))
            boxes[copied] = truth.boxes[source[copied]]
            outlines[copied] = truth.outlines[source[copied]]
            category_ids[kind == 0] = truth.category_ids[source[kind == 0]]
            known = np.concatenate([truth.category_ids, negative])
            confused = (kind == 1) & (rng.uniform(size=PER_IMAGE) < 0.5)
            category_ids[confused] = rng.choice(known, np.count_nonzero(confused))
        if len(negative):
            category_ids[kind == 2] = rng.choice(negative, np.count_nonzero(kind == 2))
        boxes = _moved(rng, boxes, blur, height, width).astype(np.float32)

        level = np.choose(kind, [0.5 - 3 * blur, -1.5, -2.0, -3.0])
        scores = 1 / (1 + np.exp(-level - rng.normal(0, 1.2, PER_IMAGE)))
        tied = rng.uniform(size=PER_IMAGE) < 0.1
        scores[tied] = scores[tied].round(2)
        scores = scores.clip(0.001, 0.999).astype(np.float32)
        order = np.argsort(-scores, kind="stable")

        corners = self._detected[outlines] * boxes[:, None, 2:] + boxes[:, None, :2]
        rles = mask.frPyObjects(list(corners.reshape(PER_IMAGE, -1)), height, width)
        for row, box, score in zip(
            order.tolist(), boxes[order].tolist(), scores[order].tolist(), strict=True
        ):
            counts = rles[row]["counts"].decode().replace("\\", "\\\\")
            yield (
                f'{{"image_id": {record["id"]}, "category_id": {category_ids[row]}, '
                f'"bbox": {box}, "score": {score}, '
                f'"segmentation": {{"size": [{height}, {width}], "counts": "{counts}"}}}}'
            )

    def _boxes(
        self, scales: NDArray[Any], outlines: NDArray[Any], height: int, width: int
    ) -> NDArray[np.float64]:
        """Draw boxes (N, 4) for outlines whose area has these logarithms of its square root."""
        rng = self._rng
        side = np.exp(scales) / np.sqrt(self._fill[outlines])
        aspect = np.exp(rng.normal(0, 0.36, len(scales)))
        sides = np.stack([side * aspect, side / aspect], axis=1)
        sides = sides.clip(2, [0.98 * width, 0.98 * height])
        corner = rng.uniform(0, 1, sides.shape) * ([width, height] - sides)
        return np.concatenate([corner, sides], axis=1)

    def _annotation(
        self, image_id: int, category_id: int, box: NDArray[Any], outline: int
    ) -> dict[str, Any]:
        """Trace an outline in a box, now and then in several parts side by side."""
        rng = self._rng
        parts = min(int(rng.geometric(0.87)), 10)
        polygons = []
        for part in range(parts):
            corners = int(np.clip(np.exp(rng.normal(3.05, 0.8)), 5, 300))
            place = self._outline(outline, corners)
            place[:, 0] = (place[:, 0] * (0.9 if parts > 1 else 1) + part) / parts
            polygons.append((place * box[2:] + box[:2]).round(2))
        points = np.concatenate(polygons)
        low, high = points.min(axis=0), points.max(axis=0)
        return {
            "image_id": image_id,
            "category_id": category_id,
            "bbox": np.concatenate([low, high - low]).round(2).tolist(),
            "area": round(sum(_area(each) for each in polygons), 2),
            "segmentation": [each.ravel().tolist() for each in polygons],
        }

    def _outline(self, outline: int, corners: int) -> NDArray[np.float64]:
        """Give the corners (n, 2) of an outline that fills the unit square."""
        angle = np.arange(corners) * (2 * np.pi / corners)
        waves = np.cos(np.outer(angle, np.arange(2, 6)) + self._phases[outline])
        radius = np.maximum(1 + waves @ self._waves[outline], 0.2)
        along = radius * np.cos(angle) * self._stretch[outline]
        across = radius * np.sin(angle)
        cos, sin = np.cos(self._turn[outline]), np.sin(self._turn[outline])
        points = np.stack([along * cos - across * sin, along * sin + across * cos], axis=1)
        points -= points.min(axis=0)
        filling: NDArray[np.float64] = points / points.max(axis=0)
        return filling


def _moved(
    rng: np.random.Generator,
    boxes: NDArray[np.float64],
    blur: NDArray[np.float64],
    height: int,
    width: int,
) -> NDArray[np.float64]:
    """Shift and scale boxes (N, 4) by so much of their sides, inside the image."""
    frame = np.array([width, height], dtype=np.float64)
    noise = rng.normal(0, 1, boxes.shape) * blur[:, None]
    # Four pixels hold a mask that is not empty.
    sides = (boxes[:, 2:] * np.exp(noise[:, 2:])).clip(4, frame)
    centres = boxes[:, :2] + boxes[:, 2:] * (0.5 + noise[:, :2])
    corner = (centres - sides / 2).clip(0, frame - sides)
    return np.concatenate([corner, sides], axis=1)


def _area(polygon: NDArray[np.float64]) -> float:
    """Give the area inside corners (n, 2)."""
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
