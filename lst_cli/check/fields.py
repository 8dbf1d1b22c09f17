"""What an annotation file that can be read may still have wrong with it.

`lst_cli.annotations.read.read_dataset` refuses what makes a file meaningless. Here is
what leaves a meaning: it is counted and shown, and `usable_instances` says which
annotations training may see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import SKIP_HINT, Problem, Severity, count_of, examples
from lst_cli.annotations.read import Dataset, huge_images
from lst_cli.annotations.segmentations import FAULTS
from lst_cli.check.image_overlap import check_listed_twice
from lst_cli.check.images import check_images
from lst_cli.check.masks import check_segmentations, find_segmentation_faults
from lst_cli.images.decode import MAX_PIXELS

__all__ = [
    "Problem",
    "box_faults",
    "check_dataset",
    "check_images",
    "check_segmentations",
    "find_segmentation_faults",
    "usable_instances",
    "words_for",
]

CROWD_HINT = (
    "if each marks one object (the brush of CVAT writes 1), set iscrowd to 0 in all of them"
)
"""How annotations of single objects that are marked as crowds are corrected."""

_THINNEST = 1e-3  # pixels; a side as thin as this is no side
_OUTSIDE = 1.0  # pixels by which rounding may push a box over the border
_BOX_FAULTS: dict[Any, str] = {
    "no-box": "neither a box nor a mask to take it from",
    "box-no-area": "a box of no area",
    "box-outside": "a box that has no area inside the image",
    "box-over-border": "a box that reaches out of the image",
    "area-zero": "a box but an area of 0, which evaluation leaves out",
}


def usable_instances(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Tell which annotations count: those that mark one object somewhere in the image.

    Left out are crowds, which stand for several objects; boxes with a number
    that is not finite; and boxes without area, or without any inside the image.
    The class order, the counts, replay and training all use this one mask.
    (LVIS counts all its annotations. It has no crowds, and is not known to have
    boxes without area, so that for it both counts agree.)

    Args:
        dataset: A file with M annotations.

    Returns:
        Boolean mask, shape (M,).
    """
    instances = dataset.instances
    finite = np.isfinite(instances.boxes).all(axis=1)
    return ~instances.crowd & finite & _has_area(dataset)


def check_dataset(dataset: Dataset, *, training: bool = True) -> list[Problem]:
    """Check what can be checked without segmentations and images.

    Args:
        dataset: The file.
        training: Whether classes are learned from it. If so, classes without
            instances are worth a warning; in a validation file they are normal.

    Returns:
        The problems, errors first; empty if there are none.
    """
    found = [
        *_check_empty(dataset),
        *_check_images(dataset),
        *_check_names(dataset),
        *_check_boxes(dataset, training),
        *_check_usable(dataset, training),
        *_check_federated(dataset),
        *check_listed_twice(dataset),
        *(_check_unused_classes(dataset) if training else ()),
    ]
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda problem: order[problem.severity])


def _check_empty(dataset: Dataset) -> Iterator[Problem]:
    for kind, length in (
        ("images", len(dataset.images)),
        ("annotations", len(dataset.instances)),
        ("categories", len(dataset.categories)),
    ):
        if not length:
            yield Problem("error", f"no-{kind}", f'the list "{kind}" is empty')


def _check_images(dataset: Dataset) -> Iterator[Problem]:
    images = dataset.images
    huge = huge_images(dataset, MAX_PIXELS + 1)
    if len(huge):
        yield Problem(
            "error",
            "huge-image",
            f"{count_of(len(huge), 'image is', 'images are')} said to have more than "
            f"{MAX_PIXELS / 1e6:,.0f} million pixels, the most that are read",
            len(huge),
            examples(
                f"image {images.ids[row]}: {images.widths[row]} wide and {images.heights[row]} high"
                for row in huge
            ),
            "state the size of every image in pixels; cut larger ones into tiles",
        )


def _check_names(dataset: Dataset) -> Iterator[Problem]:
    categories = dataset.categories
    ids_of: dict[str, list[int]] = defaultdict(list)
    for number, name in zip(categories.ids.tolist(), categories.names, strict=True):
        ids_of[name].append(number)
    twice = {name: ids for name, ids in ids_of.items() if len(ids) > 1}
    if twice:
        yield Problem(
            "warning",
            "duplicate-class-name",
            f"{count_of(len(twice), 'class name is', 'class names are')} used more than once",
            len(twice),
            examples(
                f'"{name}": categories {", ".join(map(str, ids))}' for name, ids in twice.items()
            ),
        )
    images = dataset.images
    nameless = [
        row
        for row, names in enumerate(zip(images.file_names, images.coco_urls, strict=True))
        if not any(names)
    ]
    if nameless:
        yield Problem(
            "error",
            "nameless-image",
            f"{count_of(len(nameless), 'image has', 'images have')} neither file_name nor coco_url",
            len(nameless),
            examples(f"image {images.ids[row]}" for row in nameless),
        )
    odd = [row for row, letter in enumerate(categories.frequencies) if not letter]
    if dataset.federated and odd:
        yield Problem(
            "warning",
            "no-frequency",
            f"{count_of(len(odd), 'class has', 'classes have')} no frequency r, c or f and "
            f"{'is' if len(odd) == 1 else 'are'} in none of APr, APc and APf",
            len(odd),
            _class_examples(dataset, odd),
        )


def box_faults(dataset: Dataset) -> dict[str, tuple[Severity, list[int]]]:
    """Rows of the annotations, crowds left out, whose box or area is faulty, by kind."""
    instances, images = dataset.instances, dataset.images
    boxes, single = instances.boxes, ~instances.crowd
    sizes = np.stack((images.widths, images.heights), axis=1)[instances.image_index]
    with np.errstate(invalid="ignore", over="ignore"):
        ends = boxes[:, :2] + boxes[:, 2:]
    finite = np.isfinite(boxes).all(axis=1)
    positive = (boxes[:, 2:] > 0).all(axis=1)
    inside = _has_area(dataset)
    over = (boxes[:, :2] < -_OUTSIDE).any(axis=1) | (ends > sizes + _OUTSIDE).any(axis=1)
    no_area = ~(instances.areas > 0)
    # COCO's own training file has a few such boxes: they are left out, and that is said. In an
    # LVIS file they would change the counts that the class order rests on.
    thin: Severity = "error" if dataset.federated else "warning"
    masks: dict[str, tuple[Severity, npt.NDArray[np.bool_]]] = {
        "no-box": ("error", single & ~finite),
        "box-no-area": (thin, single & finite & ~positive),
        "box-outside": ("error", single & finite & positive & ~inside),
        "box-over-border": ("warning", single & finite & inside & over),
        "area-zero": ("warning", single & finite & inside & no_area),
    }
    return {
        kind: (severity, np.flatnonzero(mask).tolist())
        for kind, (severity, mask) in masks.items()
        if mask.any()
    }


def _check_boxes(dataset: Dataset, training: bool) -> Iterator[Problem]:
    def problem(severity: Severity, kind: str, what: str, rows: Sequence[int]) -> Problem:
        return Problem(
            severity,
            kind,
            f"{count_of(len(rows), 'annotation', 'annotations')} with {what}",
            len(rows),
            examples(_annotation_name(dataset, row) for row in rows),
            SKIP_HINT if severity == "error" else None,
        )

    for kind, (severity, rows) in box_faults(dataset).items():
        yield problem(severity, kind, _BOX_FAULTS[kind], rows)
    crowd = dataset.instances.crowd.copy()
    for kind, skipped in dataset.skipped.items():
        crowd[list(skipped)] = False
        yield problem("warning", kind, f"{words_for(kind)}, left out", skipped)
    rows = np.flatnonzero(crowd).tolist()
    if rows:
        yield problem(
            "info",
            "crowd",
            f"iscrowd, {'left out of training' if training else 'not scored'}",
            rows,
        )
    for (what, source), count in dataset.computed.items():
        yield Problem(
            "info",
            f"{what}-from-{source}",
            f"{count_of(count, 'annotation has', 'annotations have')} no {what}, which is computed "
            f"from the {source}",
            count,
        )


def words_for(kind: str) -> str:
    """What an annotation of a kind of fault has, to follow "with".

    Example:
        >>> words_for("box-no-area"), words_for("no-segmentation")
        ('a box of no area', 'no segmentation')
    """
    return (_BOX_FAULTS | FAULTS)[kind]


def _check_usable(dataset: Dataset, training: bool) -> Iterator[Problem]:
    instances, count = dataset.instances, len(dataset.instances)
    faults = box_faults(dataset).values()
    usable = usable_instances(dataset)
    if not training and usable.any() and not (usable & instances.scored).any():
        ignored, whole = int(instances.ignore[usable].sum()), int(usable.sum())
        kinds = (ignored, "marked by ignore"), (whole - ignored, "without area")
        told = " and ".join(f"{count:,} {what}" for count, what in kinds if count)
        yield Problem(
            "error",
            "nothing-to-score",
            f"no annotation counts in AP: of {count_of(whole, 'object', 'objects')} {told}",
            whole,
            hint="set ignore to 0 and area to the pixels of the mask, or leave area out",
        )
    if not count or usable.any() or any(one == "error" for one, _ in faults):
        return  # faulty boxes are told by themselves
    if instances.crowd.all() and not dataset.skipped:
        yield Problem(
            "error",
            "only-crowds",
            f"every annotation is a crowd (iscrowd is 1 in all {count:,}), so that there is no "
            "class to learn or to score",
            count,
            hint=CROWD_HINT,
        )
    else:
        yield Problem(
            "error",
            "no-usable-annotation",
            "no annotation marks one object inside its image, so that there is no class to learn "
            "or to score",
            count,
            hint="give a mask, and a box in pixels: left, top, width, height",
        )


def _check_federated(dataset: Dataset) -> Iterator[Problem]:
    if not dataset.federated:
        yield Problem(
            "info",
            "not-federated",
            "no image has neg_category_ids: every image is taken to be labelled exhaustively",
        )
        return
    if dataset.unlisted:
        yield Problem(
            "warning",
            "no-federated-lists",
            f"{count_of(len(dataset.unlisted), 'image has', 'images have')} no neg_category_ids or "
            "not_exhaustive_category_ids, which others have: the lists count as empty",
            len(dataset.unlisted),
            examples(f"image {one}" for one in dataset.unlisted),
        )
    images, categories, instances = dataset.images, dataset.categories, dataset.instances
    lengths = [len(ids) for ids in images.neg_category_ids]
    image_rows = np.repeat(np.arange(len(images)), lengths)
    numbers = list(chain.from_iterable(images.neg_category_ids))
    row_of = {number: row for row, number in enumerate(categories.ids.tolist())}
    class_rows = np.fromiter(
        (row_of.get(number, -1) for number in numbers), dtype=np.int64, count=len(numbers)
    )
    unknown = np.flatnonzero(class_rows < 0)
    if len(unknown):
        yield Problem(
            "warning",
            "unknown-negative",
            f"{count_of(len(unknown), 'entry', 'entries')} of neg_category_ids "
            f"{'names' if len(unknown) == 1 else 'name'} no class of the file",
            len(unknown),
            examples(
                f"image {images.ids[image_rows[at]]}: category {numbers[at]}" for at in unknown
            ),
        )
    width = max(len(categories), 1)
    present = np.unique(instances.image_index.astype(np.int64) * width + instances.category_index)
    absent = np.unique((image_rows * width + class_rows)[class_rows >= 0])
    both = np.intersect1d(present, absent, assume_unique=True)
    if len(both):
        yield Problem(
            "warning",
            "negative-annotated",
            f"{count_of(len(both), 'class is', 'classes are')} said to be absent from an image "
            "that has annotations of it",
            len(both),
            examples(
                f"image {images.ids[pair // width]}: category {categories.ids[pair % width]} "
                f"({categories.names[pair % width]})"
                for pair in both
            ),
        )


def _check_unused_classes(dataset: Dataset) -> Iterator[Problem]:
    used = dataset.instances.category_index[usable_instances(dataset)]
    counts = np.bincount(used, minlength=len(dataset.categories))
    unused = np.flatnonzero(counts == 0)
    if len(unused):
        yield Problem(
            "warning",
            "class-without-instances",
            f"{count_of(len(unused), 'class has', 'classes have')} no training instance and "
            f"{'stays' if len(unused) == 1 else 'stay'} out of the phases",
            len(unused),
            _class_examples(dataset, unused),
        )


def _has_area(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Tell which boxes cover some of their image, shape (M,)."""
    instances, images = dataset.instances, dataset.images
    sizes = np.stack((images.widths, images.heights), axis=1)[instances.image_index]
    with np.errstate(invalid="ignore", over="ignore"):  # NaN compares as False
        begins = np.maximum(instances.boxes[:, :2], 0)
        ends = np.minimum(instances.boxes[:, :2] + instances.boxes[:, 2:], sizes)
    # Thinner ones vanish in single precision, and their logarithm with them.
    inside: npt.NDArray[np.bool_] = (ends - begins > _THINNEST) & (
        instances.boxes[:, 2:] > _THINNEST
    )
    return np.logical_and(inside[:, 0], inside[:, 1])


def _annotation_name(dataset: Dataset, row: int) -> str:
    instances = dataset.instances
    image, box = dataset.images.ids[instances.image_index[row]], instances.boxes[row]
    shown = f": {box.tolist()}" if np.isfinite(box).all() else ""
    return f"annotation {instances.ids[row]} of image {image}{shown}"


def _class_examples(dataset: Dataset, rows: Iterable[Any]) -> tuple[str, ...]:
    categories = dataset.categories
    return examples(f"category {categories.ids[row]} ({categories.names[row]})" for row in rows)
