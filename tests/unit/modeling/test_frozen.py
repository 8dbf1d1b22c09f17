from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage

from lst_cli.engine.optim import freeze
from lst_cli.modeling.frozen import FrozenPart, find_frozen

pytestmark = pytest.mark.engine


class Backbone(torch.nn.Module):
    """Two maps of an image; counts the images that it sees."""

    size_divisibility = 32

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen += len(images)
        return {"p1": images[:, :, ::8, ::8], "p2": images[:, :, ::32, ::32]}


def batch_of(*views: tuple[int, int, int]) -> tuple[ImageList, list[dict[str, Any]]]:
    """Images that are what their number says everywhere, each with its height and width."""
    images = [torch.full((3, height, width), float(number)) for number, height, width in views]
    return ImageList.from_tensors(images, 32), [{"view": view} for view in views]


def test_each_view_is_computed_once():
    backbone = Backbone()
    part = FrozenPart(backbone, None, megabytes=1)
    maps, proposals = part(*batch_of((1, 64, 64), (2, 64, 64), (1, 64, 64)))
    assert backbone.seen == 2
    assert maps["p1"][:, 0, 0, 0].tolist() == [1, 2, 1]
    assert proposals is None
    part(*batch_of((2, 64, 64)))
    assert backbone.seen == 2


def test_maps_of_unlike_sizes_are_padded_at_the_right_and_below():
    maps, _ = FrozenPart(Backbone(), None, megabytes=1)(*batch_of((1, 32, 64), (2, 64, 32)))
    assert maps["p1"].shape == (2, 3, 8, 8)
    assert maps["p1"][0, 0, 3].tolist() == [1] * 8
    assert maps["p1"][0, 0, 4].tolist() == [0] * 8
    assert maps["p1"][1, 0, 7].tolist() == [2] * 4 + [0] * 4


def test_what_has_no_room_is_computed_again():
    backbone = Backbone()
    part = FrozenPart(backbone, None, megabytes=0)
    for _ in range(2):
        maps, _ = part(*batch_of((1, 64, 64)))
        assert maps["p2"].flatten().tolist() == [1] * 12
    assert backbone.seen == 2
    part = FrozenPart(backbone, None, megabytes=1)
    big = (1, 2048, 2048)  # its maps take 0.8 MB
    for views in ([big], [(2, *big[1:])], [big], [(2, *big[1:])]):
        part(*batch_of(*views))
    assert backbone.seen == 2 + 3


def test_an_image_without_a_view_is_never_kept():
    backbone = Backbone()
    part = FrozenPart(backbone, None, megabytes=1)
    images, _ = batch_of((1, 64, 64))
    for _ in range(2):
        part(images, [{}])
    assert backbone.seen == 2


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], (False, False)),
        (["backbone.bottom_up"], (False, False)),
        (["proposal_generator"], (False, False)),
        (["backbone"], (True, False)),
        (["backbone", "proposal_generator"], (True, True)),
    ],
)
def test_only_what_is_frozen_from_the_backbone_on_is_computed_once(five, make_batch, names, found):
    freeze(five, names)
    part = find_frozen(five, 100)
    assert (part is not None) == found[0]
    five.frozen = part
    with EventStorage():
        losses = five.losses(make_batch((0, 1), (2, 3)))
    assert ("loss_rpn_cls" in losses) != found[1]
    assert {"loss_cls", "loss_box_reg", "loss_mask"} <= losses.keys()
    losses["loss_cls"].backward()
    assert five.roi_heads.box_predictor.cls_score.weight.grad.abs().sum() > 0


def test_a_backbone_with_batch_statistics_is_not_frozen(five):
    freeze(five, ["backbone"])
    five.backbone.norm = torch.nn.BatchNorm2d(3).requires_grad_(False)
    assert find_frozen(five, 100) is None
