"""Rows of new classes from their annotated images, before, after and without training."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lst_cli.modeling.episodes import SupportBoxes, regions_of, support_boxes
from lst_cli.modeling.grow import mean_feature_rows
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.weight_generator import WeightGenerator
from lst_cli.phases.replay import Occurrences
from lst_cli.progress import Progress
from lst_cli.samples.loading import SampleReader
from lst_cli.workspace.atomic import write_bytes


def support_images(
    occurrences: Occurrences, new: range, most: int | None = None
) -> npt.NDArray[np.int64]:
    """The images with the first `most` boxes of each new class, or with all its boxes.

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
class WrittenRows:
    """Classifier rows of C new classes, on the CPU."""

    rows: Tensor  # shape (C, D)
    # Mean attention of each class's boxes, shape (C, b); None where no generator wrote the rows.
    attention: Tensor | None = None


@dataclass(frozen=True)
class Support:
    """The annotated images of a phase's C new classes, whose labels are `new`."""

    reader: SampleReader
    new: range

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
        """Pool the boxes of the new classes, `most` of each, image by image.

        Yields the class of each box, 0 ... C - 1, shape (R,), and what the box head reads of it,
        shape (R, ...). The model is in evaluation mode while this lasts; `what` names the work.
        Raises an `LstError` if an image cannot be used.
        """
        rows = support_images(self.reader.dataset.data.occurrences, self.new, most)
        counts = [0] * len(self.new)
        was_training = model.training
        model.eval()
        try:
            for done, item in enumerate(self.reader.images(rows), start=1):
                wanted = []
                classes = item["instances"].gt_labels - self.new.start
                for box, label in enumerate(classes.tolist()):
                    if 0 <= label < len(self.new) and (most is None or counts[label] < most):
                        counts[label] += 1
                        wanted.append(box)
                targets = item["instances"][torch.tensor(wanted, dtype=torch.int64)]
                targets = targets.to(model.device)
                images = model.preprocess_image([item])
                features = model.backbone(images.tensor)
                proposals = targets.gt_boxes
                if boxes == "proposals":
                    [proposals] = regions_of(model, images, features)
                regions = support_boxes(targets.gt_boxes, proposals, boxes)
                yield (
                    targets.gt_labels - self.new.start,
                    model.roi_heads.pooled_boxes(features, [regions]),
                )
                progress(what, done, len(rows))
        finally:
            model.train(was_training)

    @torch.no_grad()
    def features(
        self, model: LstRCNN, what: str, progress: Progress, *, most: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same with the feature of each box, shape (R, D)."""
        for labels, pooled in self.pooled(model, what, progress, most=most):
            yield labels, model.roi_heads.box_head(pooled)

    @torch.no_grad()
    def mean_feature_rows(
        self, model: LstRCNN, most: int | None, progress: Progress
    ) -> WrittenRows:
        """The mean feature of `most` boxes of each class (imprinting)."""
        sums = torch.zeros(len(self.new), model.row_features)
        counts = torch.zeros(len(self.new), dtype=torch.int64)
        for labels, features in self.features(model, "mean features", progress, most=most):
            sums.index_add_(0, labels.cpu(), F.normalize(features, dim=-1).cpu())
            counts += torch.bincount(labels.cpu(), minlength=len(self.new))
        old = model.roi_heads.box_predictor.cls_score.class_rows.cpu()
        return WrittenRows(mean_feature_rows(sums, counts, old))

    @torch.no_grad()
    def generated_rows(
        self, model: LstRCNN, generator: WeightGenerator, progress: Progress
    ) -> WrittenRows:
        """Rows by Eq. (3), averaged over all boxes of a class; all is on the model's device."""
        weight = model.roi_heads.box_predictor.cls_score.weight
        base_rows = weight[: generator.base_classes]
        rows = torch.zeros(len(self.new), generator.features)
        attention = torch.zeros(len(self.new), generator.base_classes)
        counts = torch.zeros(len(self.new))
        for labels, features in self.features(model, "generating rows of new classes", progress):
            rows.index_add_(0, labels.cpu(), generator(features, base_rows, weight[-1]).cpu())
            attention.index_add_(0, labels.cpu(), generator.attention(features).cpu())
            counts += torch.bincount(labels.cpu(), minlength=len(self.new))
        boxes = counts[:, None].clamp(min=1)
        return WrittenRows(rows / boxes, attention / boxes)


def save_attention(path: Path, attention: Tensor) -> None:
    """Write the attention of a phase's classes atomically, float32, shape (C, b)."""
    content = io.BytesIO()
    np.save(content, attention.cpu().numpy().astype(np.float32), allow_pickle=False)
    write_bytes(path, content.getvalue())
