"""The region proposal network, which need not unlearn objects of later phases."""

from __future__ import annotations

import torch
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from lst_cli.modeling.heads.roi_heads import FUTURE


class LstRPN(RPN):  # type: ignore[misc]
    """detectron2's network; an object of the future is neither object nor background."""

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label anchors 1 (object), 0 (background) or -1 (not used), with the box of each.

        Objects whose `gt_labels` are `FUTURE` take their anchors out of the background.
        """
        future = [
            one.gt_boxes[one.gt_labels == FUTURE] if one.has("gt_labels") else one.gt_boxes[:0]
            for one in gt_instances
        ]
        if not any(len(boxes) for boxes in future):
            labelled: tuple[list[Tensor], list[Tensor]]
            labelled = super().label_and_sample_anchors(anchors, gt_instances)
            return labelled
        seen = [one[one.gt_labels != FUTURE] for one in gt_instances]
        labels, matched = super().label_and_sample_anchors(anchors, seen)
        every = Boxes.cat(anchors)
        for label, boxes in zip(labels, future, strict=True):
            # What they would be if the object were known, the best anchor of a small one included.
            _, known = self.anchor_matcher(pairwise_iou(boxes, every))
            label[(label == 0) & (known != 0)] = -1
        return labels, matched
