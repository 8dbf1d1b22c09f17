"""What a phase trains on: new entries and instance-balanced replay (section 3.3).

The unit is the entry: an image and the one class whose annotations count in it. An image can
be in D_t several times, with different classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import numpy as np
import numpy.typing as npt

from lst_cli.phases.sampling import ImageSampler, IntArray, choose_sampler
from lst_cli.settings.models import ExtendReplay, Sampling

ALL_CLASSES = -1
"""Label of an entry in which every seen class counts: the base phase has no other."""


@dataclass(frozen=True)
class Entries:
    """E images with the class that counts in each."""

    images: IntArray  # rows of the image table
    labels: IntArray  # `ALL_CLASSES` where all count

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, images_of: Mapping[int, IntArray]) -> Entries:
        """All images of some labels, one label after the other."""
        nothing = np.zeros(0, dtype=np.int64)
        labels = [np.full(len(images), label) for label, images in images_of.items()]
        images = np.concatenate([nothing, *images_of.values()])
        return cls(images, np.concatenate([nothing, *labels]))


@dataclass(frozen=True)
class Occurrences:
    """In which images each class occurs, and how often."""

    images: tuple[IntArray, ...]  # of each class, ascending; one array a label
    counts: tuple[IntArray, ...]  # instances of the class in each of these images

    @classmethod
    def of(cls, image_rows: IntArray, labels: IntArray, classes: int) -> Occurrences:
        """Collect the occurrences from one (image, label) pair an instance.

        Instances with a label outside 0 ... classes - 1 are left out.
        """
        known = (labels >= 0) & (labels < classes)
        pairs = np.stack([labels[known], image_rows[known]], axis=1).astype(np.int64)
        unique, counts = np.unique(pairs, axis=0, return_counts=True)
        borders = np.searchsorted(unique[:, 0], np.arange(1, classes))
        return cls(
            tuple(np.split(unique[:, 1], borders)[:classes]),  # without classes it is one array
            tuple(np.split(counts.astype(np.int64), borders)[:classes]),
        )

    def within(self, images: npt.NDArray[np.bool_]) -> Occurrences:
        """Those in some of the images."""
        chosen = [images[rows] for rows in self.images]
        return Occurrences(
            tuple(rows[mine] for rows, mine in zip(self.images, chosen, strict=True)),
            tuple(n[mine] for n, mine in zip(self.counts, chosen, strict=True)),
        )

    def instance_counts(self) -> IntArray:
        """Instances of each class, shape (K,)."""
        return np.array([counts.sum() for counts in self.counts], dtype=np.int64)

    def image_counts(self) -> IntArray:
        """Images of each class, shape (K,)."""
        return np.array([len(images) for images in self.images], dtype=np.int64)


def replay_counts(
    instances: IntArray, images: IntArray, new: range, replay: ExtendReplay = "balanced"
) -> IntArray:
    """How many images of each old class, below `new.start`, a phase replays.

    Balanced: ceil(n̄_C / n̄_k) with n̄_C the mean number of instances over the new classes and
    n̄_k the instances an image of old class k holds on average, in exact arithmetic. Instances and
    images: shape (K,).

    Example:
        >>> replay_counts(np.array([90, 10, 3, 2]), np.array([30, 5, 2, 2]), range(2, 4)).tolist()
        [1, 2]
    """
    at_most: IntArray = images[: new.start].astype(np.int64)
    if replay == "none":
        return np.zeros_like(at_most)
    if replay == "all":
        return at_most
    if replay in ("few", "bank"):
        raise ValueError(f"{replay} replays no images class by class")
    mean_new = mean_new_instances(instances, new)
    needed = [
        ceil(mean_new * int(images[label]) / int(instances[label])) for label in range(new.start)
    ]
    # A class can be rarer than new ones that were added later: all of its images are replayed.
    return np.minimum(np.array(needed, dtype=np.int64), at_most)


def mean_new_instances(instances: IntArray, new: range) -> Fraction:
    """n̄_C: mean number of training instances over the new classes, exact."""
    return Fraction(int(instances[new.start : new.stop].sum()), len(new))


@dataclass(frozen=True)
class PhaseData:
    """D_t of a phase, epoch by epoch, a function of the seed."""

    fixed: Entries  # in every epoch: G_t, one for each new class and its image
    occurrences: Occurrences  # for replay
    replayed: IntArray  # replayed entries an epoch for each old class, shape (old,)
    seed: int
    phase: int
    # Draws the images of each epoch from the fixed ones, in which all classes then count; None
    # shows each once.
    sampler: ImageSampler | None = None
    # Replayed in every epoch, with all classes.
    few: Entries = field(default_factory=lambda: Entries.of({}))

    def images(self) -> IntArray:
        """Rows of the images that any epoch can show, ascending."""
        replayed = [
            self.occurrences.images[label] for label, count in enumerate(self.replayed) if count
        ]
        always = (self.fixed.images, self.few.images)
        return np.unique(np.concatenate([*always, *replayed])).astype(np.int64)

    def __len__(self) -> int:
        """Entries in an epoch; the expected number where a sampler's epochs differ."""
        if self.sampler is not None:
            return len(self.sampler)
        return len(self.fixed) + self.replay_entries

    @property
    def replay_entries(self) -> int:
        """Replayed entries in an epoch."""
        return len(self.few) + int(self.replayed.sum())

    def replay_counts(self) -> IntArray:
        """Replayed entries of an epoch that are of each old class, or show it, shape (old,)."""
        old = self.occurrences.images[: len(self.replayed)]
        shown = [np.count_nonzero(np.isin(images, self.few.images)) for images in old]
        counts: IntArray = self.replayed + np.array(shown, dtype=np.int64)
        return counts

    def epoch_length(self, epoch: int) -> int:
        """Entries of one epoch."""
        return len(self if self.sampler is None else self.sampler.epoch_images(epoch))

    def draw_replay(self, epoch: int) -> Entries:
        """Replayed entries of an epoch: the next images of each class's shuffled cycle."""
        drawn = {}
        for label, count in enumerate(self.replayed.tolist()):
            if count:
                rng = np.random.default_rng([self.seed, self.phase, 1, label])
                cycle = rng.permutation(self.occurrences.images[label])
                drawn[label] = cycle[(epoch * count + np.arange(count)) % len(cycle)]
        return Entries.of(drawn)

    def epoch_entries(self, epoch: int) -> Entries:
        """All entries of an epoch in the order of training, a function of seed and epoch alone."""
        if self.sampler is not None:
            return Entries.of({ALL_CLASSES: self.sampler.epoch_images(epoch)})
        parts = (self.fixed, self.few, self.draw_replay(epoch))
        images = np.concatenate([part.images for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        order = np.random.default_rng([self.seed, self.phase, 2, epoch]).permutation(len(images))
        return Entries(images[order], labels[order])


def base_data(
    occurrences: Occurrences,
    base: range,
    seed: int,
    sampling: Sampling = "uniform",
    repeat_threshold: float = 0.001,
    few_instances: int = 30,
) -> PhaseData:
    """D_0: every image with an instance of a base class, all base classes counting in it.

    Repeat-factor sampling repeats classes in less than `repeat_threshold` of the images. Few images
    are some that show `few_instances` objects of each class, or all it has.
    """
    images = tuple(occurrences.images[label] for label in base)
    unique = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *images]))
    if sampling == "few":
        unique = choose_few(occurrences, base.stop, few_instances, seed)
    fixed = Entries.of({ALL_CLASSES: unique})
    sampler = choose_sampler(sampling, unique, images, seed, repeat_threshold)
    return PhaseData(fixed, occurrences, np.zeros(0, dtype=np.int64), seed, 0, sampler)


def step_data(
    occurrences: Occurrences, new: range, phase: int, seed: int, replay: ExtendReplay = "balanced"
) -> PhaseData:
    """D_t for t >= 1: the replayed entries R_t together with the new ones, G_t."""
    fixed = Entries.of({label: occurrences.images[label] for label in new})
    replayed = replay_counts(occurrences.instance_counts(), occurrences.image_counts(), new, replay)
    return PhaseData(fixed, occurrences, replayed, seed, phase)


def few_data(
    occurrences: Occurrences, new: range, phase: int, seed: int, instances: int
) -> PhaseData:
    """Few images: those of the new classes, and some that show so many objects of every old class.

    All objects in an image count. The new images come so often in an epoch that it shows as many
    objects of a new class as of an old one. Without any `instances`, nothing is replayed.
    """
    images = np.unique(np.concatenate([occurrences.images[label] for label in new]))
    few = choose_few(occurrences, new.start, instances, seed) if instances else images[:0]
    mean = float(mean_new_instances(occurrences.instance_counts(), new))
    repeated = np.tile(images, max(1, round(instances / max(mean, 1))))
    return PhaseData(
        Entries.of({ALL_CLASSES: repeated}),
        occurrences,
        np.zeros(new.start, dtype=np.int64),
        seed,
        phase,
        few=Entries.of({ALL_CLASSES: few}),
    )


# Images of a class that are compared for the next one to be chosen.
_COMPARED = 200


def choose_few(occurrences: Occurrences, old: int, instances: int, seed: int) -> IntArray:
    """Few images in which each of the classes below `old` has so many instances, or all it has.

    Greedy, the rarest class first: of its images the one that adds most to all classes that lack
    instances. Rows of the image table, ascending.
    """
    totals = occurrences.instance_counts()[:old]
    lacking = np.minimum(totals, instances)
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *occurrences.images[:old]])
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *occurrences.counts[:old]])
    labels = np.repeat(np.arange(old), occurrences.image_counts()[:old])
    order = np.argsort(rows, kind="stable")
    rows, counts, labels = rows[order], counts[order], labels[order]

    def shown(image: int) -> tuple[IntArray, IntArray]:
        part = slice(np.searchsorted(rows, image), np.searchsorted(rows, image, side="right"))
        return labels[part], counts[part]

    chosen: set[int] = set()
    for label in np.argsort(totals, kind="stable").tolist():
        rng = np.random.default_rng([seed, 8, label])
        images = rng.permutation(occurrences.images[label])[:_COMPARED].tolist()
        images = [image for image in images if image not in chosen]
        while lacking[label] > 0 and images:
            gains = [np.minimum(lacking[mine], of).sum() for mine, of in map(shown, images)]
            best = images.pop(int(np.argmax(gains)))
            mine, of = shown(best)
            lacking[mine] = np.maximum(lacking[mine] - of, 0)
            chosen.add(best)
    return np.array(sorted(chosen), dtype=np.int64)


def iterations_of(epochs: float, entries: int, batch_size: int) -> int:
    """Iterations of a number of epochs, halves rounded to even: this gives the published counts."""
    return max(1, round(epochs * entries / batch_size))


def instances_per_class(entries: Entries, occurrences: Occurrences, classes: int) -> IntArray:
    """Instances of each class that count in the entries, shape (classes,), as in Fig. 3."""
    totals = np.zeros(classes, dtype=np.int64)
    everywhere = entries.images[entries.labels == ALL_CLASSES]
    for label in range(classes):
        images, counts = occurrences.images[label], occurrences.counts[label]
        chosen = np.concatenate([everywhere, entries.images[entries.labels == label]])
        chosen = chosen[np.isin(chosen, images)]
        totals[label] = counts[np.searchsorted(images, chosen)].sum()
    return totals
