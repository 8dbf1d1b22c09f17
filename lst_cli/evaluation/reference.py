"""lvis-api's federated average precision as one function.

The numbers are lvis-api's to the last bit. It is run class by class, each time on the
images that say something about the class (an instance of it, or its name in
`neg_category_ids`): in a federated set those are few, and lvis-api drops every other pair
of image and class itself, after having spent most of its time and memory on them.

Letters: T IoU thresholds (0.50, 0.55, ... 0.95), R recall thresholds (0, 0.01, ... 1),
K classes, A area ranges (all, small, medium, large).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lst_cli.errors import LstError
from lst_cli.evaluation.lvis_package import LvisPackage, load_lvis

IouType = Literal["segm", "bbox"]
Record = Mapping[str, Any]

_FREQUENCIES = ["r", "c", "f"]
_RLES_AT_ONCE = 200  # pycocotools 2.0.11 overflows on the area of more than 255 with numpy 2
_DETECTIONS_HINT = "run the evaluation again, so that detections and validation file agree"
_GROUND_TRUTH_HINT = "run `lst check` to see everything that is wrong with the annotations"


@dataclass(frozen=True, eq=False)
class ApResult:
    """What lvis-api computes, as it computes it.

    Attributes:
        precision: Precision at each recall threshold, shape (T, R, K, A); -1 for a class
            without ground truth in that area range.
        recall: Largest recall, shape (T, K, A); -1 likewise.
        category_ids: The K classes, in the order they were asked for.
        summary: lvis-api's means, fractions, -1 for none: `AP`, `AP50`, `AP75`, `APs`,
            `APm`, `APl`, `APr`, `APc`, `APf`, `AR`, `ARs`, `ARm`, `ARl`.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    category_ids: tuple[int, ...]
    summary: dict[str, float]


@dataclass
class _OneClass:
    """What bears on one class: its annotations, and the images that know about it."""

    annotations: list[Record] = field(default_factory=list)
    detections: list[Record] = field(default_factory=list)
    positive: set[int] = field(default_factory=set)  # image ids
    negative: set[int] = field(default_factory=set)
    not_exhaustive: set[int] = field(default_factory=set)


def lvis_ap(
    ground_truth: Record,
    detections: Sequence[Record],
    *,
    iou_type: IouType,
    category_ids: Sequence[int],
    max_detections: int = 300,
    progress: Callable[[int, int | None], None] | None = None,
) -> ApResult:
    """Score detections as LVIS does.

    A detection counts only in images that are labelled for its class: those with an
    instance of it and those that list it in `neg_category_ids`. Where the class is in
    `not_exhaustive_category_ids`, a detection that matches nothing is neither right nor
    wrong. The cap on detections is per image, over all classes, and comes first.

    Args:
        ground_truth: An LVIS-format dict: `images` with `id`, `height`, `width`,
            `neg_category_ids` and `not_exhaustive_category_ids`; `annotations`;
            `categories` with `id` and, for APr, APc and APf, `frequency`. Not changed.
        detections: Dicts with `image_id`, `category_id`, `score` and, by `iou_type`,
            `segmentation` (compressed RLE of the image's size) or `bbox` (x, y, width,
            height in pixels). The other of the two is not looked at, so that small, medium
            and large mean mask area for masks. Not changed. May be empty: every class with
            ground truth then scores 0.
        iou_type: `segm` compares masks, `bbox` boxes.
        category_ids: The classes to score. Detections of other classes in `categories`
            take part in the cap only.
        max_detections: Most detections an image that count, best scores first.
        progress: Called with the number of classes done and of all classes.

    Returns:
        Precision, recall and their means.

    Raises:
        LstError: If `lvis` is not installed; if a detection names an unknown image or class,
            lacks a field, or holds a number that is not finite or an RLE of another size; if
            the ground truth is not in LVIS format or has an unreadable segmentation.
    """
    package = load_lvis()
    images = _images_by_id(ground_truth)
    frequencies = _frequencies(ground_truth, category_ids)
    _check_detections(detections, iou_type, images, _known_classes(ground_truth))
    if max_detections < 1:
        raise LstError(f"max_detections is {max_detections}; it must be 1 or more")

    capped = package.results.limit_dets_per_image(None, detections, max_detections)
    classes = _gather(ground_truth, images, capped, category_ids)
    precision, recall = _empty_arrays(package, len(category_ids))
    for column, category_id in enumerate(category_ids):
        if classes[category_id].annotations:
            evaluation = _evaluate_class(
                package, iou_type, category_id, classes.pop(category_id), images
            )
            precision[:, :, column] = evaluation["precision"][:, :, 0]
            recall[:, column] = evaluation["recall"][:, 0]
        if progress is not None:
            progress(column + 1, len(category_ids))
    summary = _summarize(package, precision, recall, frequencies)
    return ApResult(precision, recall, tuple(category_ids), summary)


def _images_by_id(ground_truth: Record) -> dict[int, Record]:
    """Index the images, refusing a set that is not federated."""
    images: dict[int, Record] = {}
    for image in _required(ground_truth, "images", "the ground truth"):
        image_id = _required(image, "id", "an image of the ground truth")
        for key in ("height", "width", "neg_category_ids", "not_exhaustive_category_ids"):
            _required(image, key, f"image {image_id} of the ground truth")
        images[image_id] = image
    return images


def _known_classes(ground_truth: Record) -> set[int]:
    return {
        _required(category, "id", "a category of the ground truth")
        for category in _required(ground_truth, "categories", "the ground truth")
    }


def _frequencies(ground_truth: Record, category_ids: Sequence[int]) -> dict[int, str]:
    """Give r, c, f, or "" where the file does not say, of each class to score, in order."""
    known = _known_classes(ground_truth)
    if not category_ids:
        raise LstError("there are no classes to score")
    if len(set(category_ids)) != len(category_ids):
        raise LstError("a class is listed twice among those to score")
    for category_id in category_ids:
        if category_id not in known:
            raise LstError(
                f"class {category_id} is not in the ground truth's categories",
                "check that training and validation file come from the same release",
            )
    stated = {category["id"]: category.get("frequency") for category in ground_truth["categories"]}
    return {
        category_id: stated[category_id] if stated[category_id] in _FREQUENCIES else ""
        for category_id in category_ids
    }


def _check_detections(
    detections: Sequence[Record],
    iou_type: IouType,
    images: Mapping[int, Record],
    known_classes: set[int],
) -> None:
    """Refuse what lvis-api would crash on or, worse, score."""
    key = {"segm": "segmentation", "bbox": "bbox"}[iou_type]
    for position, detection in enumerate(detections):
        where = f"detection {position}"
        image_id = _required(detection, "image_id", where)
        category_id = _required(detection, "category_id", where)
        score = _required(detection, "score", where)
        if image_id not in images:
            raise LstError(f"{where} names the unknown image {image_id}", _DETECTIONS_HINT)
        if category_id not in known_classes:
            raise LstError(f"{where} names the unknown class {category_id}", _DETECTIONS_HINT)
        if not _is_finite(score):
            raise LstError(f"{where} has the score {score}", _DETECTIONS_HINT)
        shape = _required(detection, key, where)
        problem = _box_problem(shape) if key == "bbox" else _rle_problem(shape, images[image_id])
        if problem:
            raise LstError(f"{where} has {problem}", _DETECTIONS_HINT)


def _box_problem(box: Any) -> str | None:
    if not isinstance(box, (Sequence, np.ndarray)) or len(box) != 4:
        return f"the box {box!r}, which is not x, y, width, height"
    if not all(map(_is_finite, box)) or box[2] < 0 or box[3] < 0:
        return f"the box {[str(number) for number in box]}"
    return None


def _rle_problem(rle: Any, image: Record) -> str | None:
    if not isinstance(rle, Mapping) or not isinstance(rle.get("counts"), (str, bytes)):
        return "a segmentation that is not a compressed RLE"
    size, expected = list(rle.get("size", ())), [image["height"], image["width"]]
    if size != expected:
        return f"a mask of size {size} in an image of size {expected} (height, width)"
    return None


def _is_finite(number: Any) -> bool:
    return isinstance(number, Real) and isfinite(number)


def _gather(
    ground_truth: Record,
    images: Mapping[int, Record],
    detections: Iterable[Record],
    category_ids: Sequence[int],
) -> dict[int, _OneClass]:
    """Sort annotations, image lists and the detections that can count by class."""
    classes = {category_id: _OneClass() for category_id in category_ids}
    for image_id, image in images.items():
        for category_id in image["neg_category_ids"]:
            if category_id in classes:
                classes[category_id].negative.add(image_id)
        for category_id in image["not_exhaustive_category_ids"]:
            if category_id in classes:
                classes[category_id].not_exhaustive.add(image_id)
    for annotation in _required(ground_truth, "annotations", "the ground truth"):
        where = f"annotation {annotation.get('id')} of the ground truth"
        image_id = _required(annotation, "image_id", where)
        if image_id not in images:
            raise LstError(f"{where} names the unknown image {image_id}", _GROUND_TRUTH_HINT)
        one_class = classes.get(_required(annotation, "category_id", where))
        if one_class is not None:
            one_class.annotations.append(annotation)
            one_class.positive.add(image_id)
    for detection in detections:
        one_class = classes.get(detection["category_id"])
        if one_class is not None and (
            detection["image_id"] in one_class.positive
            or detection["image_id"] in one_class.negative
        ):
            one_class.detections.append(detection)
    return classes


def _empty_arrays(
    package: LvisPackage, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give precision (T, R, K, A) and recall (T, K, A) of classes without ground truth."""
    params = package.params("segm")
    thresholds, areas = len(params.iou_thrs), len(params.area_rng)
    return (
        np.full((thresholds, len(params.rec_thrs), classes, areas), -1.0),
        np.full((thresholds, classes, areas), -1.0),
    )


def _evaluate_class(
    package: LvisPackage,
    iou_type: IouType,
    category_id: int,
    one_class: _OneClass,
    images: Mapping[int, Record],
) -> dict[str, NDArray[np.float64]]:
    """Run LVISEval on one class; its arrays have K = 1."""
    dataset = {
        "images": [
            {
                "id": image_id,
                "height": images[image_id]["height"],
                "width": images[image_id]["width"],
                "neg_category_ids": [category_id] if image_id in one_class.negative else [],
                "not_exhaustive_category_ids": (
                    [category_id] if image_id in one_class.not_exhaustive else []
                ),
            }
            for image_id in sorted(one_class.positive | one_class.negative)
        ],
        "categories": [{"id": category_id, "frequency": ""}],
    }
    truth = _index(package.ground_truth, {**dataset, "annotations": []})
    annotations = [
        _annotation(truth, iou_type, number, annotation)
        for number, annotation in enumerate(one_class.annotations, start=1)
    ]
    truth = _index(package.ground_truth, {**dataset, "annotations": annotations})
    shapes = _detections(iou_type, one_class.detections)
    found = _index(package.results, {**dataset, "annotations": shapes})
    evaluation = package.evaluation(truth, found, iou_type)
    evaluation.params.img_count_lbl = [*_FREQUENCIES, ""]
    evaluation.evaluate()
    evaluation.accumulate()
    arrays: dict[str, NDArray[np.float64]] = evaluation.eval
    return arrays


def _index(kind: Any, dataset: dict[str, Any]) -> Any:
    """Make an LVIS or LVISResults of a dict; its own constructor wants a file, or logs."""
    index = kind.__new__(kind)
    index.logger = _Silent()
    index.dataset = dataset
    index._create_index()
    return index


class _Silent:
    """A logger nobody configured and nobody hears."""

    def info(self, *args: object) -> None:
        """Say nothing."""


def _annotation(truth: Any, iou_type: IouType, number: int, annotation: Record) -> dict[str, Any]:
    """Copy what LVISEval reads; numbered from 1, since it takes an id of 0 for no match."""
    where = f"annotation {annotation.get('id')} of the ground truth"
    copy = {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "area": _required(annotation, "area", where),
        "ignore": annotation.get("ignore", 0),
    }
    if iou_type == "bbox":
        copy["bbox"] = _required(annotation, "bbox", where)
        return copy
    _required(annotation, "segmentation", where)
    try:
        copy["segmentation"] = truth.ann_to_rle(annotation)
    except Exception as error:  # pycocotools raises whatever it meets
        raise LstError(
            f"{where} has a segmentation that cannot be read: {error}", _GROUND_TRUTH_HINT
        ) from error
    return copy


def _detections(iou_type: IouType, detections: Sequence[Record]) -> list[dict[str, Any]]:
    """Do what LVISResults does to detections, to copies: number them and add their area."""
    shapes: list[Any]
    if iou_type == "bbox":
        key, shapes = "bbox", [detection["bbox"] for detection in detections]
        areas = [box[2] * box[3] for box in shapes]
    else:
        key, shapes = "segmentation", [detection["segmentation"] for detection in detections]
        areas = _mask_areas(shapes)
    return [
        {
            "id": number,
            "image_id": detection["image_id"],
            "category_id": detection["category_id"],
            "score": detection["score"],
            "area": area,
            key: shape,
        }
        for number, (detection, area, shape) in enumerate(
            zip(detections, areas, shapes, strict=True), start=1
        )
    ]


def _mask_areas(rles: Sequence[Record]) -> list[int]:
    from pycocotools import mask

    areas: list[int] = []
    for start in range(0, len(rles), _RLES_AT_ONCE):
        areas.extend(int(area) for area in mask.area(rles[start : start + _RLES_AT_ONCE]))
    return areas


def _summarize(
    package: LvisPackage,
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    frequencies: Mapping[int, str],
) -> dict[str, float]:
    """Let LVISEval take its means over the arrays of all classes."""
    categories = [{"id": key, "frequency": value} for key, value in frequencies.items()]
    nothing = {"images": [], "annotations": [], "categories": categories}
    evaluation = package.evaluation(
        _index(package.ground_truth, nothing), _index(package.results, nothing)
    )
    evaluation.params.cat_ids = list(frequencies)
    evaluation.params.img_count_lbl = [*_FREQUENCIES, ""]
    evaluation.freq_groups = evaluation._prepare_freq_group()
    evaluation.eval = {"precision": precision, "recall": recall}
    evaluation.summarize()
    return {name.split("@")[0]: float(value) for name, value in evaluation.results.items()}


def _required(record: Any, key: str, where: str) -> Any:
    """Give a field of a record, or say which one is missing where."""
    if not isinstance(record, Mapping) or key not in record:
        raise LstError(f"{where} has no {key}", _GROUND_TRUTH_HINT)
    return record[key]
