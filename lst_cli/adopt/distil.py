"""Cosine rows and transferred masks that say what a softmax and its class-specific masks said.

Everything else of the original is kept, frozen. So each image passes through the network once: the
features of its regions are kept, and both parts are trained on those.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.structures import Boxes
from torch import Tensor, nn
from torch.nn import functional as F

from lst_cli.adopt.original import BOXES, CLASSIFIER, MASKS, Original
from lst_cli.modeling.build import build_model
from lst_cli.modeling.grow import BOX_DIMENSIONS
from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.heads.mask_head import class_mask_logits
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings

# Regions of an image that the classifier is trained on: most likely objects, and any others.
_LIKELY, _OTHERS = 48, 48
_MASKS = 8  # detections of an image that masks are trained on, and as many annotated boxes
_MASK_BYTES = 2**30  # of all that is kept of them
_ROW_STEPS, _ROW_BATCH, _ROW_RATE = 2_000, 1_024, 3e-3
_MASK_STEPS, _MASK_BATCH, _MASK_RATE = 800, 48, 1e-3
# Annotated boxes to tell that classes are in another order, and boxes of one class.
_ENOUGH, _ENOUGH_OF_ONE = 20, 4
_TRIED = 2  # steps of each that the time is measured with
_SCALE = 20.0  # of the cosines, to begin with


@dataclass(frozen=True)
class Kept:
    """What is kept of all images: R regions, M objects, and the A annotated boxes."""

    features: Tensor  # fc7 before its ReLU, half precision, shape (R, D)
    masks: Tensor  # convolved features of objects, half precision, shape (M, C, 14, 14)
    mask_labels: Tensor  # shape (M,)
    annotated: Tensor  # labels of annotated boxes, shape (A,)
    called: Tensor  # what the original calls them, shape (A,)

    def find_other_order(self) -> tuple[int, int] | None:
        """A label and what its boxes are called instead, if the classes are in another order.

        That is so if most boxes are right under another numbering of the classes, and few as it is.
        """
        if len(self.called) < _ENOUGH:
            return None
        counts = self._counts()
        every = torch.arange(len(counts))
        # Pairs of a class and a name that are each other's most frequent.
        names, labels = counts.argmax(dim=1), counts.argmax(dim=0)
        right = counts[every, names] * (labels[names] == every)
        if right.sum() < 0.4 * counts.sum() or counts.trace() > 0.5 * right.sum():
            return None
        wrong = right * (names != every)
        label = int(wrong.argmax())
        return label, int(names[label])

    def find_exchanged(self) -> list[tuple[int, int]]:
        """Labels and what their boxes are called instead, where a few names are exchanged.

        Most boxes of each have the name of another label, whose boxes have other names too.
        """
        if len(self.called) < _ENOUGH:
            return []
        counts = self._counts()
        boxes = counts.sum(dim=1)
        most, names = counts.max(dim=1)
        wrong = (most > 0.5 * boxes) & (counts.diagonal() < 0.1 * boxes) & (boxes >= _ENOUGH_OF_ONE)
        for _ in counts:  # until each of them has the name of another, and none has it twice
            given = torch.zeros_like(wrong)
            given[names[wrong]] = True
            wrong &= wrong[names] & given
        return [(int(label), int(names[label])) for label in wrong.nonzero()[:, 0]]

    def _counts(self) -> Tensor:
        """How many boxes of each label are called each label, shape (K, K)."""
        classes = int(torch.cat([self.annotated, self.called]).max()) + 1
        counts = torch.zeros(classes, classes)
        ones = torch.ones(len(self.called))
        return counts.index_put_((self.annotated, self.called), ones, accumulate=True)


class Adoption:
    """An original and the network that takes its place.

    `rows` has the original's row of each label; other rows are left out. The two share all weights
    but those of the classifier and the last layer of the masks.
    """

    def __init__(
        self, original: Original, rows: Sequence[int], settings: Settings, device: torch.device
    ) -> None:
        self.network: LstRCNN = build_model(settings, len(rows))
        theirs = original.rcnn.state_dict()
        chosen = torch.tensor([*rows, original.classes])  # the background is the last
        self._weight = theirs[f"{CLASSIFIER}weight"][chosen].to(device)  # (K + 1, D)
        self._bias = theirs[f"{CLASSIFIER}bias"][chosen].to(device)
        own = chosen[:-1]
        state = self.network.state_dict()
        for name in state:
            if name.startswith(BOXES) and not settings.model.class_agnostic_boxes:
                each = theirs[name].reshape(-1, BOX_DIMENSIONS, *theirs[name].shape[1:])
                state[name] = each[own].flatten(0, 1)
            elif name in theirs and not name.startswith(CLASSIFIER):
                state[name] = theirs[name]
        self.network.load_state_dict(state)
        self.network.to(device).eval().requires_grad_(False)
        weight = theirs[f"{MASKS}weight"].flatten(1).to(device)  # (K, M), or one row for all
        bias = theirs[f"{MASKS}bias"].to(device)
        agnostic = len(weight) == 1
        places = torch.zeros_like(own) if agnostic else own
        self._mask_weight, self._mask_bias = weight[places], bias[places]
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._learn_scale = settings.model.learn_scale

    def _logits(self, features: Tensor) -> Tensor:
        """The original's logits of features before the ReLU, shape (R, K + 1)."""
        return F.linear(F.relu(features), self._weight, self._bias)

    @torch.no_grad()
    def keep(self, images: Iterable[list[dict[str, Any]]], count: int, progress: Progress) -> Kept:
        """Show the images, batch by batch, and keep what the two parts are trained on."""
        model, heads = self.network, self.network.roi_heads
        parts: list[tuple[Tensor, ...]] = []
        room = _MASK_BYTES
        done = 0
        for batch in images:
            pixels = model.preprocess_image(batch)
            maps = model.backbone(pixels.tensor)
            proposals, _ = model.proposal_generator(pixels, maps, None)
            targets = [one["instances"].to(model.device) for one in batch]
            for place, (found, truth) in enumerate(zip(proposals, targets, strict=True)):
                own = {name: one[place : place + 1] for name, one in maps.items()}
                regions = Boxes.cat([truth.gt_boxes, found.proposal_boxes])
                features = heads.box_features(own, [regions])
                logits = self._logits(features)
                certain = 1 - logits.softmax(dim=-1)[:, -1]
                annotated = len(truth)
                likely = certain.argsort(descending=True)[:_LIKELY]
                others = torch.randperm(len(features), generator=self._generator)[:_OTHERS]
                first = torch.arange(annotated, device=likely.device)
                chosen = torch.cat([first, likely, others.to(likely)])
                chosen = torch.unique(chosen)
                known = truth.gt_classes >= 0
                called = logits[:annotated, :-1].argmax(dim=-1)
                detected, _ = heads.box_predictor.inference(
                    (
                        logits[annotated:],
                        heads.box_predictor.bbox_pred(F.relu(features[annotated:])),
                    ),
                    [found],
                )
                best = detected[0][:_MASKS]
                boxes = Boxes.cat([best.pred_boxes, truth.gt_boxes[known][:_MASKS]])
                labels = torch.cat([best.pred_classes, truth.gt_classes[known][:_MASKS]])
                inside = [own[name] for name in heads.mask_in_features]
                masks = heads.mask_pooler(inside, [boxes])
                for layer in heads.mask_head.conv_norm_relus:
                    masks = layer(masks)
                size = masks.numel() * 2
                masks, labels = (masks, labels) if room >= size else (masks[:0], labels[:0])
                room -= size
                parts.append(
                    (
                        features[chosen].half().cpu(),
                        masks.half().cpu(),
                        labels.cpu(),
                        truth.gt_classes[known].cpu(),
                        called[known].cpu(),
                    )
                )
            done += len(batch)
            progress("training images", done, count)
        return Kept(*(torch.cat(one) for one in zip(*parts, strict=True)))

    def estimate(self, batch: list[dict[str, Any]], images: int) -> float:
        """Seconds that so many images and both trainings take, measured; weights change."""
        spent = [time.perf_counter()]
        for _ in range(2):  # the first also loads libraries
            kept = self.keep([batch], len(batch), silent)
            spent.append(time.perf_counter())
        full = replace(
            kept,
            features=kept.features.new_zeros(_ROW_BATCH, kept.features.shape[1]),
            masks=kept.masks.new_zeros(_MASK_BATCH, *kept.masks.shape[1:]),
            mask_labels=kept.mask_labels.new_zeros(_MASK_BATCH),
        )
        for fit in (self.fit_rows, self.fit_masks):
            fit(full, silent, steps=_TRIED)
            spent.append(time.perf_counter())
        _, image, rows, masks = (after - before for before, after in itertools.pairwise(spent))
        return image / len(batch) * images + (rows * _ROW_STEPS + masks * _MASK_STEPS) / _TRIED

    def fit_rows(self, kept: Kept, progress: Progress, *, steps: int = 0) -> None:
        """Train the cosine rows, in all or in so many steps, to give the original's probabilities.

        All rows end with the mean length of the original's, which the masks are made from.
        """
        classifier: Any = self.network.roi_heads.box_predictor.cls_score
        length = self._weight.norm(dim=-1).mean()
        rows = nn.Parameter(F.normalize(self._weight, dim=-1))
        start = _SCALE if self._learn_scale else float(classifier.scale)
        scale = nn.Parameter(torch.tensor(start, device=rows.device).log())
        groups: list[dict[str, Any]] = [{"params": [rows]}]
        if self._learn_scale:
            groups.append({"params": [scale]})
        for chosen in self._steps(
            "training the classifier",
            groups,
            len(kept.features),
            steps or _ROW_STEPS,
            _ROW_BATCH,
            _ROW_RATE,
            progress,
        ):
            features = kept.features[chosen].to(rows.device).float()
            wanted = self._logits(features).softmax(dim=-1)
            given = F.log_softmax(scale.exp() * cosines(features, rows), dim=-1)
            F.kl_div(given, wanted, reduction="batchmean").backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            classifier.weight.copy_(F.normalize(rows, dim=-1) * length)
            classifier.scale.copy_(scale.exp())

    def fit_masks(self, kept: Kept, progress: Progress, *, steps: int = 0) -> None:
        """Train weight transfer and MLP to give objects the original's masks."""
        heads = self.network.roi_heads
        head: Any = heads.mask_head
        rows = heads.box_predictor.cls_score.class_rows.detach()
        trained = [*head.transfer.parameters()]
        if head.mlp_input != "none":
            trained += self._begin_mlp(head)
        for parameter in trained:
            parameter.requires_grad_(True)
        for chosen in self._steps(
            "training the masks",
            [{"params": trained}],
            len(kept.masks),
            steps or _MASK_STEPS,
            _MASK_BATCH,
            _MASK_RATE,
            progress,
        ):
            x = kept.masks[chosen].to(rows.device).float()
            labels = kept.mask_labels[chosen].to(rows.device)
            with torch.no_grad():
                upsampled = head.deconv_relu(head.deconv(x))
                wanted = class_mask_logits(upsampled, self._mask_weight[labels])
                wanted = (wanted + self._mask_bias[labels, None, None, None]).sigmoid()
            given = head.logits_of(x, upsampled, rows.index_select(0, labels))
            F.binary_cross_entropy_with_logits(given, wanted).backward()  # type: ignore[no-untyped-call]
        self.network.requires_grad_(True)

    def _begin_mlp(self, head: Any) -> list[nn.Parameter]:
        """Let the MLP begin as the mean of all classes; what of it is to be trained.

        A single layer on the upsampled features holds this mean exactly, and is left so.
        """
        last: nn.Linear = head.mlp[-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(float(self._mask_bias.mean()))
            if head.mlp_input == "deconv" and len(head.mlp) == 2:
                pixels, channels = last.out_features, self._mask_weight.shape[1]
                places = torch.arange(pixels, device=last.weight.device)
                grid = last.weight.view(pixels, channels, pixels)
                grid[places, :, places] = self._mask_weight.mean(dim=0)
                return []
        return [*head.mlp.parameters()]

    def _steps(
        self,
        what: str,
        groups: list[dict[str, Any]],
        count: int,
        steps: int,
        batch: int,
        rate: float,
        progress: Progress,
    ) -> Iterable[Tensor]:
        """Give places of a batch; its gradients are there when the next one is asked for."""
        optimizer = torch.optim.Adam(groups, lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps if count else 0):
            yield torch.randint(count, (min(batch, count),), generator=self._generator)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            progress(what, step + 1, steps)
