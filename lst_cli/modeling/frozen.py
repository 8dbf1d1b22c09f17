"""The part of a network that a phase does not train, computed once for each view of an image."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

Features = dict[str, Tensor]


def find_frozen(model: Any, megabytes: int) -> FrozenPart | None:
    """The part of a network that is frozen, from its backbone on; None if that is trained."""

    def is_frozen(module: nn.Module) -> bool:
        trained = any(parameter.requires_grad for parameter in module.parameters())
        return not trained and not any(isinstance(m, _BatchNorm) for m in module.modules())

    if not is_frozen(model.backbone):
        return None
    proposals = model.proposal_generator
    return FrozenPart(model.backbone, proposals if is_frozen(proposals) else None, megabytes)


class FrozenPart:
    """Features of a backbone that is frozen whole, and proposals if their network is frozen too.

    Each view (an image, its size and whether it is flipped) is computed by itself, so that results
    do not depend on what is kept: as many views as fit in some megabytes.
    """

    def __init__(self, backbone: nn.Module, proposals: nn.Module | None, megabytes: int) -> None:
        self._backbone, self._proposals = backbone, proposals
        self._left = megabytes * 2**20
        self._kept: dict[Hashable, tuple[Features, Instances | None]] = {}

    @torch.no_grad()
    def __call__(
        self, images: ImageList, batch: list[dict[str, Any]]
    ) -> tuple[Features, list[Instances] | None]:
        """Features of a batch, each map shape (N, C, H, W), and the proposals for each image."""
        found = [self._of(images, row, item) for row, item in enumerate(batch)]
        maps = {}
        for name in found[0][0]:
            each = [features[name] for features, _ in found]
            height, width = (max(one.shape[side] for one in each) for side in (-2, -1))
            maps[name] = torch.cat(
                [F.pad(one, (0, width - one.shape[-1], 0, height - one.shape[-2])) for one in each]
            )
        if self._proposals is None:
            return maps, None
        return maps, [proposals for _, proposals in found if proposals is not None]

    def _of(
        self, images: ImageList, row: int, item: dict[str, Any]
    ) -> tuple[Features, Instances | None]:
        view = item.get("view")
        if view in self._kept:
            return self._kept[view]
        one = ImageList.from_tensors([images[row]], self._backbone.size_divisibility)
        features = self._backbone(one.tensor)
        proposals = None
        if self._proposals is not None:
            network = self._proposals
            training = network.training
            [proposals], _ = network.eval()(one, features, None)
            network.train(training)
        size = sum(map.numel() * map.element_size() for map in features.values())
        if view is not None and size <= self._left:
            self._left -= size
            self._kept[view] = features, proposals
        return features, proposals
