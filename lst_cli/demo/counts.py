"""How often each class of the demo set occurs, and in which image."""

from __future__ import annotations

import math

import numpy as np

IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

# Above 1, the middle of the curve is fuller and its end steeper than a straight line in
# log scale, as in LVIS; two ranks less than all reach 1, so that the last three share it.
_CURVATURE = 1.15
_FLAT_END = 2


def long_tail_counts(classes: int, head: int) -> list[int]:
    """Give every rank its number of training instances, from `head` down to one.

    The logarithm of the count falls along the ranks with a slight bend, which is the
    shape of LVIS's sorted counts in small. At least the last three ranks have one instance.

    Args:
        classes: Number of ranks, at least 4.
        head: Instances of the most frequent class, at least 2.

    Returns:
        One count per rank, never rising.

    Example:
        >>> long_tail_counts(8, 100)
        [100, 49, 20, 8, 3, 1, 1, 1]
    """
    last = classes - 1 - _FLAT_END
    position = np.minimum(np.arange(classes) / last, 1.0)
    counts = np.rint(np.exp(math.log(head) * (1.0 - position**_CURVATURE)))
    return [int(count) for count in counts]


def deal_instances(counts: list[int], per_image: float, rng: np.random.Generator) -> list[IntArray]:
    """Spread instances over images at random, so that head and tail classes meet.

    Args:
        counts: Instances per rank.
        per_image: Mean number of instances of an image, at least 1.
        rng: Source of chance.

    Returns:
        One array of ranks per image, the lowest object first; no image is empty.
    """
    ranks = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    if ranks.size == 0:
        return []
    images = max(1, math.ceil(ranks.size / per_image))
    # Sizes are one to about twice the mean, without a lucky image of fifteen objects:
    # each image has one object for sure and at most 2 * mean - 1 in all.
    slots = np.repeat(np.arange(images), max(1, math.ceil(2 * per_image) - 2))
    extra = rng.permutation(slots)[: ranks.size - images]
    sizes = 1 + np.bincount(extra, minlength=images)
    return np.split(ranks, np.cumsum(sizes)[:-1])
