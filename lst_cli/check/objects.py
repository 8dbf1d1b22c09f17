"""Objects that are annotated twice, and objects that no detection can match.

There are M annotations. Boxes are left, top, width and height in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import Problem, count_of, examples, problems_of
from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import annotation_name, image_sizes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

UNMATCHABLE = {
    "no-pixel": "a mask without a pixel",
    "below-a-pixel": "a box thinner than a pixel",
    "mostly-outside": "a box that lies more outside the image than inside",
    "annotated-twice": "the same object as another",
}
"""Why no detection, or none that non-maximum suppression leaves, matches an annotation."""

MOST_DETECTIONS = 300
"""Detections an image that count in LVIS."""


def find_doubles(groups: IntArray, boxes: FloatArray) -> dict[int, int]:
    """Rows of annotations that repeat an earlier one of their group, and the row of that.

    Groups have shape (M,), boxes (M, 4); those thinner than a pixel repeat none.
    """
    rows = np.flatnonzero((boxes[:, 2:] >= 1).all(axis=1))
    order = rows[np.lexsort((boxes[rows, 0], groups[rows]))]
    # A fiftieth of a side, or a pixel; in small boxes a tenth, or half a pixel.
    sides = np.tile(boxes[:, 2:], 2)
    apart = np.maximum(np.clip(sides / 10, 0.5, 1), sides / 50)
    found: dict[int, int] = {}
    first, step = np.arange(len(order)), 0
    while len(first):
        step += 1
        first = first[first + step < len(order)]
        one, other = order[first], order[first + step]
        near = groups[one] == groups[other]
        near &= boxes[other, 0] - boxes[one, 0] <= apart[one, 0]
        first, one, other = first[near], one[near], other[near]
        same = (np.abs(boxes[one] - boxes[other]) <= apart[one]).all(axis=1)
        for pair in np.sort(np.stack((one[same], other[same]), axis=1), axis=1).tolist():
            found[pair[1]] = min(found.get(pair[1], pair[0]), pair[0])
    return dict(sorted(found.items()))


def find_unmatchable(
    pairs: IntArray, boxes: FloatArray, sizes: FloatArray, empty: npt.NDArray[np.bool_]
) -> dict[str, IntArray]:
    """Find annotations that no detection matches, of those that count in AP.

    `pairs` numbers the pairs of image and class, shape (M,); `sizes` are those of each one's image,
    shape (M, 2); the masks of the `empty` have no pixel, shape (M,). Returns rows by kind, see
    `UNMATCHABLE`, each under the first kind that it is of.
    """
    low = np.clip(boxes[:, :2], 0, sizes)
    inside = (np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes) - low).clip(0).prod(axis=1)
    kinds = {
        "no-pixel": empty,
        "below-a-pixel": (boxes[:, 2:] < 1).any(axis=1),
        "mostly-outside": ~(inside > 0.5 * boxes[:, 2:].prod(axis=1)),
        "annotated-twice": np.isin(np.arange(len(boxes)), list(find_doubles(pairs, boxes))),
    }
    first = np.argmax([*kinds.values(), np.ones(len(boxes), dtype=np.bool_)], axis=0)
    found = {kind: np.flatnonzero(first == place) for place, kind in enumerate(kinds)}
    return {kind: rows for kind, rows in found.items() if len(rows)}


def tell_unmatchable(found: dict[str, IntArray], total: int) -> str:
    """A sentence about annotations that no detection matches, out of a total.

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


def count_surplus(image: IntArray, most: int) -> tuple[int, str]:
    """Objects beyond the `most` detections an image that count, and a sentence about them.

    Example:
        >>> count_surplus(np.repeat([0, 1, 2], [3, 1, 4]), 2)
        (3, '3 objects in 2 images are missed whatever is detected: 2 detections an image count')
    """
    over = np.bincount(image) - most
    count, images = int(over[over > 0].sum()), int((over > 0).sum())
    return count, (
        f"{count_of(count, 'object', 'objects')} in {count_of(images, 'image', 'images')} "
        f"{'is' if count == 1 else 'are'} missed whatever is detected: {most:,} detections an "
        "image count"
    )


def check_objects(
    dataset: Dataset, *, training: bool, no_pixel: Sequence[int] = ()
) -> list[Problem]:
    """Find objects that are annotated twice and, in a validation file, that nothing can match.

    The boxes must be those of the masks; `no_pixel` are rows of the instances whose masks cover
    no pixel.
    """
    instances = dataset.instances
    counts = ~instances.crowd if training else instances.scored
    rows = np.flatnonzero(counts & np.isfinite(instances.boxes).all(axis=1))
    boxes, image = instances.boxes[rows], instances.image_index[rows].astype(np.int64)
    pairs = image * max(len(dataset.categories), 1) + instances.category_index[rows]
    twice = find_doubles(pairs, boxes)
    classes = {
        row: first
        for row, first in find_doubles(image, boxes).items()
        if pairs[row] != pairs[first] and row not in twice
    }

    def name(row: int) -> str:
        number, box = annotation_name(dataset, rows[row]).split(": ")
        first = twice.get(row, classes.get(row))
        again = "" if first is None else f" is annotation {instances.ids[rows[first]]}"
        return f"{number}{again}: {box}"

    found: list[Problem] = []
    if training:
        text = (
            "annotation[ repeats|s repeat] another of the same image, class and box, and "
            "count[s|] again in training"
        )
        fix = "remove the second of each"
        found += problems_of(twice, name, "warning", "annotated-twice", text, fix)
    else:
        sizes = image_sizes(dataset)[rows].astype(np.float64)
        lost = find_unmatchable(pairs, boxes, sizes, np.isin(rows, list(no_pixel)))
        if lost:
            places = np.concatenate([*lost.values()]).tolist()
            message = tell_unmatchable(lost, len(rows))
            hint = "remove the second of each that is annotated twice" if twice else None
            some = examples(map(name, places))
            found.append(Problem("warning", "unmatchable", message, len(places), some, hint))
    text = "annotation[ has|s have] the box of another of the same image, but another class"
    found += problems_of(classes, name, "info", "two-classes", text)
    surplus, message = count_surplus(image, MOST_DETECTIONS)
    if surplus and not training:
        found.append(Problem("info", "many-objects", message, surplus))
    return found
