"""Rows of new classes fitted against the background and the old classes of known images.

A row that only points at the boxes of its class, as a mean feature does, also points at what all
boxes have in common: it finds its class everywhere. The images that the workspace was trained on
show what the class is not, because it is not annotated there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms

from lst_cli.modeling.episodes import regions_of
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.weight_generator import average_by_class
from lst_cli.progress import Progress, silent
from lst_cli.workspace.manifest import FALSE_ALARM_SCORES

KNOWN_IMAGES = 100
# How far a row may turn away from the one it starts from, against the other terms of the loss.
_HOLD = 10.0
_FIRST_WEIGHT, _MOST_DOUBLINGS = 0.5, 12
_STEPS = 60


@dataclass(frozen=True)
class Boxes:
    """R regions and what the old model makes of them, on the CPU."""

    features: Tensor  # shape (R, D)
    others: Tensor  # logarithm of the sum of exponentials of all old logits, shape (R,)

    @staticmethod
    def of(features: Tensor, logits: Tensor) -> Boxes:
        """From features and old logits, shapes (R, D) and (R, K + 1), on any device."""
        return Boxes(features.float().cpu(), logits.logsumexp(dim=1).cpu())


@dataclass(frozen=True)
class KnownImages(Boxes):
    """The regions of N images in which no new class is annotated."""

    boxes: Tensor  # as a new class, with average regressors, would have them, shape (R, 4)
    images: Tensor  # the image of each region, 0 ... N - 1, shape (R,)
    count: int  # N
    old_alarms: tuple[float, ...]  # of a mean old class in 100 images without it, at each score


@torch.no_grad()
def read_known_images(
    model: LstRCNN, items: Iterable[tuple[dict[str, Any], Sequence[int]]]
) -> KnownImages | None:
    """Run an old model of K classes on images, each with the labels that are annotated in it.

    Gives None where there is no image.
    """
    predictor = model.roi_heads.box_predictor
    threshold = predictor.test_nms_thresh
    parts: list[tuple[Boxes, Tensor]] = []
    alarms, without = np.zeros(len(FALSE_ALARM_SCORES)), 0
    for item, annotated in items:
        images = model.preprocess_image([item])
        maps = model.backbone(images.tensor)
        [regions] = regions_of(model, images, maps)
        features = model.roi_heads.box_features(maps, [regions])
        logits, deltas = predictor(features)
        by_class = deltas.reshape(len(deltas), -1, 4)  # (R, K or 1, 4)
        average = predictor.box2box_transform.apply_deltas(by_class.mean(dim=1), regions.tensor)
        parts.append((Boxes.of(features, logits), average.cpu()))
        scores = logits.softmax(dim=1)[:, :-1]
        absent = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
        absent[list(annotated)] = False
        without += int(absent.sum())
        for place, least in enumerate(FALSE_ALARM_SCORES):
            rows, labels = ((scores > least) & absent).nonzero(as_tuple=True)
            own = by_class[rows, labels if by_class.shape[1] > 1 else 0]
            boxes = predictor.box2box_transform.apply_deltas(own, regions.tensor[rows])
            alarms[place] += len(batched_nms(boxes, scores[rows, labels], labels, threshold))
    if not parts:
        return None
    counts = torch.tensor([len(boxes) for _, boxes in parts])
    return KnownImages(
        features=torch.cat([read.features for read, _ in parts]),
        others=torch.cat([read.others for read, _ in parts]),
        boxes=torch.cat([boxes for _, boxes in parts]),
        images=torch.repeat_interleave(torch.arange(len(parts)), counts),
        count=len(parts),
        old_alarms=tuple((100 * alarms / max(without, 1)).tolist()),
    )


@dataclass(frozen=True)
class Calibration:
    """The boxes of C new classes, and images without these classes.

    `labels` are the class of each box, 0 ... C - 1; every class has one. The logits of the model
    are `scale` times a cosine, and `nms` is its IoU threshold.
    """

    own: Boxes
    labels: Tensor
    known: KnownImages
    scale: float
    nms: float

    def fit(self, rows: Tensor, progress: Progress = silent) -> Tensor:
        """Turn the rows of the new classes, shape (C, D), away from what they must not find.

        Each is fitted by logistic regression: its own boxes are to have it, no region of a known
        image is, and it stays near the row it was. The weight of known images is doubled for a
        class until it raises no more false alarms than the mean old class. Lengths stay.
        """
        lengths = rows.norm(dim=1, keepdim=True)
        start = fitted = F.normalize(rows, dim=1)
        weights = torch.full((len(rows),), _FIRST_WEIGHT)
        limits = torch.tensor(self.known.old_alarms)
        for done in range(1, _MOST_DOUBLINGS + 1):
            fitted = self._fit(fitted, start, weights)
            progress("fitting the rows", done, _MOST_DOUBLINGS)
            above = (self.alarms(fitted) > limits).any(dim=1)
            if not above.any():
                break
            weights[above] *= 2
        turned: Tensor = fitted * lengths
        return turned

    def _fit(self, rows: Tensor, start: Tensor, weights: Tensor) -> Tensor:
        free = rows.clone().requires_grad_(True)
        steps = torch.optim.LBFGS([free], max_iter=_STEPS, line_search_fn="strong_wolfe")
        boxes = torch.bincount(self.labels, minlength=len(rows)).clamp(min=1)

        def loss() -> Tensor:
            steps.zero_grad()
            found = -self._log_scores(self.own, free).gather(1, self.labels[:, None])[:, 0]
            wrong = -torch.log1p(-self._log_scores(self.known, free).exp().clamp(max=1 - 1e-6))
            turned = 1 - F.cosine_similarity(free, start, dim=1)
            total = (
                (found / boxes[self.labels]).sum()
                + (weights * wrong.sum(dim=0)).sum() / self.known.count
                + _HOLD * turned.sum()
            )
            total.backward()  # type: ignore[no-untyped-call]
            return total

        steps.step(loss)  # type: ignore[no-untyped-call]
        return F.normalize(free.detach(), dim=1)

    def _log_scores(self, boxes: Boxes, rows: Tensor) -> Tensor:
        """Logarithm of the scores of the new classes, shape (R, C)."""
        logits = self.scale * cosines(boxes.features, rows)
        scores: Tensor = logits - torch.logaddexp(logits.logsumexp(dim=1), boxes.others)[:, None]
        return scores

    @torch.no_grad()
    def own_scores(self, rows: Tensor) -> Tensor:
        """Mean score of the boxes of each class as that class, shape (C,)."""
        scores = self._log_scores(self.own, rows).exp().gather(1, self.labels[:, None])[:, 0]
        means = average_by_class(scores[:, None], self.labels, len(rows))[:, 0]
        return means.clamp(max=1)  # rounding may give more

    @torch.no_grad()
    def alarms(self, rows: Tensor) -> Tensor:
        """Detections of each class in 100 known images, at each score, shape (C, scores)."""
        known, scores = self.known, self._log_scores(self.known, rows).exp()
        counts = torch.zeros(len(rows), len(FALSE_ALARM_SCORES))
        for place, least in enumerate(FALSE_ALARM_SCORES):
            regions, labels = (scores > least).nonzero(as_tuple=True)
            groups = known.images[regions] * len(rows) + labels
            values = scores[regions, labels]
            kept = batched_nms(known.boxes[regions], values, groups, self.nms)
            counts[:, place] = torch.bincount(labels[kept], minlength=len(rows))
        return 100 * counts / known.count
