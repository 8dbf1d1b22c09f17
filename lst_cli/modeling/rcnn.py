"""The whole network: detectron2's Mask R-CNN, with distillation among its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Boxes
from torch import Tensor

from lst_cli.modeling.cosine import cosines
from lst_cli.modeling.distillation import distillation_loss

if TYPE_CHECKING:
    from lst_cli.modeling.episodes import Episodes
    from lst_cli.modeling.teacher import Teacher


class LstRCNN(GeneralizedRCNN):  # type: ignore[misc]
    """Mask R-CNN with a cosine classifier and masks made from its rows.

    Attributes:
        episodes: Who writes the rows of new classes while a phase with the meta weight
            generator is trained; None otherwise, and in every finished model.
    """

    episodes: Episodes | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_module("episodes", None)

    @property
    def classes(self) -> int:
        """K, classes without the background."""
        return int(self.roi_heads.num_classes)

    @property
    def row_features(self) -> int:
        """D, length of a box feature and of a classifier row."""
        return int(self.roi_heads.box_predictor.cls_score.weight.shape[1])

    def losses(
        self,
        batch: list[dict[str, Any]],
        teacher: Teacher | None = None,
        distill_weight: float = 1.0,
        support: list[dict[str, Any]] | None = None,
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        With `episodes`, the batch is the query, scored with the old rows and with rows that are
        written from a support set.

        Args:
            batch: detectron2's dicts: `image`, shape (3, H, W), and `instances` with `gt_boxes`,
                `gt_masks`, `gt_labels`, and `gt_classes`, which is `IGNORED` where an object
                does not count.
            teacher: The previous phase's model; without it there is no `loss_distill`.
            distill_weight: Weight of `loss_distill`.
            support: Support images, if `episodes` wants them anew in every iteration.
        """
        # Only here: teacher imports this module for its type.
        from lst_cli.modeling.teacher import recorded

        images = self.preprocess_image(batch)
        targets = [item["instances"].to(self.device) for item in batch]
        with recorded(self.backbone.bottom_up) as bottom_up:
            features = self.backbone(images.tensor)
        proposals, losses = self.proposal_generator(images, features, targets)
        if self.episodes is None:
            _, of_heads = self.roi_heads(images, features, proposals, targets)
        else:
            with self.episodes.rows_of(self, support):
                _, of_heads = self.roi_heads(images, features, proposals, targets)
            regions = [found.proposal_boxes for found in proposals]
            self.episodes.refresh(self.roi_heads, features, targets, regions)
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
