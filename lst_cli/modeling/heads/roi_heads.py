"""Region heads that know which annotated objects count."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

IGNORED = -1
"""`gt_classes` of an annotated object that does not count in the entry at hand.

A region that matches it is neither positive nor background: detectron2's sampler skips
regions of this label, and the region proposal network, which reads no classes, still learns that
there is an object.
"""

FUTURE = -1
"""`gt_labels` of an annotated object whose class comes in a later phase."""


class LstROIHeads(StandardROIHeads):  # type: ignore[misc]
    """detectron2's heads; masks are made from classifier rows."""

    pooled_shape: tuple[int, int, int]  # of what the box head reads of a box: (channels, 7, 7)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
        negatives: Sequence[Tensor] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """As in detectron2; in training with what images are annotated for, if it is known.

        Of each image, shape (K,): see `class_losses.BinaryLoss`.
        """
        if negatives is None:
            return tuple(super().forward(images, features, proposals, targets))
        sampled = self.label_and_sample_proposals(proposals, targets)
        for one, of_image in zip(sampled, negatives, strict=True):
            one.gt_negatives = of_image.to(one.gt_classes.device).expand(len(one), -1)
        losses = self._forward_box(features, sampled) | self._forward_mask(features, sampled)
        return sampled, losses

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Feature of each box, image by image: fc7 before its ReLU, shape (R, D)."""
        region: Tensor = self.box_head(self.pooled_boxes(features, boxes))
        return region

    def pooled_boxes(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """What the box head reads of each box, shape (R, channels, 7, 7)."""
        maps = [features[name] for name in self.box_in_features]
        pooled: Tensor = self.box_pooler(maps, boxes)
        return pooled

    def _forward_mask(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        if not self.mask_on:
            return {} if self.training else instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        boxes = [i.proposal_boxes if self.training else i.pred_boxes for i in instances]
        pooled = self.mask_pooler([features[name] for name in self.mask_in_features], boxes)
        result: dict[str, Tensor] | list[Instances] = self.mask_head(
            pooled, instances, self.box_predictor.cls_score.class_rows
        )
        return result
