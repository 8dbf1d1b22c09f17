"""Objects that are annotated twice, and objects that no detection can match.

Letters: M annotations. Boxes are left, top, width and height in pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import Problem, count_of, examples
from lst_cli.annotations.read import Dataset

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

UNMATCHABLE = {
    "no-pixel": "a mask without a pixel",
    "mostly-outside": "a box that lies more outside the image than inside",
    "below-a-pixel": "a box thinner than a pixel",
    "annotated-twice": "the same object as another",
}
"""Why no detection, or none that non-maximum suppression leaves, matches an annotation."""

MOST_DETECTIONS = 300
"""Detections an image that count in LVIS."""

_SAME = 0.5  # pixels by which the boxes of one object may differ
_SAME_AREA = 0.02  # share by which their areas may


def find_doubles(groups: IntArray, boxes: FloatArray, areas: FloatArray) -> dict[int, int]:
    """Find annotations that repeat another.

    Args:
        groups: Those of different groups never repeat each other, shape (M,).
        boxes: Shape (M, 4).
        areas: Shape (M,).

    Returns:
        The row of each that repeats an earlier one, and the row of that.
    """
    order = np.lexsort((boxes[:, 0], groups))
    found: dict[int, int] = {}
    first, step = np.arange(len(order)), 0
    while len(first):
        step += 1
        first = first[first + step < len(order)]
        one, other = order[first], order[first + step]
        near = (groups[one] == groups[other]) & (boxes[other, 0] - boxes[one, 0] <= _SAME)
        first, one, other = first[near], one[near], other[near]
        with np.errstate(invalid="ignore"):
            same = (np.abs(boxes[one] - boxes[other]) <= _SAME).all(axis=1)
            apart = np.abs(areas[one] - areas[other])
            same &= ~(apart > _SAME_AREA * np.maximum(areas[one], areas[other]))
        for pair in np.sort(np.stack((one[same], other[same]), axis=1), axis=1).tolist():
            found[pair[1]] = min(found.get(pair[1], pair[0]), pair[0])
    return dict(sorted(found.items()))


def find_unmatchable(
    pairs: IntArray,
    boxes: FloatArray,
    areas: FloatArray,
    sizes: FloatArray,
    empty: npt.NDArray[np.bool_],
) -> dict[str, IntArray]:
    """Find the annotations that count in AP and that no detection matches.

    Args:
        pairs: One number for each pair of image and class, shape (M,).
        boxes: Shape (M, 4).
        areas: Shape (M,); without one an annotation does not count.
        sizes: Width and height of each one's image, shape (M, 2).
        empty: Whose mask has no pixel, shape (M,).

    Returns:
        Rows by kind, see `UNMATCHABLE`; each row under the first kind that it is of.
    """
    low = np.clip(boxes[:, :2], 0, sizes)
    inside = (np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes) - low).clip(0).prod(axis=1)
    twice = np.zeros(len(boxes), dtype=np.bool_)
    twice[list(find_doubles(pairs, boxes, areas))] = True
    kinds = {
        "no-pixel": empty,
        "mostly-outside": ~(inside > 0.5 * boxes[:, 2:].prod(axis=1)),
        "below-a-pixel": (boxes[:, 2:] < 1).any(axis=1),
        "annotated-twice": twice,
    }
    left = areas > 0
    found = {}
    for kind, mask in kinds.items():
        rows = np.flatnonzero(left & mask)
        left &= ~mask
        if len(rows):
            found[kind] = rows
    return found


def tell_unmatchable(found: dict[str, IntArray], total: int) -> str:
    """A sentence about annotations that no detection matches.

    Example:
        >>> tell_unmatchable({"no-pixel": np.array([3, 4])}, 1600)
        '2 of 1,600 annotations count as missed whatever is detected: 2 with a mask without a pixel'
    """
    count = sum(len(rows) for rows in found.values())
    kinds = ", ".join(f"{len(rows):,} with {UNMATCHABLE[kind]}" for kind, rows in found.items())
    return (
        f"{count:,} of {count_of(total, 'annotation', 'annotations')} "
        f"{'counts' if count == 1 else 'count'} as missed whatever is detected: {kinds}"
    )


def find_surplus(image: IntArray, most: int) -> tuple[int, int]:
    """Objects beyond the detections an image that count.

    Args:
        image: Of each object, shape (M,).
        most: Detections an image.

    Returns:
        How many objects are too many, in how many images.
    """
    over = np.maximum(np.bincount(image) - most, 0) if len(image) else image
    return int(over.sum()), int((over > 0).sum())


def tell_surplus(surplus: tuple[int, int], most: int) -> str:
    """A sentence about them.

    Example:
        >>> tell_surplus((112, 3), 300)
        '112 objects in 3 images are missed whatever is detected: 300 detections an image count'
    """
    return (
        f"{count_of(surplus[0], 'object', 'objects')} in {count_of(surplus[1], 'image', 'images')} "
        f"{'is' if surplus[0] == 1 else 'are'} missed whatever is detected: {most:,} detections an "
        "image count"
    )


def check_unmatchable(dataset: Dataset) -> list[Problem]:
    """Find objects of a validation file that no detection matches, as far as boxes tell."""
    instances, images = dataset.instances, dataset.images
    rows = np.flatnonzero(~instances.crowd & np.isfinite(instances.boxes).all(axis=1))
    image = instances.image_index[rows].astype(np.int64)
    found = find_unmatchable(
        np.arange(len(rows)),  # what is annotated twice is a problem of its own
        instances.boxes[rows],
        instances.areas[rows],
        np.stack((images.widths, images.heights), axis=1)[image].astype(np.float64),
        np.zeros(len(rows), dtype=np.bool_),
    )
    problems = []
    if found:
        places = [place for kind in found.values() for place in kind.tolist()]
        problems.append(
            Problem(
                "warning",
                "unmatchable",
                tell_unmatchable(found, len(rows)),
                len(places),
                examples(
                    f"annotation {instances.ids[rows[place]]} of image {images.ids[image[place]]}: "
                    f"{instances.boxes[rows[place]].tolist()}"
                    for place in places
                ),
            )
        )
    if (surplus := find_surplus(image, MOST_DETECTIONS))[0]:
        message = tell_surplus(surplus, MOST_DETECTIONS)
        problems.append(Problem("info", "many-objects", message, surplus[0]))
    return problems


def check_unlearned(train: Dataset, val: Dataset) -> list[Problem]:
    """Find objects of classes that have no training instance."""
    learned = train.categories.ids[np.unique(train.instances.category_index)]
    category_ids = val.categories.ids[val.instances.category_index[~val.instances.crowd]]
    unknown = category_ids[~np.isin(category_ids, learned)]
    if not len(unknown):
        return []
    names = dict(zip(val.categories.ids.tolist(), val.categories.names, strict=True))
    ids = np.unique(unknown)
    return [
        Problem(
            "info",
            "class-not-learned",
            f"{count_of(len(unknown), 'validation object', 'validation objects')} of "
            f"{count_of(len(ids), 'class', 'classes')} without a training instance are in no phase "
            "and not evaluated",
            len(unknown),
            examples(f"category {one} ({names[one]})" for one in ids.tolist()),
        )
    ]


def check_doubles(dataset: Dataset) -> list[Problem]:
    """Find objects that are annotated twice, by one class or by two."""
    instances = dataset.instances
    rows = np.flatnonzero(~instances.crowd & np.isfinite(instances.boxes).all(axis=1))
    image = instances.image_index[rows].astype(np.int64)
    pair = image * max(len(dataset.categories), 1) + instances.category_index[rows]
    boxes, areas = instances.boxes[rows], instances.areas[rows]
    twice = find_doubles(pair, boxes, areas)
    classes = {
        row: first
        for row, first in find_doubles(image, boxes, areas).items()
        if pair[row] != pair[first] and row not in twice
    }

    def name(row: int, first: int) -> str:
        one, other = rows[row], rows[first]
        return (
            f"annotation {instances.ids[one]} of image {dataset.images.ids[image[row]]} is "
            f"annotation {instances.ids[other]}: {instances.boxes[one].tolist()}"
        )

    found = []
    if twice:
        found.append(
            Problem(
                "warning",
                "annotated-twice",
                f"{count_of(len(twice), 'annotation repeats', 'annotations repeat')} another of "
                "the same image, class and box: it counts twice in training, and in evaluation "
                "the second is missed",
                len(twice),
                examples(name(*item) for item in twice.items()),
                "remove the second of each",
            )
        )
    if classes:
        found.append(
            Problem(
                "info",
                "two-classes",
                f"{count_of(len(classes), 'annotation has', 'annotations have')} the box and area "
                "of another of the same image, but another class",
                len(classes),
                examples(name(*item) for item in classes.items()),
            )
        )
    return found
