from __future__ import annotations

import torch
from torch import nn

from lst_cli.modeling.heads.transfer import WeightTransfer, class_mask_logits


def test_two_linear_layers_each_with_a_leaky_relu() -> None:
    transfer = WeightTransfer(features=2, channels=1)
    first, second = transfer[0], transfer[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        first.bias.copy_(torch.tensor([1.0, 0.0]))
        second.weight.copy_(torch.tensor([[1.0, 1.0]]))
        second.bias.copy_(torch.tensor([0.5]))
    # (2, -100) -> (3, -1) -> 2.5, and (-301, -100) -> (-3, -1) -> -3.5 -> -0.035
    written = transfer(torch.tensor([[2.0, -100.0], [-301.0, -100.0]]))
    torch.testing.assert_close(written, torch.tensor([[2.5], [-0.035]]))


def test_rows_are_read_raw_and_not_normalised() -> None:
    transfer = WeightTransfer(features=4, channels=3)
    row = torch.randn(1, 4)
    assert not torch.allclose(transfer(2 * row), transfer(row))


def test_each_region_is_convolved_with_its_own_weights() -> None:
    features, weights = torch.randn(3, 4, 5, 6), torch.randn(3, 4)
    one_by_one = torch.cat(
        [
            nn.functional.conv2d(feature[None], weight[None, :, None, None])
            for feature, weight in zip(features, weights, strict=True)
        ]
    )
    torch.testing.assert_close(class_mask_logits(features, weights), one_by_one)


def test_no_regions_give_no_masks() -> None:
    assert class_mask_logits(torch.zeros(0, 4, 5, 6), torch.zeros(0, 4)).shape == (0, 1, 5, 6)
