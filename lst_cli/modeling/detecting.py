"""From the scores of all regions to an image's detections, without looking at all of them."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import ShapeSpec, batched_nms
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, _log_classification_stats
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from lst_cli.modeling.heads.class_losses import ClassLoss, SoftmaxLoss

# Up to so many candidates torchvision suppresses all classes in one call, with the boxes of each
# class moved apart, which rounds them. So few are handed over as detectron2 does.
_AT_ONCE_ON_CPU, _AT_ONCE_ON_GPU = 1_000, 25_000
_FIRST = 8  # candidates looked at first, for each detection that is wanted
_MORE = 4  # times as many, where too few of them survive


class DetectingOutputLayers(FastRCNNOutputLayers):  # type: ignore[misc]
    """Fast R-CNN's output layers whose inference keeps pace with a thousand classes.

    A thousand regions and 1,230 classes make 1.2 million candidates, and detectron2 decodes, sorts
    and suppresses them all. But only a higher-scored candidate of the same class can suppress one:
    so the best are looked at, and more of them only if too few survive. The detections are
    detectron2's, in its order; of equal scores the earlier region, then the lower label is first.
    """

    def __init__(
        self, input_shape: ShapeSpec, *, class_loss: ClassLoss | None = None, **options: Any
    ) -> None:
        super().__init__(input_shape, **options)
        self.class_loss = class_loss or SoftmaxLoss()

    def losses(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> dict[str, Tensor]:
        """Losses of classes and boxes of sampled regions, which may have `gt_negatives`.

        As detectron2's, without its cross-entropy, and with a background as the class loss has it.
        """
        logits, deltas = predictions
        classes = torch.cat([one.gt_classes for one in proposals])
        least = self.class_loss.even_logit
        compared = logits if least is None else F.pad(logits[:, :-1], (0, 1), value=least)
        _log_classification_stats(compared.detach(), classes)
        regions = torch.cat([one.proposal_boxes.tensor for one in proposals])
        # Regions of images without objects have no `gt_boxes`, and need none.
        truth = [one.gt_boxes if one.has("gt_boxes") else one.proposal_boxes for one in proposals]
        of_boxes = self.box_reg_loss(
            regions, torch.cat([one.tensor for one in truth]), deltas, classes
        )
        negatives = None
        if proposals[0].has("gt_negatives"):
            negatives = torch.cat([one.gt_negatives for one in proposals])
        return {
            "loss_cls": self.class_loss.loss(logits, classes, negatives),
            "loss_box_reg": of_boxes * self.loss_weight.get("loss_box_reg", 1.0),
        }

    def predict_probs(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> tuple[Tensor, ...]:
        """Scores of the regions of each image, shape (R, K + 1)."""
        scores = self.class_loss.scores(predictions[0])
        return torch.split(scores, [len(one) for one in proposals])

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections of images, whose regions are in `proposal_boxes`.

        The predictions are logits, shape (R, K + 1), background last, and box deltas, shape (R, 4K)
        or (R, 4), of all regions, image by image. Gives instances of each image with `pred_boxes`,
        clipped to it, `scores` and `pred_classes`, the best first; and the regions they are from.
        """
        if not proposals:
            return [], []
        counts = [len(one) for one in proposals]
        found = [
            self._detect(scores, deltas, one.proposal_boxes.tensor, one.image_size)
            for scores, deltas, one in zip(
                self.predict_probs(predictions, proposals),
                torch.split(predictions[1], counts),
                proposals,
                strict=True,
            )
        ]
        return [instances for instances, _ in found], [regions for _, regions in found]

    def _detect(
        self, scores: Tensor, deltas: Tensor, regions: Tensor, size: tuple[int, int]
    ) -> tuple[Instances, Tensor]:
        """Detections of one image, from scores of shape (R, K + 1) and boxes, shape (R, 4)."""
        rows = None
        usable = self._find_finite(scores, deltas, regions)
        if not usable.all():
            rows = usable.nonzero()[:, 0]
            scores, deltas, regions = scores[rows], deltas[rows], regions[rows]
        scores = scores[:, :-1]  # (R, K)
        eligible = scores > self.test_score_thresh
        candidates = int(eligible.count_nonzero())
        wanted = self.test_topk_per_image
        few = _AT_ONCE_ON_CPU if scores.device.type == "cpu" else _AT_ONCE_ON_GPU
        limit = (
            candidates if candidates <= few or wanted < 0 else max(_AT_ONCE_ON_CPU, _FIRST * wanted)
        )
        while True:
            if limit < candidates:
                # All that tie with the last are in: what is chosen then depends on no order.
                least = torch.topk(scores.flatten(), limit, sorted=False).values.min()
                chosen = (eligible & (scores >= least)).nonzero()
            else:
                chosen = eligible.nonzero()
            boxes = self._decode(deltas, regions, chosen, size)
            values = scores[chosen[:, 0], chosen[:, 1]]
            suppress = batched_nms if candidates <= few else suppress_by_class
            kept = suppress(boxes, values, chosen[:, 1], self.test_nms_thresh)
            if len(chosen) == candidates or len(kept) >= wanted:
                break
            limit *= _MORE
        if wanted >= 0:
            kept = kept[:wanted]
        instances = Instances(size)
        instances.pred_boxes = Boxes(boxes[kept])
        instances.scores = values[kept]
        instances.pred_classes = chosen[kept, 1]
        found = chosen[kept, 0]
        return instances, found if rows is None else rows[found]

    def _find_finite(self, scores: Tensor, deltas: Tensor, regions: Tensor) -> Tensor:
        """Whether scores and boxes of a region, of whatever class, are all finite, shape (R,)."""
        # No box of a region reaches further than two that use its largest delta everywhere.
        largest = deltas.abs().amax(dim=1, keepdim=True)  # (R, 1)
        sign = largest.new_tensor([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0])
        furthest = self.box2box_transform.apply_deltas(largest * sign, regions)
        finite = furthest.isfinite().all(dim=1)
        doubtful = (~finite).nonzero()[:, 0]
        if len(doubtful):
            boxes = self.box2box_transform.apply_deltas(deltas[doubtful], regions[doubtful])
            finite[doubtful] = boxes.isfinite().all(dim=1)
        # Probabilities cannot overflow: their sum is finite where each of them is.
        return torch.logical_and(finite, scores.sum(dim=1).isfinite())

    def _decode(
        self, deltas: Tensor, regions: Tensor, chosen: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Boxes of candidates, clipped to the image, shape (M, 4).

        `chosen` has the region and the label of each, shape (M, 2).
        """
        rows, labels = chosen.unbind(dim=1)
        by_class = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
        own = by_class[rows, labels if by_class.shape[1] > 1 else 0]
        boxes = Boxes(self.box2box_transform.apply_deltas(own, regions[rows]))
        boxes.clip(size)
        return torch.as_tensor(boxes.tensor)


def suppress_by_class(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Class-wise non-maximum suppression of M boxes, compared as they are.

    The threshold is the highest IoU with a better box of the class. Gives the places of what is
    kept, the best first, of equal scores the earlier first.
    """
    device = scores.device
    if device.type == "cuda" and len(scores) <= _AT_ONCE_ON_GPU:
        return suppress_at_once(boxes, scores, labels, threshold)
    # A GPU would be asked once a class for a handful of boxes.
    boxes, scores, labels = boxes.float().cpu(), scores.float().cpu(), labels.cpu()
    best_first = scores.sort(descending=True, stable=True).indices
    grouped = best_first[labels[best_first].sort(stable=True).indices]
    _, counts = torch.unique_consecutive(labels[grouped], return_counts=True)
    sizes: list[int] = counts.tolist()
    kept = torch.zeros(len(scores), dtype=torch.bool)
    groups = (torch.split(one, sizes) for one in (grouped, boxes[grouped], scores[grouped]))
    for places, own_boxes, own_scores in zip(*groups, strict=True):
        kept[places if len(places) == 1 else places[nms(own_boxes, own_scores, threshold)]] = True
    return best_first[kept[best_first]].to(device)


def suppress_at_once(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """The same in one call, with the boxes of each class moved apart, in double precision."""
    if not len(boxes):
        return labels
    boxes = boxes.double()
    apart = labels[:, None] * (boxes.max() - boxes.min() + 1)
    return torch.as_tensor(nms(boxes + apart, scores.double(), threshold))
