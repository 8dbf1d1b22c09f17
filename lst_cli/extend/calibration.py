"""Rows of new classes fitted against the background and the old classes of known images.

A row that only points at the boxes of its class, as a mean feature does, also points at what all
boxes have in common: it finds its class everywhere. The images that the workspace was trained on
show what the class is not, because it is not annotated there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from lst_cli.modeling.detecting import suppress_by_class
from lst_cli.modeling.episodes import regions_of
from lst_cli.modeling.heads.class_losses import ClassLoss, SoftmaxLoss
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.weight_generator import average_by_class
from lst_cli.progress import Progress, silent
from lst_cli.workspace.manifest import FALSE_ALARM_SCORES

KNOWN_IMAGES = 100
POSITIVE_IOU = 0.5
# How far a row may turn away from the one it starts from, against the other terms of the loss.
_HOLD = 1.0
_FIRST_WEIGHT, _FACTOR, _MOST_FITS = 0.5, 2**0.5, 24
_STEPS = 60
# A region scores like an object of a class from this share of the mean score of its boxes on.
_LIKE_OWN = 0.75


@dataclass(frozen=True)
class Regions:
    """R regions and what the old model of K classes makes of them, on the CPU."""

    features: Tensor  # shape (R, D)
    others: Tensor  # logarithm of the sum of exponentials of all old logits, shape (R,)


@dataclass(frozen=True)
class OwnRegions(Regions):
    """Regions with objects of C new classes: annotated boxes and proposals that overlap them."""

    labels: Tensor  # class of each, 0 ... C - 1; every class has one; shape (R,)
    annotated: Tensor  # whether it is an annotated box and not a proposal, shape (R,)
    old_scores: Tensor  # mean scores of the boxes of each class as old classes, shape (C, K)

    @property
    def boxes(self) -> Tensor:
        """Annotated boxes of each class; each is read twice, once mirrored; shape (C,)."""
        return torch.bincount(self.labels[self.annotated], minlength=len(self.old_scores)) // 2


@dataclass(frozen=True)
class KnownImages(Regions):
    """The regions of N images in which no new class is annotated."""

    boxes: Tensor  # as a new class, with average regressors, would have them, shape (R, 4)
    images: Tensor  # the image of each region, 0 ... N - 1, shape (R,)
    unannotated: Tensor  # whether it overlaps no annotated object of any class, shape (R,)
    ids: tuple[int, ...]  # of the N images
    old_alarms: tuple[float, ...]  # of a mean old class in 100 images without it, at each score


@dataclass(frozen=True)
class _Read:
    """What an old model makes of the proposals of an image, and of some boxes behind them."""

    boxes: Tensor  # shape (R, 4)
    features: Tensor  # shape (R, D)
    logits: Tensor  # shape (R, K + 1)
    deltas: Tensor  # shape (R, K or 1, 4)

    @staticmethod
    def of(model: LstRCNN, item: dict[str, Any], boxes: Tensor | None = None) -> _Read:
        images = model.preprocess_image([item])
        maps = model.backbone(images.tensor)
        [found] = regions_of(model, images, maps)
        if boxes is not None:
            found = Boxes.cat([found, Boxes(boxes.to(model.device))])
        features = model.roi_heads.box_features(maps, [found])
        logits, deltas = model.roi_heads.box_predictor(features)
        deltas = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)  # of no region, too
        return _Read(found.tensor, features, logits, deltas)


@torch.no_grad()
def read_own_regions(model: LstRCNN, items: Iterable[dict[str, Any]], new: range) -> OwnRegions:
    """Run an old model on images with `instances` of new classes, and on their mirror images.

    A proposal belongs to the object that it overlaps most, of whatever class.
    """
    class_loss = model.roi_heads.box_predictor.class_loss
    parts: list[tuple[Tensor, ...]] = []
    sums = torch.zeros(len(new), new.start)
    counts = torch.zeros(len(new))
    for item in items:
        objects = item["instances"]
        mine = (objects.gt_labels >= new.start) & (objects.gt_labels < new.stop)
        count = int(mine.sum())
        order = mine.argsort(descending=True, stable=True)  # new classes first
        labels = objects.gt_labels[order] - new.start
        truth = objects.gt_boxes.tensor[order]
        width = item["image"].shape[2]
        mirrored = {**item, "image": item["image"].flip(2)}
        for image, boxes in ((item, truth), (mirrored, _mirror(truth, width))):
            read = _Read.of(model, image, boxes[:count])
            overlap, nearest = box_iou(read.boxes.cpu(), boxes).max(dim=1)
            annotated = torch.arange(len(overlap)) >= len(overlap) - count
            nearest[annotated] = torch.arange(count)
            kept = annotated | ((overlap >= POSITIVE_IOU) & (nearest < count))
            logits = read.logits.cpu()
            scores = class_loss.scores(logits[annotated])[:, :-1]
            sums.index_add_(0, labels[:count], scores)
            counts += torch.bincount(labels[:count], minlength=len(new))
            others = logits.logsumexp(dim=1)
            parts.append(
                (
                    read.features[kept].float().cpu(),
                    others[kept],
                    labels[nearest[kept]],
                    annotated[kept],
                )
            )
    features, others, labels, annotated = map(torch.cat, zip(*parts, strict=True))
    return OwnRegions(features, others, labels, annotated, sums / counts[:, None])


@torch.no_grad()
def read_known_images(
    model: LstRCNN, items: Iterable[tuple[dict[str, Any], Sequence[int], Tensor]]
) -> KnownImages | None:
    """Run an old model on images, each with the old labels that are annotated in it, and boxes.

    These are of objects of any class, XYXY in the pixels of the item, shape (M, 4). Gives None
    where there is no image.
    """
    predictor = model.roi_heads.box_predictor
    decode = predictor.box2box_transform.apply_deltas
    parts: list[tuple[Tensor, ...]] = []
    alarms, without = np.zeros(len(FALSE_ALARM_SCORES)), 0
    ids: list[int] = []
    for item, labels_there, boxes_there in items:
        read = _Read.of(model, item)
        average = decode(read.deltas.mean(dim=1), read.boxes).cpu()
        overlap = box_iou(read.boxes.cpu(), boxes_there)
        parts.append(
            (
                read.features.float().cpu(),
                read.logits.logsumexp(dim=1).cpu(),
                average,
                torch.full((len(average),), len(ids)),
                (overlap < POSITIVE_IOU).all(dim=1),
            )
        )
        ids.append(item["image_id"])
        scores = predictor.class_loss.scores(read.logits)[:, :-1]
        absent = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
        absent[list(set(labels_there))] = False
        without += int(absent.sum())
        for place, least in enumerate(FALSE_ALARM_SCORES):
            rows, labels = ((scores > least) & absent).nonzero(as_tuple=True)
            own = read.deltas[rows, labels if read.deltas.shape[1] > 1 else 0]
            boxes = decode(own, read.boxes[rows])
            values = scores[rows, labels]
            kept = suppress_by_class(boxes, values, labels, predictor.test_nms_thresh)
            alarms[place] += len(kept)
    if not ids:
        return None
    features, others, boxes, images, unannotated = map(torch.cat, zip(*parts, strict=True))
    return KnownImages(
        features,
        others,
        boxes,
        images,
        unannotated,
        tuple(ids),
        old_alarms=tuple((100 * alarms / max(without, 1)).tolist()),
    )


def _mirror(boxes: Tensor, width: int) -> Tensor:
    left, top, right, bottom = boxes.unbind(dim=1)
    return torch.stack([width - right, top, width - left, bottom], dim=1)


@dataclass(frozen=True)
class Calibration:
    """Regions of C new classes, and images without these classes.

    The logits of the model are `scale` times a cosine plus `bias`, and `nms` is its IoU threshold.
    `spared` are regions of known images that need not be told from a class, shape (R, C).
    """

    own: OwnRegions
    known: KnownImages
    scale: float
    nms: float
    spared: Tensor | None = None
    class_loss: ClassLoss = field(default_factory=SoftmaxLoss)
    bias: float = 0.0

    def fit(
        self, rows: Tensor, progress: Progress = silent, *, once: Tensor | None = None
    ) -> Tensor:
        """Turn the rows of the new classes, shape (C, D), away from what they must not find.

        Each is fitted by logistic regression: its own regions are to have it, no region of a
        known image is, and it stays near the row it was. The weight of known images grows for a
        class until it raises no more false alarms than the mean old class. Lengths stay. `once`
        has what `fit_once` gives, where it is known.
        """
        lengths = rows.norm(dim=1, keepdim=True)
        start = F.normalize(rows, dim=1)
        fitted = self.fit_once(rows) if once is None else once
        weights = torch.full((len(rows),), _FIRST_WEIGHT)
        limits = torch.tensor(self.known.old_alarms)
        for done in range(1, _MOST_FITS + 1):
            if done > 1:
                fitted = self._fit(fitted, start, weights)
            progress("fitting the rows", done, _MOST_FITS)
            above = (self.alarms(fitted) > limits).any(dim=1)
            if not above.any():
                break
            weights[above] *= _FACTOR
        turned: Tensor = fitted * lengths
        return turned

    def fit_once(self, rows: Tensor) -> Tensor:
        """Rows, shape (C, D), fitted with the first weight alone; of length 1."""
        start = F.normalize(rows, dim=1)
        return self._fit(start, start, torch.full((len(rows),), _FIRST_WEIGHT))

    def alike(self, once: Tensor) -> Tensor:
        """Regions of known images that score like objects of a class, shape (R, C).

        `once` are the rows of `fit_once`, which find little else. Regions with an annotated object
        do not count: it is known what they are.
        """
        least = _LIKE_OWN * self.own_scores(once)
        high: Tensor = self._log_scores(self.known, once).exp() >= least
        return high & self.known.unannotated[:, None]

    def _fit(self, rows: Tensor, start: Tensor, weights: Tensor) -> Tensor:
        free = rows.clone().requires_grad_(True)
        steps = torch.optim.LBFGS([free], max_iter=_STEPS, line_search_fn="strong_wolfe")
        labels = self.own.labels
        sizes = torch.bincount(labels, minlength=len(rows))

        def loss() -> Tensor:
            steps.zero_grad()
            found = -self._log_scores(self.own, free).gather(1, labels[:, None])[:, 0]
            wrong = -torch.log1p(-self._log_scores(self.known, free).exp().clamp(max=1 - 1e-6))
            if self.spared is not None:
                wrong = wrong.masked_fill(self.spared, 0.0)
            turned = 1 - F.cosine_similarity(free, start, dim=1)
            total = (
                (found / sizes[labels]).sum()
                + (weights * wrong.sum(dim=0)).sum() / len(self.known.ids)
                + _HOLD * turned.sum()
            )
            total.backward()  # type: ignore[no-untyped-call]
            return total

        steps.step(loss)  # type: ignore[no-untyped-call]
        return F.normalize(free.detach(), dim=1)

    def _log_scores(self, regions: Regions, rows: Tensor) -> Tensor:
        """Logarithm of the scores of the new classes, shape (R, C)."""
        logits = self.scale * cosines(regions.features, rows) + self.bias
        return self.class_loss.log_scores(logits, regions.others)

    @torch.no_grad()
    def own_scores(self, rows: Tensor) -> Tensor:
        """Mean score of the annotated boxes of each class as that class, shape (C,)."""
        labels = self.own.labels
        scores = self._log_scores(self.own, rows).exp().gather(1, labels[:, None])
        boxes = self.own.annotated
        means = average_by_class(scores[boxes], labels[boxes], len(rows))[:, 0]
        return means.clamp(max=1)  # rounding may give more

    @torch.no_grad()
    def alarms(self, rows: Tensor) -> Tensor:
        """Detections of each class in 100 known images, at each score, shape (C, scores)."""
        known, scores = self.known, self._log_scores(self.known, rows).exp()
        if self.spared is not None:
            scores = scores.masked_fill(self.spared, 0.0)
        counts = torch.zeros(len(rows), len(FALSE_ALARM_SCORES))
        for place, least in enumerate(FALSE_ALARM_SCORES):
            regions, labels = (scores > least).nonzero(as_tuple=True)
            groups = known.images[regions] * len(rows) + labels
            values = scores[regions, labels]
            kept = suppress_by_class(known.boxes[regions], values, groups, self.nms)
            counts[:, place] = torch.bincount(labels[kept], minlength=len(rows))
        return 100 * counts / len(known.ids)
