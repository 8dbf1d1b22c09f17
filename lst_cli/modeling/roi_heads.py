"""Region heads that know which annotated objects count."""

from __future__ import annotations

from detectron2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from detectron2.structures import Boxes, Instances
from torch import Tensor

IGNORED = -1
"""`gt_classes` of an annotated object that does not count in the entry at hand.

A region that matches it is neither positive nor background: detectron2's sampler passes over
regions of this label, and the region proposal network, which reads no classes, still learns
that there is an object.
"""


class LstROIHeads(StandardROIHeads):  # type: ignore[misc]
    """detectron2's heads; masks are made from classifier rows."""

    def box_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Feature of each box: fc7 before its ReLU.

        Args:
            features: Maps of the feature pyramid.
            boxes: Boxes, image by image.

        Returns:
            Shape (R, D).
        """
        maps = [features[name] for name in self.box_in_features]
        region: Tensor = self.box_head(self.box_pooler(maps, boxes))
        return region

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
