"""Which training images to set aside for choosing settings on.

Settings that are chosen on the validation set make every number measured there look better. A
random part of the training set has too few images of rare classes to measure them. So rare classes
are made: some of the less rare lose most of their images to the part set aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lst_cli.phases import HELD_OUT_SHARE, RARE_BELOW
from lst_cli.phases.replay import Occurrences
from lst_cli.phases.sampling import IntArray

BoolArray = npt.NDArray[np.bool_]

_DEMOTED_UP_TO = 4  # a class of up to so many times the images of a rare one may be made rare


@dataclass(frozen=True)
class HoldOutRule:
    """Which images are set aside."""

    rare: int = RARE_BELOW  # a class in fewer images is rare
    share: float = HELD_OUT_SHARE  # of the images, to set aside
    seed: int = 0


@dataclass(frozen=True, eq=False)
class HoldOut:
    """A training set of N images cut in two."""

    held: BoolArray  # whether each image is set aside, shape (N,)
    demoted: IntArray  # labels of the classes that were made rare, ascending


def hold_out(occurrences: Occurrences, images: int, rule: HoldOutRule) -> HoldOut:
    """Cut images from a training set so that rare classes can be judged.

    Of the classes in `rare` to 4 `rare` images every second one, from the most frequent on, keeps
    as many images as some class that is rare already; its other images are set aside. Then random
    images are, up to a share of all, as long as no further class becomes rare.

    An image of a class that is rare already stays in training: such classes lose nothing, and are
    judged nowhere. So a class that is to become rare may keep more images than it should; and one
    that often stands beside it may become rare as well. No class loses all of its images. The
    share is exceeded if the classes that become rare need it.
    """
    rare = rule.rare
    rng = np.random.default_rng([rule.seed, 8])
    counts = occurrences.image_counts()  # (K,)
    tail = np.flatnonzero((counts > 0) & (counts < rare))
    middle = np.flatnonzero((counts >= rare) & (counts < _DEMOTED_UP_TO * rare))
    chosen = np.sort(middle[np.argsort(-counts[middle], kind="stable")][::2])
    # Without any rare class there is no example to follow: one image, two, and so on.
    upwards = np.arange(1, max(min(rare, images + 1), 2))
    examples = rng.permutation(counts[tail] if len(tail) else upwards)

    stays = np.zeros(images, dtype=bool)
    for label in tail:
        stays[occurrences.images[label]] = True
    wanted = np.zeros(images, dtype=bool)
    for place, label in enumerate(chosen):
        mine = rng.permutation(occurrences.images[label])
        # Those that stay anyway are kept first.
        mine = mine[np.argsort(~stays[mine], kind="stable")]
        keep = int(examples[place % len(examples)])
        stays[mine[:keep]] = True
        wanted[mine[keep:]] = True

    held = np.zeros(images, dtype=bool)
    left = counts.copy()  # images that each class keeps
    rows = np.concatenate([*occurrences.images, np.zeros(0, dtype=np.int64)])
    by_image = np.argsort(rows, kind="stable")
    labels_of = np.split(
        np.repeat(np.arange(len(counts)), counts)[by_image],
        np.searchsorted(rows[by_image], np.arange(1, images)),
    )

    def set_aside(rows: IntArray, at_least: int, at_most: int) -> None:
        """Skip an image if one of its classes would keep less than `at_least` images."""
        for row in rows.tolist():
            if at_most > 0 and (left[labels_of[row]] > at_least).all():
                held[row] = True
                left[labels_of[row]] -= 1
                at_most -= 1

    set_aside(np.flatnonzero(wanted & ~stays), at_least=1, at_most=images)
    others = rng.permutation(np.flatnonzero(~held & ~stays))
    set_aside(others, at_least=rare, at_most=round(rule.share * images) - int(held.sum()))
    return HoldOut(held, np.flatnonzero((counts >= rare) & (left < rare)))
