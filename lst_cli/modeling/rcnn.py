"""The whole network: detectron2's Mask R-CNN, with distillation among its losses, and its RPN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor, nn

from lst_cli.modeling.distillation import Teacher
from lst_cli.modeling.episodes import Episodes
from lst_cli.modeling.frozen import FrozenPart
from lst_cli.modeling.heads.roi_heads import FUTURE
from lst_cli.modeling.parts import (
    ANCHORS,
    KEPT_BOXES,
    KEPT_OBJECTS,
    NO_SEEDS,
    PROPOSALS,
    Counts,
    Part,
    Seed,
    drawn_from,
    seeds_of,
)
from lst_cli.modeling.transfer import boxes_to_device, to_device


class LstRCNN(GeneralizedRCNN):  # type: ignore[misc]
    """Mask R-CNN with a cosine classifier and masks made from its rows."""

    # Only while a phase with the meta weight generator is trained.
    episodes: Episodes | None
    # While what is frozen is computed once for each image.
    frozen: FrozenPart | None = None

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

    def _move_to_current_device(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=True)

    def detect(self, batch: list[dict[str, Any]]) -> list[Instances]:
        """What the model finds in images; `height` and `width` in their dicts are as stored.

        Instances have `pred_boxes` in pixels of the stored image, `scores`, `pred_classes`, and
        `box_masks` inside the boxes, probabilities of shape (N, 28, 28); the best first.
        """
        return detect_with(self, batch)

    def losses(
        self,
        batch: list[dict[str, Any]],
        teacher: Teacher | None = None,
        support: list[dict[str, Any]] | None = None,
        part: Part | None = None,
    ) -> dict[str, Tensor]:
        """All losses of a batch, whose dicts are those of `samples.mapper`, or of a part of one.

        With `episodes`, the batch is the query, scored with the old rows and with rows written from
        kept features or else from the images `support`.
        """
        images = self.preprocess_image(batch)
        if part is not None:
            images = part.pad(images, self.backbone.size_divisibility)
        annotated = [item["instances"] for item in batch]
        targets = [to_device(one, self.device) for one in annotated]
        negatives = [item["negatives"] for item in batch] if "negatives" in batch[0] else None
        proposals, losses = None, {}
        self.proposal_generator.seeds = seeds_of(batch, part, ANCHORS)
        self.roi_heads.seeds = seeds_of(batch, part, PROPOSALS)
        with capture_outputs(self.backbone.bottom_up) as bottom_up:
            if self.frozen is not None:
                features, proposals = self.frozen(images, batch)
            else:
                features = self.backbone(images.tensor)
        if proposals is None:
            shown = targets
            if not any((one.gt_labels == FUTURE).any() for one in annotated):
                # Without labels it need not look for such objects, image by image, on the device.
                shown = [Instances(one.image_size, gt_boxes=one.gt_boxes) for one in targets]
            proposals, losses = self.proposal_generator(images, features, shown)
        if self.episodes is None:
            sampled, of_heads = self.roi_heads(images, features, proposals, targets, negatives)
        else:
            with self.episodes.rows_of(self, support):
                sampled, of_heads = self.roi_heads(images, features, proposals, targets, negatives)
            regions = [found.proposal_boxes for found in proposals]
            seeds = [seeds_of(batch, part, use) for use in (KEPT_OBJECTS, KEPT_BOXES)]
            self.episodes.refresh(self.roi_heads, features, annotated, regions, *seeds)
        losses, distilled = {**losses, **of_heads}, []
        if teacher is not None:
            chosen = teacher.boxes_of(annotated, sampled)
            distilled = [boxes_to_device(one, self.device) for one in chosen]
            losses |= teacher.losses(self.roi_heads, images.tensor, bottom_up, features, distilled)
        if part is not None:
            losses = part.share(losses, Counts.of(sampled, self.classes, distilled))
        return losses


def detect_with(model: GeneralizedRCNN, batch: list[dict[str, Any]]) -> list[Instances]:
    """What any Mask R-CNN finds in images, see `LstRCNN.detect`."""
    found: list[Instances] = model.inference(batch, do_postprocess=False)
    for instances in found:
        # Under this name detectron2 does not draw them on full images.
        instances.box_masks = instances.pred_masks[:, 0]
        instances.remove("pred_masks")
    return [
        detector_postprocess(instances, one["height"], one["width"])
        for instances, one in zip(found, batch, strict=True)
    ]


class LstRPN(RPN):  # type: ignore[misc]
    """detectron2's network; an object of the future is neither object nor background."""

    seeds: Iterator[Seed] = NO_SEEDS  # of images whose anchors are drawn; none: from torch's stream

    def _subsample_labels(self, label: Tensor) -> Tensor:
        with drawn_from(next(self.seeds, None)):
            sampled: Tensor = super()._subsample_labels(label)
        return sampled

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
            return tuple(super().label_and_sample_anchors(anchors, gt_instances))
        seen = [one[one.gt_labels != FUTURE] for one in gt_instances]
        labels, matched = super().label_and_sample_anchors(anchors, seen)
        every = Boxes.cat(anchors)
        for label, boxes in zip(labels, future, strict=True):
            # What they would be if the object were known, the best anchor of a small one included.
            _, known = self.anchor_matcher(pairwise_iou(boxes, every))
            label[(label == 0) & (known != 0)] = -1
        return labels, matched


@contextmanager
def capture_outputs(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the named outputs of a module's calls; nothing of it stays on the module."""
    outputs: dict[str, Tensor] = {}
    handle = module.register_forward_hook(lambda _, __, output: outputs.update(output))
    try:
        yield outputs
    finally:
        handle.remove()
