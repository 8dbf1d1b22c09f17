"""Episodes: every iteration, rows of the new classes are written from a support set (3.4).

The paper computes new support images in each iteration; the memory of their graph grows with the
phase. What the box head reads of a support box does not change while the backbone is frozen, so it
can be kept. If the feature pyramid is trained, kept features are as old as the class's last
appearance in a batch, and support does not train the pyramid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from torch import Tensor, nn

from lst_cli.engine import processes
from lst_cli.modeling.heads.roi_heads import LstROIHeads
from lst_cli.modeling.parts import NO_SEEDS, Seed, drawn_from
from lst_cli.modeling.transfer import boxes_to_device
from lst_cli.modeling.weight_generator import WeightGenerator, average_by_class

SupportBoxes = Literal["ground-truth", "jittered", "proposals"]

# Edges of a jittered box move by up to this share of its size: IoU 0.64 at the least.
JITTER = 0.1
POSITIVE_IOU = 0.5


class FeatureBank(nn.Module):
    """The newest pooled features of each new class, in a ring of a few places.

    Its buffers are saved with the state of a phase under way, so that a run that continues draws
    what it would have drawn.
    """

    def __init__(self, *, classes: int, places: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.places = places
        self.pooled: Tensor
        self.added: Tensor
        self.register_buffer("pooled", torch.zeros(classes, places, *shape))
        self.register_buffer("added", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def add(self, labels: Tensor, pooled: Tensor) -> None:
        """Keep boxes of classes 0 ... C - 1, each in place of the oldest of its class."""
        added = self.added.tolist()
        newest: dict[tuple[int, int], int] = {}
        for box, label in enumerate(labels.tolist()):
            newest[label, added[label] % self.places] = box
            added[label] += 1
        places = torch.tensor([(*at, box) for at, box in newest.items()], dtype=torch.int64)
        rows, columns, boxes = places.reshape(-1, 3).T.to(self.pooled.device, non_blocking=True)
        self.pooled[rows, columns] = pooled[boxes].to(self.pooled)
        self.added.copy_(torch.tensor(added), non_blocking=True)

    def draw(self, shots: int) -> tuple[Tensor, Tensor]:
        """Draw so many boxes of every class, none twice; all there are, where there are fewer.

        Gives the class of each box, shape (R,), on the CPU, and its pooled features, (R, ...).
        """
        classes, places = len(self.pooled), self.places
        filled = self.added.clamp(max=places).cpu()  # (C,)
        # Drawn on the CPU, whose numbers are the same on every machine.
        lots = torch.rand(classes, places)
        lots[torch.arange(places) >= filled[:, None]] = 2.0  # empty places come last
        chosen = lots.argsort(dim=1)[:, :shots]  # (C, shots)
        labels, shot = torch.nonzero(torch.arange(chosen.shape[1]) < filled[:, None], as_tuple=True)
        drawn = torch.stack([labels, chosen[labels, shot]])
        rows, columns = drawn.to(self.pooled.device, non_blocking=True)
        return labels, self.pooled[rows, columns]


class Episodes(nn.Module):
    """Writes the rows of the new classes, with labels `new`, during a phase.

    An episode has `shots` boxes a class. `kept` are features of support boxes; None if every
    episode computes them from images. Offsets (not the paper's) are learned on generated rows.
    """

    def __init__(
        self,
        generator: WeightGenerator,
        *,
        new: range,
        shots: int,
        boxes: SupportBoxes,
        kept: FeatureBank | None,
        learn_offsets: bool,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.new, self.shots, self.boxes = new, shots, boxes
        self.kept = kept  # the name is in saved training states
        self._found: list[tuple[Tensor, Tensor]] = []  # to be kept
        offsets = torch.zeros(len(new), generator.features)  # (C, D)
        self.offsets = nn.Parameter(offsets) if learn_offsets else None

    @contextmanager
    def rows_of(
        self, model: GeneralizedRCNN, support: list[dict[str, Any]] | None
    ) -> Iterator[None]:
        """Let a model score with freshly written rows, from support images or kept features."""
        heads = model.roi_heads
        if self.kept is not None:
            labels, pooled = self.kept.draw(self.shots)
        else:
            assert support is not None
            labels, pooled = self._compute(model, support)
        weight = heads.box_predictor.cls_score.weight
        written = self.generator(
            heads.box_head(pooled), weight[: self.generator.base_classes], weight[-1]
        )
        labels = labels.to(written.device, non_blocking=True)
        rows = average_by_class(written, labels, len(self.new))
        if self.offsets is not None:
            rows = rows + self.offsets
        with heads.box_predictor.cls_score.new_rows(rows):
            yield

    @torch.no_grad()
    def refresh(
        self,
        heads: LstROIHeads,
        features: dict[str, Tensor],
        targets: list[Instances],
        proposals: list[Boxes],
        object_seeds: Iterator[Seed] = NO_SEEDS,
        box_seeds: Iterator[Seed] = NO_SEEDS,
    ) -> None:
        """Find what the query batch shows of new classes, also what does not count in its sample.

        `features` is the pyramid of the batch, `proposals` are those of the network; targets are
        annotated objects, on the CPU; seeds are those of the images, for the choice of objects and
        for their boxes.
        """
        if self.kept is None:
            return
        # A crowd of one class in one image must not push out what other images showed.
        most = max(1, self.kept.places // 2)
        chosen = []
        for target in targets:
            with drawn_from(next(object_seeds, None)):
                chosen.append(target[_some_of_each(target.gt_labels, most)])
        labels, boxes = self.choose(chosen, proposals, box_seeds)
        self._found.append((labels, heads.pooled_boxes(features, boxes)))

    def keep(self) -> None:
        """Keep what was found since the last call, by all processes: after each update.

        An update that fails then leaves no trace, and the iteration can be repeated.
        """
        if self.kept is not None:
            labels, pooled = (torch.cat(each) for each in zip(*self._found, strict=True))
            self.kept.add(processes.gather(labels), processes.gather(pooled))
            self._found.clear()

    def choose(
        self,
        targets: list[Instances],
        proposals: list[Boxes],
        seeds: Iterator[Seed] = NO_SEEDS,
    ) -> tuple[Tensor, list[Boxes]]:
        """Choose support boxes of the new classes in a batch, whose targets are on the CPU.

        Gives the class of each box, 0 ... C - 1, shape (R,), on the CPU, and the boxes, image by
        image, on the device of the proposals.
        """
        labels, boxes = [], []
        for target, regions in zip(targets, proposals, strict=True):
            mine = (target.gt_labels >= self.new.start) & (target.gt_labels < self.new.stop)
            labels.append(target.gt_labels[mine] - self.new.start)
            truth = boxes_to_device(target.gt_boxes[mine], regions.device)
            with drawn_from(next(seeds, None)):
                boxes.append(support_boxes(truth, regions, self.boxes))
        return torch.cat(labels), boxes

    def _compute(
        self, model: GeneralizedRCNN, support: list[dict[str, Any]]
    ) -> tuple[Tensor, Tensor]:
        """Pool the support boxes of images, with gradients wherever something is trained."""
        images = model.preprocess_image(support)
        targets = [item["instances"] for item in support]
        wanted = torch.arange(self.new.start, self.new.stop)
        # Only the class that an entry stands for: others have their own entries.
        # (An object that is background in the entry has a class behind the last one.)
        targets = [target[torch.isin(target.gt_classes, wanted)] for target in targets]
        features = model.backbone(images.tensor)
        proposals = [boxes_to_device(target.gt_boxes, model.device) for target in targets]
        if self.boxes == "proposals":
            proposals = regions_of(model, images, features)
        labels, boxes = self.choose(targets, proposals)
        return labels, model.roi_heads.pooled_boxes(features, boxes)


@torch.no_grad()
def regions_of(
    model: GeneralizedRCNN, images: ImageList, features: dict[str, Tensor]
) -> list[Boxes]:
    """Regions of the proposal network, image by image, as in evaluation."""
    network = model.proposal_generator
    training = network.training
    regions, _ = network.eval()(images, features, None)
    network.train(training)
    return [region.proposal_boxes for region in regions]


def _some_of_each(labels: Tensor, most: int) -> Tensor:
    """Positions of a few objects of each label, drawn by lot, in their order, shape (R,).

    Labels are on the CPU.
    """
    found, chosen = labels.tolist(), []
    counts: Counter[int] = Counter()
    for place in torch.randperm(len(labels)).tolist():
        counts[found[place]] += 1
        if counts[found[place]] <= most:
            chosen.append(place)
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def support_boxes(truth: Boxes, proposals: Boxes, choice: SupportBoxes) -> Boxes:
    """For each object its box, the same with moved edges, or a proposal with an IoU of 0.5."""
    if choice == "ground-truth" or not len(truth):
        return truth
    boxes = truth.tensor
    if choice == "jittered":
        size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)  # (R, 4)
        shake = torch.rand(boxes.shape).to(boxes) * 2 - 1
        return Boxes(boxes + JITTER * size * shake)
    overlap = pairwise_iou(truth, proposals)  # (R, P)
    lots = torch.rand(overlap.shape).to(overlap) * (overlap >= POSITIVE_IOU)
    if not overlap.shape[1]:
        return truth
    best, chosen = lots.max(dim=1)
    return Boxes(torch.where((best > 0)[:, None], proposals.tensor[chosen], boxes))
