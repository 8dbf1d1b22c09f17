"""For which classes an image is annotated: not for all, in a federated set (Gupta et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# What a region without a class tells of the class in its image: nothing, since there may be more
# objects than are annotated; something only if the class is drawn; or that it is none.
NEVER, IF_DRAWN, ALWAYS = -1, 0, 1


@dataclass(frozen=True)
class PartialLabels:
    """What annotation files say of images and classes, as pairs of both: image * K + label."""

    classes: int  # K
    # Whether all images of each file are annotated for a class, shape (files, K).
    exhaustive: npt.NDArray[np.bool_]
    starts: tuple[int, ...]  # row of each file's first image
    absent: IntArray  # pairs where the class was looked for and is not there, ascending
    partial: IntArray  # pairs where only some objects are annotated, ascending

    def negatives(self, image: int, annotated: IntArray) -> npt.NDArray[np.int8]:
        """`NEVER`, `IF_DRAWN` or `ALWAYS` for each class, shape (K,).

        `annotated` are the labels of the image's objects; those below 0 are ignored.
        """
        file = int(np.searchsorted(self.starts, image, side="right")) - 1
        found = np.where(self.exhaustive[file], ALWAYS, IF_DRAWN).astype(np.int8)
        found[annotated[annotated >= 0]] = ALWAYS
        found[self._of(self.absent, image)] = ALWAYS
        found[self._of(self.partial, image)] = NEVER
        return found

    def _of(self, pairs: IntArray, image: int) -> IntArray:
        first, last = np.searchsorted(pairs, [image * self.classes, (image + 1) * self.classes])
        return pairs[first:last] - image * self.classes


def pairs_of(lists: Sequence[Sequence[int]], label_of: dict[int, int], classes: int) -> IntArray:
    """Pairs of images and their listed classes, ascending; `label_of` a category id.

    Example:
        >>> pairs_of([[7], [], [3, 7, 9]], {3: 0, 7: 1}, 10).tolist()
        [1, 20, 21]
    """
    found = [
        image * classes + label_of[number]
        for image, numbers in enumerate(lists)
        for number in numbers
        if number in label_of
    ]
    return np.unique(np.array(found, dtype=np.int64))
