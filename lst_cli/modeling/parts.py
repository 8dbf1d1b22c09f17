"""A batch that is computed in parts, by several processes or one part after another.

Whatever the parts are, regions are the same and losses add up to those of the whole batch. For this
random numbers of regions are drawn from a stream for each image (in a stream for the batch, what is
drawn for an image depends on the images before it), all parts are padded to one size, and losses
are averaged over the counts of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor
from torch.nn import functional as F

from lst_cli.engine.device import torch_seed

Seed = Sequence[int]
NO_SEEDS: Iterator[Seed] = iter(())

# What is drawn for an image.
ANCHORS, PROPOSALS, KEPT_OBJECTS, KEPT_BOXES = range(4)
_STREAM = 13  # other numbers of a position come from streams of other numbers


class Counts(NamedTuple):
    """What the losses of a batch are averaged over."""

    images: int
    regions: int
    objects: int  # regions that have a class
    distilled: int  # boxes that are compared with the teacher's

    @classmethod
    def of(cls, sampled: list[Instances], classes: int, distilled: list[Boxes]) -> Counts:
        """Count the regions that train the heads and the boxes that are distilled, by image."""
        labels = torch.cat([one.gt_classes for one in sampled])
        objects = int(((labels >= 0) & (labels < classes)).sum())
        return cls(len(sampled), len(labels), objects, sum(map(len, distilled)))


_AVERAGED_OVER = {
    "loss_rpn_cls": "images",
    "loss_rpn_loc": "images",
    "loss_cls": "regions",
    "loss_box_reg": "regions",
    "loss_mask": "objects",
    "loss_distill": "distilled",
}


@dataclass(frozen=True)
class Part:
    """What a part has to know of the batch."""

    seed: Seed  # of the phase
    padded_to: tuple[int, int]  # height and width of the largest image
    whole: Callable[[Counts], Counts]  # the counts of the batch from those of the part

    def pad(self, images: ImageList, divisor: int) -> ImageList:
        """Pad images to the size of the batch, as detectron2 does: to a multiple of a divisor."""
        height, width = (-(-side // max(divisor, 1)) * max(divisor, 1) for side in self.padded_to)
        room = (0, width - images.tensor.shape[-1], 0, height - images.tensor.shape[-2])
        return ImageList(F.pad(images.tensor, room), images.image_sizes)

    def share(self, losses: Mapping[str, Tensor], own: Counts) -> dict[str, Tensor]:
        """The share of the part, with its `own` counts, in the losses of the batch."""
        shares = {
            name: mine / max(every, 1)
            for name, mine, every in zip(Counts._fields, own, self.whole(own), strict=True)
        }
        return {name: loss * shares[_AVERAGED_OVER[name]] for name, loss in losses.items()}


def seeds_of(batch: Sequence[dict[str, Any]], part: Part | None, use: int) -> Iterator[Seed]:
    """The seed of each image, by its position in training; none for a batch that has no parts."""
    return iter([(*part.seed, _STREAM, use, item["position"]) for item in batch] if part else [])


@contextmanager
def drawn_from(seed: Seed | None) -> Iterator[None]:
    """Let torch draw from a stream of its own while this lasts; without a seed nothing changes."""
    if seed is None:
        yield
        return
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(torch_seed(seed))
        yield
