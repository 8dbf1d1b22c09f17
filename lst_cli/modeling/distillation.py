"""Distillation against forgetting (Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.structures import Boxes, Instances
from torch import Tensor

from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.heads.roi_heads import LstROIHeads
from lst_cli.modeling.teacher import Teacher
from lst_cli.settings.models import DistillRegions


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance between what two models think of the old classes.

    Args:
        student: Cosines of the model in training with the rows of the old classes, before the
            scale and without the background, on ground-truth boxes of new classes: shape (R, K).
        teacher: The same of the previous phase's model, shape (R, K).

    Returns:
        The sum over classes, averaged over boxes; 0 (with a gradient of 0) without boxes.

    Example:
        >>> import torch
        >>> distillation_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, 0.5]]))
        tensor(0.5000)
    """
    squared = (student - teacher.detach()).square()  # (R, K)
    return squared.sum() / max(len(squared), 1)


@dataclass(frozen=True)
class Distillation:
    """What a model in training is to keep of the previous phase's.

    Attributes:
        teacher: The previous phase's model.
        weight: Weight of `loss_distill`.
        regions: Which boxes are compared: annotated objects of new classes (Eq. 2), of all seen
            classes, or the regions that train the heads.
    """

    teacher: Teacher
    weight: float = 1.0
    regions: DistillRegions = "new"

    def losses(
        self,
        heads: LstROIHeads,
        images: Tensor,
        bottom_up: dict[str, Tensor],
        features: dict[str, Tensor],
        targets: list[Instances],
        sampled: list[Instances],
    ) -> dict[str, Tensor]:
        """Compare a model in training with its teacher.

        Args:
            heads: Heads of the model in training.
            images: Normalised images, shape (N, 3, H, W).
            bottom_up: Its bottom-up features.
            features: Its feature pyramid.
            targets: Annotated objects, with `gt_boxes` and `gt_labels`.
            sampled: Regions that train the heads, with `proposal_boxes`.
        """
        old = len(self.teacher.class_rows)
        boxes = self._boxes(old, targets, sampled)
        region = heads.box_features(features, boxes)
        known = self.teacher(images, bottom_up, features, boxes)
        student = cosines(region, heads.box_predictor.cls_score.weight[:old])
        return {"loss_distill": self.weight * distillation_loss(student, known)}

    def _boxes(self, old: int, targets: list[Instances], sampled: list[Instances]) -> list[Boxes]:
        if self.regions == "sampled":
            return [one.proposal_boxes for one in sampled]
        # All objects of these classes, also those that do not count in their entry.
        first = old if self.regions == "new" else 0
        return [one.gt_boxes[one.gt_labels >= first] for one in targets]
