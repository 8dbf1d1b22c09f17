"""Which training images to set aside for choosing settings on.

Settings that are chosen on the validation set flatter every number measured there. A random part
of the training set does not help: of a class seen twice, nothing is left to judge it by. So rare
classes are made: some of the less rare lose most of their images to the part set aside, where
there are then enough of them to judge.
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
    as many images as some class that is rare already; the others are set aside. Then random
    images follow until a share of all is, as long as no further class becomes rare.

    An image of a class that is rare already stays in training: such classes lose nothing, and are
    judged nowhere. So a class that is to become rare may keep more images than it should, or stay
    less rare; and one that often stands beside it may become rare as well. No class loses all of
    its images. More than `share` of the images are set aside if the classes that become rare need
    it.
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

    cut = _Cut(occurrences, images)
    cut.set_aside(np.flatnonzero(wanted & ~stays), at_least=1)
    more = round(rule.share * images) - int(cut.held.sum())
    if more > 0:
        others = rng.permutation(np.flatnonzero(~cut.held & ~stays))
        cut.set_aside(others, at_least=rare, at_most=more)
    return HoldOut(cut.held, np.flatnonzero((counts >= rare) & (cut.left < rare)))


class _Cut:
    """Which images are set aside so far, and how many that leaves of each class."""

    def __init__(self, occurrences: Occurrences, images: int) -> None:
        self.held = np.zeros(images, dtype=bool)
        self.left = occurrences.image_counts()  # (K,)
        rows = np.concatenate([*occurrences.images, np.zeros(0, dtype=np.int64)])
        by_image = np.argsort(rows, kind="stable")
        # The labels of an image are those between its border and the next one's.
        self._labels = np.repeat(np.arange(len(self.left)), self.left)[by_image]
        self._borders = np.searchsorted(rows[by_image], np.arange(images + 1)).tolist()

    def set_aside(self, rows: IntArray, *, at_least: int, at_most: int | None = None) -> None:
        """Set images aside, in the order given, and `at_most` so many.

        An image is skipped if one of its classes would keep less than `at_least` images.
        """
        done = 0
        for row in rows.tolist():
            if done == at_most:
                break
            labels = self._labels[self._borders[row] : self._borders[row + 1]]
            if (self.left[labels] > at_least).all():
                self.held[row] = True
                self.left[labels] -= 1
                done += 1
