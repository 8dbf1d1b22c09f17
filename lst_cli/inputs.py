"""The annotation files of a workspace, read back and held against the split."""

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
from lst_cli.check.unusable import leave_out_unusable
from lst_cli.errors import LstError
from lst_cli.images.decode import ImageFinder
from lst_cli.phases.labels import NO_LABEL, LabelMap
from lst_cli.phases.replay import Occurrences
from lst_cli.workspace.manifest import InputFile, Split
from lst_cli.workspace.store import Workspace

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImagePaths:
    """Where images lie, by their row; a worker process can be handed it.

    Attributes:
        images: The image table.
        finders: One for each file that the table is made of.
        starts: Row of each file's first image.
    """

    images: Images
    finders: tuple[ImageFinder, ...]
    starts: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, images: Images, directories: Sequence[str | Path]) -> ImagePaths:
        """Paths of one file's images."""
        return cls(images, (ImageFinder(directories),))

    def __call__(self, row: int) -> Path:
        """Path of an image.

        Raises:
            LstError: If it is not found.
        """
        images = self.images
        return self.finder_of(row).find(
            images.file_names[row], images.coco_urls[row], image_id=int(images.ids[row])
        )

    def finder_of(self, row: int) -> ImageFinder:
        """Where to look for an image."""
        return self.finders[bisect_right(self.starts, row) - 1]

    def find_missing(self, where: object) -> Problem | None:
        """A warning if some images are not there; they are looked for by name alone.

        Args:
            where: The file or files that name them.
        """
        problem = find_missing(self.images, self.finder_of)
        return problem and problem.at(where)


@dataclass(frozen=True)
class TrainingInput:
    """The training annotations in the terms of the method.

    Attributes:
        dataset: The file of the split and behind it those of its extensions.
        labels: Label of each annotation, shape (M,); `NO_LABEL` where it is not usable.
        occurrences: Where each class is learned from, over all K classes: the file it came with.
            Its objects in other files have their label, so that nobody takes them for
            background, and count nowhere.
        paths: Where the images lie.
    """

    dataset: JoinedDataset
    labels: IntArray
    occurrences: Occurrences
    paths: ImagePaths


def label_instances(
    dataset: Dataset, label_map: LabelMap, directories: Sequence[str | Path] = ()
) -> TrainingInput:
    """Give every usable annotation of the split's own file its label.

    Args:
        dataset: The file.
        label_map: Its category ids and their labels.
        directories: Where its images lie.
    """
    labels = _labels_by_id(dataset, label_map)
    return _gather([dataset], [labels], [labels], [directories], len(label_map))


def label_files(split: Split, files: Sequence[Dataset]) -> TrainingInput:
    """Give every usable annotation of a split's training files its label.

    Args:
        split: The split.
        files: Its own training file, then that of each extension.
    """
    label_map = LabelMap(split.class_order)
    labels = [_labels_by_id(files[0], label_map)]
    learned = [labels[0]]
    directories: list[Sequence[str | Path]] = [split.image_dirs]
    names = [record.name for record in split.classes]
    for extension, file in zip(split.extensions, files[1:], strict=True):
        found = _labels_by_name(file, names)
        new = label_map.to_labels(np.asarray(extension.classes))
        labels.append(found)
        learned.append(np.where(np.isin(found, new), found, NO_LABEL))
        directories.append((*extension.image_dirs, *split.image_dirs))
    return _gather(files, labels, learned, directories, len(label_map))


def read_training_input(workspace: Workspace) -> TrainingInput:
    """Read the training files of a workspace.

    Raises:
        LstError: If one is missing or is not the file that was split or added.
    """
    return label_files(workspace.split, read_training_files(workspace, workspace.split))


def read_training_files(workspace: Workspace, split: Split) -> list[Dataset]:
    """Read the training file of a split and those of its extensions.

    Raises:
        LstError: If one is missing or is not the file that was split or added.
    """
    files = [split.train, *(extension.train for extension in split.extensions)]
    return [read_unchanged(file, workspace) for file in files]


def read_validation(workspace: Workspace, phase: int) -> tuple[Dataset, ImagePaths]:
    """Read the file that a phase is evaluated on.

    Raises:
        LstError: If it is missing or has changed.
    """
    split = workspace.split
    val = read_unchanged(split.val_at(phase), workspace)
    return val, ImagePaths.of(val.images, split.val_image_dirs_at(phase))


def _labels_by_id(dataset: Dataset, label_map: LabelMap) -> IntArray:
    category_ids = dataset.categories.ids[dataset.instances.category_index]
    return np.where(usable_instances(dataset), label_map.to_labels(category_ids), NO_LABEL)


def _labels_by_name(dataset: Dataset, names: Sequence[str]) -> IntArray:
    # A file that came later may number its classes as it likes.
    label_of: dict[str, int] = {}
    for label, name in enumerate(names):
        label_of.setdefault(name, label)
    rows = [label_of.get(name, NO_LABEL) for name in dataset.categories.names]
    labels = np.asarray(rows, dtype=np.int64)[dataset.instances.category_index]
    return np.where(usable_instances(dataset), labels, NO_LABEL)


def _gather(
    files: Sequence[Dataset],
    labels: Sequence[IntArray],
    learned: Sequence[IntArray],
    directories: Sequence[Sequence[str | Path]],
    classes: int,
) -> TrainingInput:
    dataset = join_datasets(files)
    return TrainingInput(
        dataset,
        np.concatenate(labels),
        Occurrences.of(
            dataset.instances.image_index.astype(np.int64), np.concatenate(learned), classes
        ),
        ImagePaths(
            dataset.images,
            tuple(ImageFinder([Path(one) for one in places]) for places in directories),
            dataset.image_starts,
        ),
    )


def read_unchanged(file: InputFile, workspace: Workspace) -> Dataset:
    """Read an annotation file and see that it is the one that was split or added.

    Raises:
        LstError: If it is missing or has changed.
    """
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
        raise LstError(
            f"{path} changed after {when}",
            "put the old file back"
            + ("" if added else ", or split it into a new workspace with -w DIR"),
        )
    return leave_out_unusable(dataset) if file.skipped else dataset
