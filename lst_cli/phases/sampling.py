"""Which images an epoch of joint training shows: three ways from the literature.

Every epoch is a function of the seed and its number alone, so that a run can continue anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lst_cli.settings.models import PasteClasses, Sampling

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_BASE = 0  # the phase, as part of a random generator's key


def repeat_factors(images: IntArray, images_of: Sequence[IntArray], threshold: float) -> FloatArray:
    """How often an epoch shows each image, in expectation (Gupta et al. 2019, appendix B.2).

    With f_c the share of images that hold class c: r(i) = max(1, max over the classes of image i
    of sqrt(threshold / f_c)). A class in more images than the threshold's share repeats nothing.
    The images ascend, and so do those of each class among them.

    Example:
        >>> rows = np.arange(4)
        >>> repeat_factors(rows, [rows, np.array([2])], threshold=1.0).tolist()
        [1.0, 1.0, 2.0, 1.0]
    """
    factors = np.ones(len(images), dtype=np.float64)
    for rows in images_of:
        if len(rows):
            factor = np.sqrt(threshold * len(images) / len(rows))
            places = np.searchsorted(images, rows)
            factors[places] = np.maximum(factors[places], factor)
    return factors


@dataclass(frozen=True)
class RepeatFactorSampler:
    """Repeats the images of rare classes (Gupta et al. 2019).

    A factor of 1.3 shows its image twice in 3 of 10 epochs, by chance as in detectron2, else once.
    So epochs differ in length.
    """

    images: IntArray  # rows of the image table, ascending, shape (N,)
    factors: FloatArray  # repeat factor of each
    seed: int

    def __len__(self) -> int:
        """The sum of the factors, rounded."""
        return round(float(self.factors.sum()))

    def epoch_images(self, epoch: int) -> IntArray:
        """Images of an epoch, shuffled."""
        chance = np.random.default_rng([self.seed, _BASE, 5, epoch]).random(len(self.factors))
        whole = np.floor(self.factors)
        copies = whole.astype(np.int64) + (chance < self.factors - whole)
        repeated = np.repeat(self.images, copies)
        return np.random.default_rng([self.seed, _BASE, 2, epoch]).permutation(repeated)


@dataclass(frozen=True)
class ClassAwareSampler:
    """Shows every class equally often (Shen et al. 2016).

    Each draw takes the next class of a shuffled list, and the next image of that class's shuffled
    list; a list that ends is shuffled again.
    """

    images_of: tuple[IntArray, ...]  # images of each class; one without any is skipped
    length: int  # images of an epoch
    seed: int

    def __len__(self) -> int:
        """The same in all epochs."""
        return self.length

    def epoch_images(self, epoch: int) -> IntArray:
        """Images of an epoch, in the order in which they are drawn."""
        classes = np.flatnonzero([len(images) for images in self.images_of])
        draws = np.arange(epoch * self.length, (epoch + 1) * self.length)
        labels = _draw(classes, draws, self.seed, _BASE, 6)
        turns = draws // len(classes)  # how often the class of a draw had its turn before
        images = np.empty(self.length, dtype=np.int64)
        for label in np.unique(labels).tolist():
            mine = labels == label
            key = (self.seed, _BASE, 7, label)
            images[mine] = _draw(self.images_of[label], turns[mine], *key)
        return images


@dataclass(frozen=True)
class ObjectSampler:
    """Draws the objects that are pasted into each image: a class, and then one of its objects.

    K draws one after the other have each of K classes as often as its weight says, rounded up or
    down: every class once where all weigh the same.
    """

    of_class: tuple[IntArray, ...]  # objects of each class, which has some
    weights: FloatArray  # how often each class is drawn, relative to the others
    number: tuple[int, int]  # fewest and most objects of an image
    seed: int
    phase: int

    def at(self, position: int) -> IntArray:
        """Objects for the image at a position in training, a function of seed and position."""
        rng = np.random.default_rng([self.seed, self.phase, 9, position])
        fewest, most = self.number
        count = int(rng.integers(fewest, most, endpoint=True))
        if not self.weights.any():
            return np.zeros(0, dtype=np.int64)
        draws = np.arange(position * most, position * most + count)
        labels = np.searchsorted(self._ends, self._places(draws), side="right")
        return np.array([rng.choice(self.of_class[label]) for label in labels], dtype=np.int64)

    @cached_property
    def _ends(self) -> FloatArray:
        """Where the share of each class ends between 0 and 1; the last end is above all places."""
        ends = np.cumsum(self.weights / self.weights.sum())
        ends[np.flatnonzero(self.weights)[-1] :] = np.inf
        return ends

    def _places(self, draws: IntArray) -> FloatArray:
        """A number between 0 and 1 for each draw; those of a round lie at equal distances."""
        count, key = len(self.weights), (self.seed, self.phase)
        rounds = (draws // count).tolist()
        offsets = [np.random.default_rng([*key, 11, one]).random() for one in rounds]
        places: FloatArray = (_draw(np.arange(count), draws, *key, 10) + offsets) / count
        return places


def lacking_objects(shown: IntArray, objects: float) -> FloatArray:
    """Objects of each class to add to those shown, so that the rarest become equally frequent.

    They are `objects` in all, and fill up the classes with the fewest to the same level.

    Example:
        >>> lacking_objects(np.array([9, 4, 1]), 5).tolist()
        [0.0, 1.0, 4.0]
    """
    rising = np.sort(shown)
    counts = np.arange(1, len(shown) + 1)
    # The level that the n rarest classes reach with all objects; it must not exceed the next one.
    levels = (np.cumsum(rising) + objects) / counts
    reached = levels <= np.append(rising[1:], np.inf)
    lacking: FloatArray = np.maximum(levels[np.argmax(reached)] - shown, 0.0)
    return lacking


def pasted_objects(
    classes: PasteClasses, shown: IntArray, new: range, objects: float
) -> FloatArray:
    """How many objects of each seen class an epoch is to paste, `objects` in all.

    `shown` are those that it shows anyway, shape (K,), and `new` the labels of new classes.
    """
    if classes == "lacking":
        return lacking_objects(shown, objects)
    chosen = np.zeros(len(shown))
    chosen[new.start if classes == "new" else 0 : new.stop] = 1
    each: FloatArray = chosen * (objects / max(chosen.sum(), 1))
    return each


ImageSampler = RepeatFactorSampler | ClassAwareSampler


def choose_sampler(
    sampling: Sampling,
    images: IntArray,
    images_of: tuple[IntArray, ...],
    seed: int,
    repeat_threshold: float,
) -> ImageSampler | None:
    """The sampler of the base phase by its name in `base.sampler`; None for each image once."""
    if sampling == "class-aware":
        return ClassAwareSampler(images_of, len(images), seed)
    if sampling == "repeat-factor":
        factors = repeat_factors(images, images_of, repeat_threshold)
        return RepeatFactorSampler(images, factors, seed)
    return None


def _draw(items: IntArray, draws: IntArray, *key: int) -> IntArray:
    """Items of a shuffled list that is shuffled again when it ends, at some of its draws."""
    rounds, places = np.divmod(draws, len(items))
    found = np.empty(len(draws), dtype=np.int64)
    for one in np.unique(rounds).tolist():
        mine = rounds == one
        found[mine] = np.random.default_rng([*key, one]).permutation(items)[places[mine]]
    return found
