"""The whole network: detectron2's Mask R-CNN, with distillation among its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Boxes
from torch import Tensor

from lst_cli.modeling.cosine import cosines
from lst_cli.modeling.distillation import distillation_loss

if TYPE_CHECKING:
    from lst_cli.modeling.teacher import Teacher


class LstRCNN(GeneralizedRCNN):  # type: ignore[misc]
    """Mask R-CNN with a cosine classifier and masks made from its rows."""

    @property
    def classes(self) -> int:
        """K, classes without the background."""
        return int(self.roi_heads.num_classes)

    def losses(
        self,
        batch: list[dict[str, Any]],
        teacher: Teacher | None = None,
        distill_weight: float = 1.0,
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            batch: detectron2's dicts: `image`, shape (3, H, W), and `instances` with `gt_boxes`,
                `gt_masks`, `gt_labels`, and `gt_classes`, which is `IGNORED` where an object
                does not count.
            teacher: The previous phase's model; without it there is no `loss_distill`.
            distill_weight: Weight of `loss_distill`.
        """
        # Only here: teacher imports this module for its type.
        from lst_cli.modeling.teacher import recorded

        images = self.preprocess_image(batch)
        targets = [item["instances"].to(self.device) for item in batch]
        with recorded(self.backbone.bottom_up) as bottom_up:
            features = self.backbone(images.tensor)
        proposals, losses = self.proposal_generator(images, features, targets)
        _, of_heads = self.roi_heads(images, features, proposals, targets)
        losses = {**losses, **of_heads}
        if teacher is not None:
            old = len(teacher.class_rows)
            # All objects of new classes, also those that do not count in their entry.
            boxes: list[Boxes] = [t.gt_boxes[t.gt_labels >= old] for t in targets]
            student = cosines(
                self.roi_heads.box_features(features, boxes),
                self.roi_heads.box_predictor.cls_score.weight[:old],
            )
            known = teacher(images.tensor, bottom_up, features, boxes)
            losses["loss_distill"] = distill_weight * distillation_loss(student, known)
        return losses
