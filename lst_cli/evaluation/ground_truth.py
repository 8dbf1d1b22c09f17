"""A validation file as the ground truth of one phase.

In phase t, classes of later phases do not exist: their annotations are dropped, and so are
their names in the federated lists. Every image stays, since one without an instance of a
seen class can still be labelled as having none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from lst_cli.errors import LstError
from lst_cli.phases.bins import frequency_of

_CHECK_HINT = "run `lst check` to see everything that is wrong with the annotations"


class GroundTruth(TypedDict):
    """An LVIS-format dict, ready for `lvis_ap`.

    Attributes:
        images: Dicts with `id`, `height`, `width`, `file_name`, `coco_url`,
            `neg_category_ids` and `not_exhaustive_category_ids`.
        annotations: Dicts with `id`, `image_id`, `category_id`, `bbox`, `area`, `ignore`
            and `segmentation`.
        categories: Dicts with `id`, `name` and `frequency`, in the order of the seen classes.
        federated: Whether the file says which classes were looked for in which image.
        notes: Sentences about what was read differently from what the file says.
    """

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    federated: bool
    notes: list[str]


class _Image(msgspec.Struct):
    id: int
    height: int
    width: int
    file_name: str = ""
    coco_url: str = ""
    neg_category_ids: list[int] | None = None
    not_exhaustive_category_ids: list[int] | None = None


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    segmentation: msgspec.Raw = msgspec.Raw(b"null")  # decoded for seen classes only
    iscrowd: int = 0
    ignore: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str = ""
    frequency: str = ""


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Rle(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


def read_ground_truth(
    path: Path,
    seen_category_ids: Iterable[int],
    train_image_counts: Mapping[int, int],
) -> GroundTruth:
    """Read a validation file and leave only what the classes seen so far need.

    A plain COCO-format file names no negatives: every image is taken to be labelled for
    every class, so that each image is a negative of each seen class it has no annotation of.
    Crowd regions, which LVIS does not have, are dropped; what COCO says by them (more
    instances here than are outlined) is said in LVIS's way, by listing the class as not
    exhaustively labelled in that image.

    Args:
        path: LVIS v0.5, LVIS v1 or plain COCO instance annotations.
        seen_category_ids: The classes of this phase and of all before it.
        train_image_counts: Training images of each seen class, which decide whether it is
            rare, common or frequent where the file does not say.

    Returns:
        The ground truth, its categories in the order of `seen_category_ids`.

    Raises:
        LstError: If the file cannot be read, is not of this format, has an id twice, or has
            an annotation that names an unknown image or class or has an unusable shape.
    """
    seen = tuple(seen_category_ids)
    content = _decode(path)
    federated = _is_federated(path, content.images)
    _check_references(path, content)
    wanted = frozenset(seen)
    kept = [each for each in content.annotations if each.category_id in wanted]
    annotations = [each for each in kept if not each.iscrowd]
    crowds = [each for each in kept if each.iscrowd]
    sizes = {image.id: (image.height, image.width) for image in content.images}
    categories, missing = _categories(path, content.categories, seen, train_image_counts)
    return GroundTruth(
        images=_images(content.images, seen, annotations, crowds),
        annotations=[_annotation(path, each, sizes[each.image_id]) for each in annotations],
        categories=categories,
        federated=federated,
        notes=_notes(federated, len(crowds), missing),
    )


def _decode(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise LstError(f"cannot read {path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LstError(f"{path} is not an annotation file: {error}", _CHECK_HINT) from error


def _is_federated(path: Path, images: list[_Image]) -> bool:
    """Tell whether the file has the federated lists; it has to have all or none."""
    lists = [
        stated is not None
        for image in images
        for stated in (image.neg_category_ids, image.not_exhaustive_category_ids)
    ]
    if any(lists) and not all(lists):
        image = images[lists.index(False) // 2]
        raise LstError(
            f"{path}: image {image.id} lacks neg_category_ids or not_exhaustive_category_ids, "
            "which other images have",
            _CHECK_HINT,
        )
    return any(lists)


def _check_references(path: Path, content: _File) -> None:
    """Refuse ids that stand twice and annotations that name what is not there."""
    for kind, ids in (
        ("image", [image.id for image in content.images]),
        ("annotation", [annotation.id for annotation in content.annotations]),
        ("category", [category.id for category in content.categories]),
    ):
        twice = [key for key, count in Counter(ids).items() if count > 1]
        if twice:
            raise LstError(f"{path}: the {kind} id {twice[0]} stands twice", _CHECK_HINT)
    images = {image.id for image in content.images}
    classes = {category.id for category in content.categories}
    for annotation in content.annotations:
        for kind, key, known in (
            ("image", annotation.image_id, images),
            ("class", annotation.category_id, classes),
        ):
            if key not in known:
                raise LstError(
                    f"{path}: annotation {annotation.id} names the unknown {kind} {key}",
                    _CHECK_HINT,
                )


def _categories(
    path: Path,
    stated: list[_Category],
    seen: tuple[int, ...],
    train_image_counts: Mapping[int, int],
) -> tuple[list[dict[str, Any]], int]:
    """Give the seen classes, and how many of them the file does not list."""
    by_id = {category.id: category for category in stated}
    categories = []
    for category_id in seen:
        category = by_id.get(category_id, _Category(category_id))
        frequency = category.frequency
        if frequency not in ("", "r", "c", "f"):
            raise LstError(
                f"{path}: class {category_id} has the frequency {frequency!r}, not r, c or f",
                _CHECK_HINT,
            )
        if not frequency:
            if category_id not in train_image_counts:
                raise LstError(f"the number of training images of class {category_id} is not known")
            frequency = frequency_of(train_image_counts[category_id])
        categories.append({"id": category_id, "name": category.name, "frequency": frequency})
    return categories, sum(category_id not in by_id for category_id in seen)


def _images(
    images: list[_Image],
    seen: tuple[int, ...],
    annotations: list[_Annotation],
    crowds: list[_Annotation],
) -> list[dict[str, Any]]:
    """Give every image, its federated lists restricted to the seen classes."""
    positives = _classes_by_image(annotations)
    crowded = _classes_by_image(crowds)
    nothing: set[int] = set()
    records = []
    for image in images:
        crowd = crowded.get(image.id, nothing)
        if image.neg_category_ids is None:
            negative = set(seen) - positives.get(image.id, nothing) - crowd
        else:
            negative = set(image.neg_category_ids) - crowd
        partial = set(image.not_exhaustive_category_ids or ()) | crowd
        records.append(
            {
                "id": image.id,
                "height": image.height,
                "width": image.width,
                "file_name": image.file_name,
                "coco_url": image.coco_url,
                "neg_category_ids": [key for key in seen if key in negative],
                "not_exhaustive_category_ids": [key for key in seen if key in partial],
            }
        )
    return records


def _classes_by_image(annotations: list[_Annotation]) -> dict[int, set[int]]:
    classes: dict[int, set[int]] = {}
    for annotation in annotations:
        classes.setdefault(annotation.image_id, set()).add(annotation.category_id)
    return classes


def _annotation(path: Path, annotation: _Annotation, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": list(annotation.bbox),
        "area": annotation.area,
        "ignore": annotation.ignore,
        "segmentation": _segmentation(path, annotation, size),
    }


def _segmentation(path: Path, annotation: _Annotation, size: tuple[int, int]) -> Any:
    """Decode a segmentation, refusing what pycocotools would misread without a word."""
    where = f"{path}: annotation {annotation.id} has"
    try:
        shape = msgspec.json.decode(annotation.segmentation, type=list[list[float]] | _Rle)
    except msgspec.DecodeError as error:
        raise LstError(f"{where} an unreadable segmentation: {error}", _CHECK_HINT) from error
    if isinstance(shape, _Rle):
        if shape.size != size:
            raise LstError(
                f"{where} a mask of size {list(shape.size)} in an image of size {list(size)} "
                "(height, width)",
                _CHECK_HINT,
            )
        return {"size": list(shape.size), "counts": shape.counts}
    if not shape:
        raise LstError(f"{where} an empty segmentation", _CHECK_HINT)
    for polygon in shape:
        if len(polygon) < 6 or len(polygon) % 2:  # pycocotools takes 4 numbers for a box
            raise LstError(f"{where} a polygon of {len(polygon)} numbers", _CHECK_HINT)
    return shape


def _notes(federated: bool, crowds: int, missing: int) -> list[str]:
    notes = []
    if not federated:
        notes.append(
            "The validation file does not say which classes were looked for in which image: "
            "every image counts as labelled for every class."
        )
    if crowds:
        notes.append(
            f"{crowds} crowd annotations are left out; where they are, detections of their "
            "class that match nothing else are not counted as wrong."
        )
    if missing:
        notes.append(
            f"{missing} of the seen classes are not listed in the validation file and have no "
            "ground truth there."
        )
    return notes
