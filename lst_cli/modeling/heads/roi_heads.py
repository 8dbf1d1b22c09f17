"""Region heads that know which annotated objects count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from detectron2.structures import BitMasks, Boxes, ImageList, Instances, PolygonMasks
from torch import Tensor, nn

from lst_cli.modeling.parts import NO_SEEDS, Seed, drawn_from

IGNORED = -1
"""`gt_classes` of an annotated object that does not count in the entry at hand.

A region that matches it is neither positive nor background: detectron2's sampler skips
regions of this label, and the region proposal network, which reads no classes, still learns that
there is an object.
"""

FUTURE = -1
"""`gt_labels` of an annotated object whose class comes in a later phase."""


@dataclass(frozen=True)
class _MasksOfRegions:
    """The mask of the object of each region; polygons are copied where they are read, no bitmap."""

    masks: BitMasks | PolygonMasks  # of objects
    objects: Tensor  # of each region, shape (R,)

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, regions: Tensor) -> _MasksOfRegions:
        return _MasksOfRegions(self.masks, self.objects[regions])

    def crop_and_resize(self, boxes: Tensor, side: int) -> Tensor:
        cropped: Tensor
        if isinstance(self.masks, PolygonMasks):
            cropped = self.masks[self.objects].crop_and_resize(boxes, side)
            return cropped
        # As detectron2 does it, which would need a bitmap in single precision for each region.
        regions = torch.cat([self.objects[:, None].to(boxes), boxes], dim=1)
        bitmaps = self.masks.tensor[:, None].float()
        cropped = ROIAlign((side, side), 1.0, 0, aligned=True)(bitmaps, regions)[:, 0]
        return cropped >= 0.5


def in_single_precision(
    pooler: nn.Module, inputs: tuple[list[Tensor], list[Boxes]]
) -> tuple[list[Tensor], list[Boxes]]:
    """What detectron2's poolers are to read, as a hook before them.

    They round boxes to the precision of the features: half precision has whole pixels from 1024 on.
    """
    del pooler
    features, boxes = inputs
    return [one.float() for one in features], boxes


class LstROIHeads(StandardROIHeads):  # type: ignore[misc]
    """detectron2's heads; masks are made from classifier rows."""

    pooled_shape: tuple[int, int, int]  # of what the box head reads of a box: (channels, 7, 7)
    seeds: Iterator[Seed] = NO_SEEDS  # of images whose regions are drawn; none: from torch's stream

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
        assert targets is not None
        sampled = self.label_and_sample_proposals(proposals, targets)
        for one, of_image in zip(sampled, negatives, strict=True):
            one.gt_negatives = of_image.to(one.gt_classes.device, non_blocking=True).expand(
                len(one), -1
            )
        losses = self._forward_box(features, sampled) | self._forward_mask(features, sampled)
        return sampled, losses

    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """As in detectron2, which would copy a mask for each region.

        A bitmap takes a byte for each pixel of the image, and most regions are background.
        """
        shared = []
        for one in targets:
            fields = one.get_fields()
            if one.has("gt_masks"):
                objects = torch.arange(len(one), device=one.gt_classes.device)
                fields = {**fields, "gt_masks": _MasksOfRegions(one.gt_masks, objects)}
            shared.append(Instances(one.image_size, **fields))
        return list(super().label_and_sample_proposals(proposals, shared))

    def _sample_proposals(
        self, matched_idxs: Tensor, matched_labels: Tensor, gt_classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        with drawn_from(next(self.seeds, None)):
            return tuple(super()._sample_proposals(matched_idxs, matched_labels, gt_classes))

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
