"""The training set of a phase as a sequence: position in training to image and annotations."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.joined import JoinedDataset
from lst_cli.phases.partial_labels import PartialLabels
from lst_cli.phases.replay import ALL_CLASSES, Entries, PhaseData
from lst_cli.samples.paste import CutOut
from lst_cli.settings.models import FutureClasses, OtherObjects

IntArray = npt.NDArray[np.int64]


class SegmentationStore:
    """Raw segmentations of annotations, whose rows ascend, in one block of memory.

    One block, because worker processes would each copy a list of small objects.
    """

    def __init__(self, dataset: JoinedDataset, rows: IntArray) -> None:
        raw = dataset.read_segmentations(rows)
        self.rows = rows
        self._ends = np.cumsum([len(text) for text in raw], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(raw), dtype=np.uint8)

    def __getitem__(self, row: int) -> bytes:
        place = int(np.searchsorted(self.rows, row))
        if place >= len(self.rows) or self.rows[place] != row:
            raise KeyError(row)
        start = int(self._ends[place - 1]) if place else 0
        return self._bytes[start : int(self._ends[place])].tobytes()


@dataclass(frozen=True)
class Sample:
    """An image of the training set with the objects annotated in it.

    These are the M objects of seen classes, and of later ones where those are to be ignored. The
    objects that count come first.
    """

    position: int  # place in the order of training, from 0
    image: int  # row of the image table
    height: int  # pixels, as stated
    width: int
    boxes: npt.NDArray[np.float64]  # x, y, width, height, shape (M, 4)
    labels: IntArray  # shape (M,); -1 where the class comes in a later phase
    counts: npt.NDArray[np.bool_]  # whether each counts in the entry, shape (M,)
    segmentations: list[bytes]  # raw JSON of each
    pasted: tuple[CutOut, ...] = ()  # objects to be pasted over it
    # What a region without a class tells of it, see `PartialLabels`, shape (K,); None: not asked.
    negatives: npt.NDArray[np.int8] | None = None


class PhaseDataset:
    """D_t in the order of training: one entry after the other, epoch after epoch.

    A sample is a function of its position alone, so that a run can continue anywhere.
    An annotation whose label, one of `labels`, is below 0 does not exist; nor does one from `seen`
    on, unless `future` is `ignore`. Where `others` is `count`, all objects of an entry count.
    """

    def __init__(
        self,
        dataset: JoinedDataset,
        labels: IntArray,  # one an annotation
        seen: int,  # classes so far, this phase's included
        data: PhaseData,
        *,
        others: OtherObjects = "ignore",
        future: FutureClasses = "background",
        pasting: Callable[[int], tuple[CutOut, ...]] | None = None,  # by position
        partial_labels: PartialLabels | None = None,  # for losses that ask for them
    ) -> None:
        self.data = data
        self._partial_labels, self._seen = partial_labels, seen
        self._pasting = pasting
        self._images = dataset.images
        self._boxes = dataset.instances.boxes
        self._labels = np.where(labels < seen, labels, -1)
        self._all_count = others == "count"
        usable = (labels >= 0) & ((labels < seen) | (future == "ignore"))
        wanted = np.zeros(len(dataset.images.ids), dtype=bool)
        wanted[data.images()] = True
        usable &= wanted[dataset.instances.image_index]
        rows = np.flatnonzero(usable)
        by_image = rows[np.argsort(dataset.instances.image_index[rows], kind="stable")]
        self._rows = by_image
        self._starts = np.searchsorted(
            dataset.instances.image_index[by_image], np.arange(len(dataset.images.ids) + 1)
        )
        self.segmentations = SegmentationStore(dataset, rows)
        self._drawn: dict[int, Entries] = {}
        self._epochs = [0]  # position of the first entry of each epoch, as far as they were asked

    def entry(self, position: int) -> tuple[int, int]:
        """Image row and label of the entry at a position."""
        while self._epochs[-1] <= position:  # a sampler's epochs may differ in length
            last = len(self._epochs) - 1
            self._epochs.append(self._epochs[-1] + self.data.epoch_length(last))
        epoch = bisect_right(self._epochs, position) - 1
        place = position - self._epochs[epoch]
        if epoch not in self._drawn:
            # A batch may reach into the next epoch; older ones do not come back.
            self._drawn = {e: kept for e, kept in self._drawn.items() if e == epoch - 1}
            self._drawn[epoch] = self.data.epoch_entries(epoch)
        entries = self._drawn[epoch]
        return int(entries.images[place]), int(entries.labels[place])

    def __getitem__(self, position: int) -> Sample:
        image, label = self.entry(position)
        sample = self.sample(image, label, position)
        if self._pasting is None:
            return sample
        return replace(sample, pasted=self._pasting(position))

    def sample(self, image: int, label: int, position: int = 0) -> Sample:
        """The sample of an image in which one class counts, or all (`ALL_CLASSES`)."""
        rows = self._rows[self._starts[image] : self._starts[image + 1]]
        everything = self._all_count or label == ALL_CLASSES
        counts = (self._labels[rows] == label) | everything
        counts &= self._labels[rows] >= 0
        # Of two annotations with the very same box, a region matches the first: one that does
        # not count must not hide the one that does.
        order = np.argsort(~counts, kind="stable")
        rows, counts = rows[order], counts[order]
        return Sample(
            position=position,
            image=image,
            height=int(self._images.heights[image]),
            width=int(self._images.widths[image]),
            boxes=self._boxes[rows],
            labels=self._labels[rows],
            counts=counts,
            segmentations=[self.segmentations[int(row)] for row in rows],
            negatives=self._negatives(image, self._labels[rows]),
        )

    def _negatives(self, image: int, annotated: IntArray) -> npt.NDArray[np.int8] | None:
        if self._partial_labels is None:
            return None
        return self._partial_labels.negatives(image, annotated)[: self._seen]
