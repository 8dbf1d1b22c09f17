"""What the images of new classes tell before, after and without training."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lst_cli.errors import LstError
from lst_cli.modeling.episodes import SupportBoxes, regions_of, support_boxes
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.weight_generator import WeightGenerator
from lst_cli.phases.replay import ALL_CLASSES, Occurrences
from lst_cli.progress import Progress
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.workspace.atomic import write_bytes


def support_images(
    occurrences: Occurrences, new: range, most: int | None = None
) -> npt.NDArray[np.int64]:
    """The images that hold the first boxes of each new class.

    Args:
        occurrences: Where the classes occur.
        new: Labels of the new classes.
        most: Boxes a class that are enough; all if None.

    Returns:
        Rows of the image table, ascending, none twice.
    """
    chosen = []
    for label in new:
        images, counts = occurrences.images[label], occurrences.counts[label]
        needed = len(images)
        if most is not None:
            needed = int(np.searchsorted(np.cumsum(counts), most)) + 1
        chosen.append(images[:needed])
    return np.unique(np.concatenate(chosen)).astype(np.int64)


@dataclass(frozen=True)
class Support:
    """The annotated images of a phase's new classes.

    Attributes:
        dataset: The phase's data.
        mapper: Reads the images; here at the test size and unflipped.
        new: Labels of the new classes.
        workers: Processes that read.
    """

    dataset: PhaseDataset
    mapper: Mapper
    new: range
    workers: int = 0

    @torch.no_grad()
    def pooled(
        self,
        model: LstRCNN,
        what: str,
        progress: Progress,
        *,
        most: int | None = None,
        boxes: SupportBoxes = "ground-truth",
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pool the boxes of the new classes, image by image.

        Args:
            model: Whose backbone; it is in evaluation mode while this lasts.
            what: Name of this work, for `progress`.
            progress: What is done, how much of it, of how much.
            most: Boxes a class at most.
            boxes: Which box stands for an object.

        Yields:
            Class of each box, 0 ... C - 1, shape (R,); what the box head reads, shape (R, ...).

        Raises:
            LstError: If an image cannot be used.
        """
        rows = support_images(self.dataset.data.occurrences, self.new, most)
        loader: DataLoader[Any] = DataLoader(
            _Images(self.dataset, self.mapper, rows), batch_size=None, num_workers=self.workers
        )
        counts = [0] * len(self.new)
        was_training = model.training
        model.eval()
        try:
            for done, item in enumerate(loader, start=1):
                if isinstance(item, LstError):
                    raise item
                wanted = []
                for box, label in enumerate(
                    (item["instances"].gt_labels - self.new.start).tolist()
                ):
                    mine = 0 <= label < len(self.new) and (most is None or counts[label] < most)
                    if mine:
                        counts[label] += 1
                        wanted.append(box)
                targets = item["instances"][torch.tensor(wanted, dtype=torch.int64)]
                targets = targets.to(model.device)
                images = model.preprocess_image([item])
                features = model.backbone(images.tensor)
                regions = targets.gt_boxes
                if boxes == "proposals":
                    [proposals] = regions_of(model, images, features)
                else:
                    proposals = regions
                regions = support_boxes(regions, proposals, boxes)
                yield (
                    targets.gt_labels - self.new.start,
                    model.roi_heads.pooled_boxes(features, [regions]),
                )
                progress(what, done, len(rows))
        finally:
            model.train(was_training)

    @torch.no_grad()
    def mean_features(
        self, model: LstRCNN, progress: Progress, *, most: int | None
    ) -> tuple[Tensor, Tensor]:
        """Sum of the unit-length features of each class, and its boxes.

        Returns:
            Shapes (C, D) and (C,), on the CPU.
        """
        sums = torch.zeros(len(self.new), model.row_features)
        counts = torch.zeros(len(self.new), dtype=torch.int64)
        for labels, pooled in self.pooled(model, "mean features", progress, most=most):
            features = F.normalize(model.roi_heads.box_head(pooled), dim=-1).cpu()
            sums.index_add_(0, labels.cpu(), features)
            counts += torch.bincount(labels.cpu(), minlength=len(self.new))
        return sums, counts

    @torch.no_grad()
    def generated(
        self, model: LstRCNN, generator: WeightGenerator, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """Average, over all boxes of each class, of its generated rows and of its attention.

        Args:
            model: Whose features and base rows.
            generator: The meta weight generator, on the model's device.
            progress: What is done, how much of it, of how much.

        Returns:
            Rows as Eq. (3) gives them, shape (C, D); attention m, shape (C, b); on the CPU.
        """
        weight = model.roi_heads.box_predictor.cls_score.weight
        base_rows = weight[: generator.base_classes]
        rows = torch.zeros(len(self.new), generator.features)
        attention = torch.zeros(len(self.new), generator.base_classes)
        counts = torch.zeros(len(self.new))
        for labels, pooled in self.pooled(model, "generating rows of new classes", progress):
            features = model.roi_heads.box_head(pooled)
            rows.index_add_(0, labels.cpu(), generator(features, base_rows, weight[-1]).cpu())
            attention.index_add_(0, labels.cpu(), generator.attention(features).cpu())
            counts += torch.bincount(labels.cpu(), minlength=len(self.new))
        return rows / counts[:, None].clamp(min=1), attention / counts[:, None].clamp(min=1)


def save_attention(path: Path, attention: Tensor) -> None:
    """Write the attention of a phase's classes atomically, float32, shape (C, b)."""
    content = io.BytesIO()
    np.save(content, attention.cpu().numpy().astype(np.float32), allow_pickle=False)
    write_bytes(path, content.getvalue())


class _Images(Dataset[Any]):
    def __init__(self, dataset: PhaseDataset, mapper: Mapper, rows: npt.NDArray[np.int64]) -> None:
        self._dataset, self._mapper, self._rows = dataset, mapper, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        try:
            sample = self._dataset.sample(int(self._rows[place]), ALL_CLASSES)
            return self._mapper(sample, augment=False)
        except LstError as error:
            return error
