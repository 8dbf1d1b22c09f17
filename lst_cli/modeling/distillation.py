"""Distillation against forgetting (Eq. 2): the previous phase's model teaches the old classes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from lst_cli.modeling.heads.class_losses import BinaryLoss
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.heads.roi_heads import LstROIHeads
from lst_cli.settings.models import DistillRegions


class Teacher(nn.Module):
    """The previous phase's model, frozen, on given boxes; its backbone and heads are copied.

    Whatever of the student's backbone is frozen by now is the teacher's too: its features are taken
    from the student's pass and not computed again.

    The `regions` are the boxes that are compared: annotated objects of new classes (Eq. 2), of all
    seen classes, or the regions that train the heads. `weight` is that of `loss_distill`, and
    `classes` is how many are compared, in class order; by default all that it knows.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: LstROIHeads,
        student: Any,  # its backbone
        *,
        weight: float = 1.0,
        regions: DistillRegions = "new",
        classes: int | None = None,
    ) -> None:
        super().__init__()
        self.weight, self.regions = weight, regions
        self.shares_bottom_up = not _is_trained(student.bottom_up)
        # A deepcopy that finds a module in its memo takes the substitute given there: one that
        # returns features that are already there.
        memo = {id(backbone.bottom_up): nn.Identity()} if self.shares_bottom_up else {}
        self.backbone = deepcopy(backbone, memo) if _is_trained(student) else None
        self.box_in_features = heads.box_in_features
        self.box_pooler = deepcopy(heads.box_pooler)
        self.box_head = deepcopy(heads.box_head)
        self.classifier = deepcopy(heads.box_predictor.cls_score)
        self.classes = len(self.classifier.class_rows) if classes is None else classes
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        bottom_up: dict[str, Tensor],
        features: dict[str, Tensor],
        boxes: list[Boxes],
    ) -> Tensor:
        """Cosines of R boxes, image by image, with the rows of the old classes, shape (R, K_old).

        Images are normalised, shape (N, 3, H, W); the other features are the student's.
        """
        if self.backbone is not None:
            features = self.backbone(bottom_up if self.shares_bottom_up else images)
        pooled = self.box_pooler([features[name] for name in self.box_in_features], boxes)
        region = self.box_head(pooled)
        return cosines(region, self.classifier.class_rows[: self.classes])

    def boxes_of(self, targets: list[Instances], sampled: list[Instances]) -> list[Boxes]:
        """The boxes that are compared, image by image.

        Targets are annotated objects, with `gt_labels`; the `sampled` regions train the heads.
        """
        if self.regions == "sampled":
            return [one.proposal_boxes for one in sampled]
        # All objects of these classes, also those that do not count in their sample.
        first = self.classes if self.regions == "new" else 0
        return [one.gt_boxes[one.gt_labels >= first] for one in targets]

    def losses(
        self,
        heads: LstROIHeads,
        images: Tensor,
        bottom_up: dict[str, Tensor],
        features: dict[str, Tensor],
        boxes: list[Boxes],
    ) -> dict[str, Tensor]:
        """Compare a model in training with its teacher; see `forward`."""
        old = self.classes
        region = heads.box_features(features, boxes)
        known = self(images, bottom_up, features, boxes)
        classifier, class_loss = heads.box_predictor.cls_score, heads.box_predictor.class_loss
        student = cosines(region, classifier.weight[:old])
        if isinstance(class_loss, BinaryLoss):
            loss = class_loss.distillation(
                classifier.logits(student), self.classifier.logits(known)
            )
        else:
            loss = distillation_loss(student, known)
        return {"loss_distill": self.weight * loss}


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance between the scores that two models give the old classes.

    These are cosines, before the scale and without the background, on ground-truth boxes of new
    classes: shape (R, K). The sum over classes is averaged over boxes; 0 without boxes, with a
    gradient of 0.
    """
    squared = (student - teacher.detach()).square()  # (R, K)
    return squared.sum() / max(len(squared), 1)
