"""Whether the records of an annotation file can be used.

`lst_cli.annotations.read.read_dataset` refuses files without a meaning. Problems of other files
are counted and shown here, and `usable_instances` says which annotations training may see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import SKIP_HINT, Problem, Severity, count_of, problems_of
from lst_cli.annotations.read import Dataset, huge_images
from lst_cli.annotations.segmentations import FAULTS
from lst_cli.check.images import check_listed_twice
from lst_cli.images.decode import MAX_PIXELS

CROWD_HINT = (
    "if each marks one object (the brush of CVAT writes 1), set iscrowd to 0 in all of them"
)
"""How annotations of single objects that are marked as crowds are corrected."""

BoxFaults = Mapping[str, tuple[Severity, list[int]]]

_THINNEST = 1e-3  # pixels; a side as thin as this is no side
_OUTSIDE = 1.0  # pixels by which rounding may push a box over the border
FAULT_WORDS: dict[str, str] = {
    **FAULTS,
    "no-box": "neither a box nor a mask to take it from",
    "box-no-area": "a box of no area",
    "box-outside": "a box that has no area inside the image",
    "box-over-border": "a box that reaches out of the image",
    "area-zero": "a box but an area of 0, which evaluation leaves out",
}
"""What an annotation of a kind of fault has, to follow "with"."""


def usable_instances(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Tell which annotations count, shape (M,): those that mark one object inside the image.

    Crowds, which stand for several objects, boxes with a number that is not finite, and boxes
    without area inside the image do not count. The class order, the counts, replay and training
    all use this one mask. (LVIS counts all its annotations; it has none of these.)
    """
    finite = np.isfinite(dataset.instances.boxes).all(axis=1)
    return ~dataset.instances.crowd & finite & _has_area(dataset)


def check_dataset(dataset: Dataset, *, training: bool = True) -> list[Problem]:
    """Check what can be checked without segmentations and images; errors come first."""
    faults = box_faults(dataset)
    found = [
        *_check_records(dataset),
        *_check_annotations(dataset, faults, training),
        *_check_usable(dataset, faults, training),
        *_check_federated(dataset),
        *check_listed_twice(dataset),
    ]
    if training:
        used = dataset.instances.category_index[usable_instances(dataset)]
        unused = np.setdiff1d(range(len(dataset.categories)), used)
        name = partial(class_name, dataset)
        text = "class[ has|es have] no training instance and [is|are] in no phase"
        found += problems_of(unused, name, "warning", "class-without-instances", text)
    order: tuple[Severity, ...] = ("error", "warning", "info")
    return sorted(found, key=lambda problem: order.index(problem.severity))


def _check_records(dataset: Dataset) -> Iterator[Problem]:
    images, categories, ids = dataset.images, dataset.categories, dataset.images.ids
    lists = ("images", images), ("annotations", dataset.instances), ("categories", categories)
    for kind, records in lists:
        if not len(records):
            yield Problem("error", f"no-{kind}", f'the list "{kind}" is empty')
    many = f"more than {MAX_PIXELS / 1e6:,.0f} million pixels by the stated size"
    text = f"image[ has|s have] {many}, which is the maximum"
    hint = "state the size of every image in pixels; cut larger ones into tiles"

    def sized(row: int) -> str:
        return f"image {ids[row]}: {images.widths[row]} wide and {images.heights[row]} high"

    huge = huge_images(dataset, MAX_PIXELS + 1)
    yield from problems_of(huge, sized, "error", "huge-image", text, hint)
    numbers_of: dict[str, list[str]] = defaultdict(list)
    for number, name in zip(categories.ids.tolist(), categories.names, strict=True):
        numbers_of[name].append(str(number))
    again = [f'"{name}": categories {", ".join(n)}' for name, n in numbers_of.items() if len(n) > 1]
    text = "class name[ is|s are] used more than once"
    yield from problems_of(again, str, "warning", "duplicate-class-name", text)
    nameless = [number for number, both in zip(ids, images.names, strict=True) if not any(both)]
    text = "image[ has|s have] neither file_name nor coco_url"
    yield from problems_of(nameless, _image_name, "error", "nameless-image", text)
    letters = categories.frequencies if dataset.federated else ()
    unknown = [row for row, letter in enumerate(letters) if not letter]
    text = "class[ has|es have] no frequency r, c or f and [is|are] in none of APr, APc and APf"
    yield from problems_of(unknown, partial(class_name, dataset), "warning", "no-frequency", text)


def box_faults(dataset: Dataset) -> BoxFaults:
    """Rows of the annotations, crowds left out, whose box or area is faulty, by kind."""
    boxes, single = dataset.instances.boxes, ~dataset.instances.crowd
    with np.errstate(invalid="ignore", over="ignore"):
        ends = boxes[:, :2] + boxes[:, 2:]
    finite = np.isfinite(boxes).all(axis=1)
    positive = (boxes[:, 2:] > 0).all(axis=1)
    inside = _has_area(dataset)
    over = (boxes[:, :2] < -_OUTSIDE) | (ends > image_sizes(dataset) + _OUTSIDE)
    # COCO's own training file has a few such boxes, which are left out. In an LVIS file they would
    # change the counts that the class order depends on.
    thin: Severity = "error" if dataset.federated else "warning"
    masks: dict[str, tuple[Severity, Any]] = {
        "no-box": ("error", ~finite),
        "box-no-area": (thin, finite & ~positive),
        "box-outside": ("error", finite & positive & ~inside),
        "box-over-border": ("warning", finite & inside & over.any(axis=1)),
        "area-zero": ("warning", finite & inside & ~(dataset.instances.areas > 0)),
    }
    return {
        kind: (severity, rows)
        for kind, (severity, mask) in masks.items()
        if (rows := np.flatnonzero(single & mask).tolist())
    }


def _check_annotations(dataset: Dataset, faults: BoxFaults, training: bool) -> Iterator[Problem]:
    name = partial(annotation_name, dataset)
    for kind, (severity, rows) in faults.items():
        hint = SKIP_HINT if severity == "error" else None
        text = f"annotation[|s] with {FAULT_WORDS[kind]}"
        yield from problems_of(rows, name, severity, kind, text, hint)
    crowd = dataset.instances.crowd.copy()
    for kind, skipped in dataset.skipped.items():
        crowd[list(skipped)] = False
        text = f"annotation[|s] with {FAULT_WORDS[kind]}, left out"
        yield from problems_of(skipped, name, "warning", kind, text)
    text = f"annotation[|s] with iscrowd, {'left out of training' if training else 'not scored'}"
    yield from problems_of(np.flatnonzero(crowd), name, "info", "crowd", text)
    for (what, source), count in dataset.computed.items():
        have = count_of(count, "annotation has", "annotations have")
        message = f"{have} no {what}, which is computed from the {source}"
        yield Problem("info", f"{what}-from-{source}", message, count)


def _check_usable(dataset: Dataset, faults: BoxFaults, training: bool) -> Iterator[Problem]:
    instances, count = dataset.instances, len(dataset.instances)
    usable = usable_instances(dataset)
    whole, ignored = int(usable.sum()), int(instances.ignore[usable].sum())
    if not training and whole and not (usable & instances.scored).any():
        kinds = (ignored, "marked by ignore"), (whole - ignored, "without area")
        said = " and ".join(f"{number:,} {what}" for number, what in kinds if number)
        message = f"no annotation counts in AP: of {count_of(whole, 'object', 'objects')} {said}"
        hint = "set ignore to 0 and area to the pixels of the mask, or leave area out"
        yield Problem("error", "nothing-to-score", message, whole, hint=hint)
    if not count or whole or any(severity == "error" for severity, _ in faults.values()):
        return  # faulty boxes are errors of their own
    what = "no annotation marks one object inside its image"
    kind, hint = (
        "no-usable-annotation",
        "give a mask, and a box in pixels: left, top, width, height",
    )
    if instances.crowd.all() and not dataset.skipped:
        kind, hint = "only-crowds", CROWD_HINT
        what = f"every annotation is a crowd (iscrowd is 1 in all {count:,})"
    message = f"{what}, so that there is no class to learn or to score"
    yield Problem("error", kind, message, count, hint=hint)


def _check_federated(dataset: Dataset) -> Iterator[Problem]:
    images, categories, instances = dataset.images, dataset.categories, dataset.instances
    if not dataset.federated:
        text = "no image has neg_category_ids: every image is taken to be labelled exhaustively"
        yield Problem("info", "not-federated", text)
        return
    lists = "no neg_category_ids or not_exhaustive_category_ids"
    text = f"image[ has|s have] {lists}, which others have: the lists count as empty"
    yield from problems_of(dataset.unlisted, _image_name, "warning", "no-federated-lists", text)
    image_rows = np.repeat(np.arange(len(images)), list(map(len, images.neg_category_ids)))
    numbers = list(chain.from_iterable(images.neg_category_ids))
    row_of = {number: row for row, number in enumerate(categories.ids.tolist())}
    class_rows = np.array([row_of.get(number, -1) for number in numbers], dtype=np.int64)
    yield from problems_of(
        np.flatnonzero(class_rows < 0),
        lambda at: f"image {images.ids[image_rows[at]]}: category {numbers[at]}",
        "warning",
        "unknown-negative",
        "entr[y|ies] of neg_category_ids name[s|] no class of the file",
    )
    width = max(len(categories), 1)
    both = np.intersect1d(
        instances.image_index.astype(np.int64) * width + instances.category_index,
        (image_rows * width + class_rows)[class_rows >= 0],
    )
    yield from problems_of(
        both,
        lambda pair: f"image {images.ids[pair // width]}: {class_name(dataset, pair % width)}",
        "warning",
        "negative-annotated",
        "class[ is|es are] said to be absent from an image that has annotations of it",
    )


def _has_area(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Tell which boxes cover some of their image, shape (M,)."""
    boxes = dataset.instances.boxes
    with np.errstate(invalid="ignore", over="ignore"):  # NaN compares as False
        begins = np.maximum(boxes[:, :2], 0)
        ends = np.minimum(boxes[:, :2] + boxes[:, 2:], image_sizes(dataset))
    # Thinner ones vanish in single precision, and their logarithm with them.
    inside: npt.NDArray[np.bool_] = np.logical_and.reduce(
        (ends - begins > _THINNEST) & (boxes[:, 2:] > _THINNEST), axis=1
    )
    return inside


def _image_name(number: int) -> str:
    return f"image {number}"


def image_sizes(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Width and height of each annotation's image, shape (M, 2)."""
    return dataset.images.sizes[dataset.instances.image_index]


def annotation_name(dataset: Dataset, row: int, *, with_box: bool = True) -> str:
    """Say which annotation a row is, and its box, if it has one."""
    instances, box = dataset.instances, dataset.instances.boxes[row]
    shown = f": {box.tolist()}" if with_box and np.isfinite(box).all() else ""
    image = dataset.images.ids[instances.image_index[row]]
    return f"annotation {instances.ids[row]} of image {image}{shown}"


def class_name(dataset: Dataset, row: int) -> str:
    """Say which class a row is."""
    return f"category {dataset.categories.ids[row]} ({dataset.categories.names[row]})"
