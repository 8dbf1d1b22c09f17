"""The annotation files of a workspace, read again and compared with the split."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.joined import JoinedDataset, join_datasets
from lst_cli.annotations.problems import Problem
from lst_cli.annotations.read import Dataset, Images, read_dataset
from lst_cli.check.fields import usable_instances
from lst_cli.check.images import find_missing
from lst_cli.check.masks import leave_out_unusable
from lst_cli.errors import LstError
from lst_cli.images.finder import ImageFinder
from lst_cli.phases.classes import NO_LABEL, labels_of
from lst_cli.phases.partial_labels import PartialLabels, pairs_of
from lst_cli.phases.replay import Occurrences
from lst_cli.settings.models import DataSettings
from lst_cli.workspace.manifest import InputFile, Split
from lst_cli.workspace.store import Workspace

IntArray = npt.NDArray[np.int64]
# A file, labels of its categories, of its annotations, of those among them that are learned from,
# and what finds its images.
_Part = tuple[Dataset, IntArray, IntArray, IntArray, ImageFinder]


@dataclass(frozen=True)
class ImagePaths:
    """Where images lie, by their row; it can be passed to a worker process."""

    images: Images
    finders: tuple[ImageFinder, ...]  # one for each file that the image table is made of
    starts: tuple[int, ...] = (0,)  # row of each file's first image

    @classmethod
    def of(cls, images: Images, directories: Sequence[str | Path]) -> ImagePaths:
        """Paths of one file's images."""
        return cls(images, (ImageFinder(directories),))

    def __call__(self, row: int) -> Path:
        """Path of an image; an `LstError` if it is not found."""
        images, image_id = self.images, int(self.images.ids[row])
        find = self.finder_of(row).find
        return find(*images.names[row], image_id=image_id, size=images.stated_size(row))

    def finder_of(self, row: int) -> ImageFinder:
        """Where to look for an image."""
        return self.finders[bisect_right(self.starts, row) - 1]

    def is_listed(self, row: int) -> bool:
        """Whether there is a file of an image, by its name alone."""
        return self.finder_of(row).is_listed(*self.images.names[row])

    def find_missing(self, where: object) -> Problem | None:
        """A warning if some images are missing; `where` is the file or files that name them."""
        problem = find_missing(self.images, self.finder_of)
        return problem and problem.at(where)


@dataclass(frozen=True)
class TrainingInput:
    """The training annotations in the terms of the method."""

    # The file of the split and behind it those of its extensions.
    dataset: JoinedDataset
    # Label of each annotation, shape (M,); `NO_LABEL` where it is not usable.
    labels: IntArray
    # Where each class is learned from, over all K classes: the file it came with. Its objects in
    # other files have their label, so that they are not taken for background, and do not count.
    occurrences: Occurrences
    paths: ImagePaths
    category_labels: IntArray  # label of each row of the category table, or `NO_LABEL`

    def scales_at_test(self, rows: IntArray, data: DataSettings) -> npt.NDArray[np.float64]:
        """How much larger than stored annotations are in evaluation, shape (R,)."""
        sizes = self.dataset.images.sizes[self.dataset.instances.image_index[rows]]  # (R, 2)
        scales: npt.NDArray[np.float64] = np.minimum(
            data.min_size_test / sizes.min(axis=1), data.max_size_test / sizes.max(axis=1)
        )
        return scales

    def partial_labels(self) -> PartialLabels:
        """For which classes each image is annotated: in a file without lists, for its classes.

        An annotation that is not usable, such as a crowd, shows objects that are not annotated.
        """
        classes, parts = len(self.occurrences.images), self.dataset.parts
        exhaustive = np.zeros((len(parts), classes), dtype=bool)
        pairs: list[list[IntArray]] = [[], []]
        row = 0
        for file, (part, start) in enumerate(zip(parts, self.dataset.image_starts, strict=True)):
            labels = self.category_labels[row : row + len(part.categories)]
            row += len(part.categories)
            if not part.federated:
                exhaustive[file, labels[labels >= 0]] = True
            ids = part.categories.ids.tolist()
            label_of = {
                n: label for n, label in zip(ids, labels.tolist(), strict=True) if label >= 0
            }
            images = part.images
            for found, lists in zip(
                pairs, (images.neg_category_ids, images.not_exhaustive_category_ids), strict=True
            ):
                found.append(pairs_of(lists, label_of, classes) + start * classes)
        labels = self.category_labels[self.dataset.instances.category_index]
        rows = np.flatnonzero((self.labels < 0) & (labels >= 0))
        shown = self.dataset.instances.image_index[rows].astype(np.int64) * classes + labels[rows]
        absent, partial = np.concatenate(pairs[0]), np.unique(np.concatenate([*pairs[1], shown]))
        return PartialLabels(classes, exhaustive, self.dataset.image_starts, absent, partial)


def label_instances(
    dataset: Dataset, class_order: Sequence[int], directories: Sequence[str | Path] = ()
) -> TrainingInput:
    """Give every usable annotation of one file its label; its images lie in the directories."""
    of_category = labels_of(dataset.categories.ids, class_order)
    labels = _labels(dataset, of_category)
    finder = ImageFinder(directories)
    return _join([(dataset, of_category, labels, labels, finder)], len(class_order))


def label_files(split: Split, files: Sequence[Dataset]) -> TrainingInput:
    """Give every usable annotation its label: of a split's file, and of each extension's."""
    of_category = labels_of(files[0].categories.ids, split.class_order)
    labels = _labels(files[0], of_category)
    finder = ImageFinder(split.image_dirs)
    parts: list[_Part] = [(files[0], of_category, labels, labels, finder)]
    names = [record.name for record in split.classes]
    for extension, file in zip(split.extensions, files[1:], strict=True):
        of_category = _category_labels(file, names)
        labels = _labels(file, of_category)
        new = np.isin(labels, labels_of(extension.classes, split.class_order))
        finder = ImageFinder(extension.image_dirs, behind=split.image_dirs)
        parts.append((file, of_category, labels, np.where(new, labels, NO_LABEL), finder))
    return _join(parts, len(split.class_order))


def read_training_input(workspace: Workspace) -> TrainingInput:
    """Read the training files of a workspace; see `read_unchanged`."""
    return label_files(workspace.split, read_training_files(workspace, workspace.split))


def read_training_files(workspace: Workspace, split: Split) -> list[Dataset]:
    """Read the training file of a split and those of its extensions; see `read_unchanged`."""
    files = [split.train, *(extension.train for extension in split.extensions)]
    return [read_unchanged(file, workspace) for file in files]


def read_validation(workspace: Workspace, phase: int) -> tuple[Dataset, ImagePaths]:
    """Read the file that a phase is evaluated on; see `read_unchanged`."""
    split = workspace.split
    val = read_unchanged(split.val_at(phase), workspace)
    return val, ImagePaths.of(val.images, split.val_image_dirs_at(phase))


def _category_labels(dataset: Dataset, names: Sequence[str]) -> IntArray:
    # A file that came later may have other category ids. Of two classes of one name the first.
    label_of = {name: label for label, name in reversed(list(enumerate(names)))}
    rows = [label_of.get(name, NO_LABEL) for name in dataset.categories.names]
    return np.asarray(rows, dtype=np.int64)


def _labels(dataset: Dataset, of_category: IntArray) -> IntArray:
    labels = of_category[dataset.instances.category_index]
    return np.where(usable_instances(dataset), labels, NO_LABEL)


def _join(parts: Sequence[_Part], classes: int) -> TrainingInput:
    files, of_category, labels, learned, finders = zip(*parts, strict=True)
    dataset = join_datasets(files)
    rows = dataset.instances.image_index.astype(np.int64)
    return TrainingInput(
        dataset,
        np.concatenate(labels),
        Occurrences.of(rows, np.concatenate(learned), classes),
        ImagePaths(dataset.images, finders, dataset.image_starts),
        np.concatenate(of_category),
    )


def read_unchanged(file: InputFile, workspace: Workspace) -> Dataset:
    """Read an annotation file; an `LstError` if it is not the one that was split or added."""
    path, split = Path(file.path), workspace.split
    added = file not in (split.train, split.val)
    when = "its classes were added" if added else "the split was made"
    if not path.exists():
        again = (
            ", or make the same split again from where it is now: "
            "lst split --train TRAIN.json --val VAL.json --images DIR"
            + (" --skip-unusable" if split.skips_unusable else "")
        )
        raise LstError(f"{path}: missing since {when}", f"put it back{'' if added else again}")
    dataset = read_dataset(path)
    if dataset.sha256 != file.sha256:
        again = "" if added else ", or split it into a new workspace with -w DIR"
        raise LstError(f"{path} changed after {when}", f"put the old file back{again}")
    return leave_out_unusable(dataset) if file.skipped else dataset
