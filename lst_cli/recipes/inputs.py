"""The annotation files of a workspace, read back and held against the split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lst_cli.data.checks import usable_instances
from lst_cli.data.images import ImageFinder
from lst_cli.data.lvis import Dataset, Images, read_dataset
from lst_cli.errors import LstError
from lst_cli.phases.labels import NO_LABEL, LabelMap
from lst_cli.phases.replay import Occurrences
from lst_cli.workspace.manifest import InputFile, Split
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class TrainingInput:
    """The training annotations in the terms of the method.

    Attributes:
        dataset: The file.
        labels: Label of each annotation, shape (M,); `NO_LABEL` where it is not usable.
        occurrences: Where each class occurs, over all K classes.
    """

    dataset: Dataset
    labels: npt.NDArray[np.int64]
    occurrences: Occurrences


def label_instances(dataset: Dataset, label_map: LabelMap) -> TrainingInput:
    """Give every usable annotation its label."""
    category_ids = dataset.categories.ids[dataset.instances.category_index]
    labels = np.where(usable_instances(dataset), label_map.to_labels(category_ids), NO_LABEL)
    occurrences = Occurrences.of(
        dataset.instances.image_index.astype(np.int64), labels, len(label_map)
    )
    return TrainingInput(dataset, labels, occurrences)


def read_training_input(workspace: Workspace) -> TrainingInput:
    """Read the training file of a workspace.

    Raises:
        LstError: If it is missing or is not the file that was split.
    """
    split = workspace.split
    dataset = read_unchanged(split.train, workspace)
    return label_instances(dataset, LabelMap(split.class_order))


def read_unchanged(file: InputFile, workspace: Workspace) -> Dataset:
    """Read an annotation file and see that it is the one that was split.

    Raises:
        LstError: If it is missing or has changed.
    """
    path = Path(file.path)
    if not path.exists():
        raise LstError(
            f"{path}: missing since the split was made",
            f"put it back, or make the same split again from where it is now: "
            f"lst split -w {workspace.root} --train TRAIN.json --val VAL.json --images DIR",
        )
    dataset = read_dataset(path)
    if dataset.sha256 != file.sha256:
        raise LstError(
            f"{path} changed after the split was made",
            "put the old file back, or split it into a new workspace with -w DIR",
        )
    return dataset


@dataclass(frozen=True)
class ImagePaths:
    """Where the images of a file lie, by their row; a worker process can be handed it.

    Attributes:
        finder: Looks in the split's directories.
        images: The image table.
    """

    finder: ImageFinder
    images: Images

    @classmethod
    def of(cls, split: Split, dataset: Dataset) -> ImagePaths:
        """Paths of a dataset's images in the directories of its split."""
        directories = [Path(directory) for directory in split.image_dirs]
        return cls(ImageFinder(directories), dataset.images)

    def __call__(self, row: int) -> Path:
        """Path of an image.

        Raises:
            LstError: If it is not found.
        """
        images = self.images
        return self.finder.find(
            images.file_names[row], images.coco_urls[row], image_id=int(images.ids[row])
        )
