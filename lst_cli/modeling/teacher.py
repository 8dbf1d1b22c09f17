"""The frozen model of the previous phase, as far as distillation needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from detectron2.structures import Boxes
from torch import Tensor, nn

from lst_cli.modeling.heads.cosine import cosines
from lst_cli.modeling.heads.roi_heads import LstROIHeads


class PassThrough(nn.Module):
    """Stands where a network was, and passes on features that are already there."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features unchanged."""
        return features


class Teacher(nn.Module):
    """The previous phase's model, on given boxes.

    Whatever of the student's network is frozen is the teacher's too: its features are taken
    from the student's pass and not computed again.

    Args:
        backbone: Of the previous phase's model; it is copied, not kept.
        heads: Of the same model, with K_old classes; likewise.
        student_trains_bottom_up: Whether the student's bottom-up network is trained.
        student_trains_backbone: Whether any of the student's backbone is (with its pyramid).
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: LstROIHeads,
        *,
        student_trains_bottom_up: bool,
        student_trains_backbone: bool,
    ) -> None:
        super().__init__()
        self.shares_bottom_up = not student_trains_bottom_up
        self.shares_features = not student_trains_backbone
        # A deepcopy that finds a module in its memo takes the substitute given there.
        memo = {id(backbone.bottom_up): PassThrough()} if self.shares_bottom_up else {}
        self.backbone = None if self.shares_features else deepcopy(backbone, memo)
        self.box_in_features = heads.box_in_features
        self.box_pooler = deepcopy(heads.box_pooler)
        self.box_head = deepcopy(heads.box_head)
        self.class_rows: Tensor
        self.register_buffer(
            "class_rows", heads.box_predictor.cls_score.class_rows.detach().clone()
        )
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        bottom_up: dict[str, Tensor],
        features: dict[str, Tensor],
        boxes: list[Boxes],
    ) -> Tensor:
        """Cosines of R boxes with the rows of the old classes, shape (R, K_old).

        Args:
            images: Normalised images, shape (N, 3, H, W).
            bottom_up: The student's bottom-up features.
            features: The student's feature pyramid.
            boxes: Boxes, image by image.
        """
        if self.backbone is not None:
            features = self.backbone(bottom_up if self.shares_bottom_up else images)
        pooled = self.box_pooler([features[name] for name in self.box_in_features], boxes)
        region = self.box_head(pooled)
        return cosines(region, self.class_rows)


@contextmanager
def capture_outputs(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the named outputs of a module's calls; nothing of it stays on the module."""
    outputs: dict[str, Tensor] = {}
    handle = module.register_forward_hook(lambda _, __, output: outputs.update(output))
    try:
        yield outputs
    finally:
        handle.remove()
