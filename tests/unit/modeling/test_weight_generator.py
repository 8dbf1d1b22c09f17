from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lst_cli.modeling.weight_generator import WeightGenerator, average_by_class

BASE_ROWS = torch.tensor([[5.0, 0.0], [0.0, 0.1]])
BACKGROUND = torch.tensor([0.0, 3.0])


def make(
    *, form: str = "vectors", features: int = 4, base_classes: int = 3, share: float = 0.0
) -> WeightGenerator:
    return WeightGenerator(
        features=features,
        base_classes=base_classes,
        form=form,  # type: ignore[arg-type]
        background_share=share,
        generator=torch.Generator().manual_seed(0),
    )


def by_hand(share: float = 0.0) -> WeightGenerator:
    """V swaps the coordinates, K are the axes, the scale is ln 3 / 0.2."""
    generator = make(features=2, base_classes=2, share=share)
    with torch.no_grad():
        generator.query.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        generator.keys.copy_(torch.tensor([[2.0, 0.0], [0.0, 7.0]]))
        generator.attention_scale.fill_(math.log(3) / 0.2)
        generator.feature_gain.copy_(torch.tensor([1.0, 2.0]))
        generator.attention_gain.copy_(torch.tensor([4.0, -1.0]))
    return generator


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # x = (0.6, 0.8), Vx = (0.8, 0.6): cosines differ by 0.2, of which the scale makes odds of
        # 3:1, so W_B m = (0.75, 0.25); w = (1, 2) * (0.6, 0.8) + (4, -1) * (0.75, 0.25).
        (0.0, [3.6, 1.35]),
        # Along the background's row (0, 1) x has 0.8, of which half goes: (0.6, 0.4).
        (0.5, [3.6, 0.55]),
    ],
)
def test_a_row_by_hand(share, expected):
    row = by_hand(share)(torch.tensor([[3.0, 4.0]]), BASE_ROWS, BACKGROUND)
    torch.testing.assert_close(row, torch.tensor([expected]))


def test_full_matrices_by_hand():
    generator = make(form="matrices", features=2, base_classes=2)
    with torch.no_grad():
        generator.query.copy_(torch.eye(2))
        generator.keys.copy_(torch.eye(2))
        generator.attention_scale.fill_(0.0)  # m = (1/2, 1/2)
        generator.feature_gain.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        generator.attention_gain.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    row = generator(torch.tensor([[3.0, 4.0]]), BASE_ROWS, BACKGROUND)
    torch.testing.assert_close(row, torch.tensor([[1.8, 0.6]]))


def test_first_values_are_those_of_gidaris_and_komodakis():
    generator = make(features=300, base_classes=200)
    assert generator.feature_gain.tolist() == [1.0] * 300
    assert generator.attention_gain.tolist() == [1.0] * 300
    assert generator.attention_scale.item() == 10.0
    off_the_identity = generator.query.detach() - torch.eye(300)
    assert off_the_identity.std().item() == pytest.approx(0.001, rel=0.02)
    assert generator.keys.detach().std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    assert generator.background_share is None


@settings(deadline=None)
@given(st.permutations(range(5)), st.permutations(range(10)))
def test_rows_follow_the_classes_and_not_the_order_of_the_shots(classes, shots):
    features = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(5).repeat(2)
    generator = make()
    base, background = torch.randn(3, 4), torch.randn(4)

    def rows(of: Tensor, labels: Tensor) -> Tensor:
        return average_by_class(generator(of, base, background), labels, 5)

    expected = rows(features, labels)
    torch.testing.assert_close(rows(features[shots], labels[shots]), expected)
    renamed = torch.tensor(classes)[labels]  # class k is now called classes[k]
    torch.testing.assert_close(rows(features, renamed)[classes], expected)


@pytest.mark.parametrize("form", ["vectors", "matrices"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_gradients_reach_every_part(form, share):
    generator = make(form=form, share=share)
    features = torch.randn(6, 4, requires_grad=True)
    base, background = torch.randn(3, 4, requires_grad=True), torch.randn(4)
    generator(features, base, background).square().sum().backward()
    parts = dict(generator.named_parameters())
    assert {"query", "keys", "attention_scale", "feature_gain", "attention_gain"} <= set(parts)
    assert ("background_share" in parts) == (share > 0)
    for name, tensor in {**parts, "features": features, "base rows": base}.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().sum() > 0, name


def test_no_boxes_give_no_rows():
    assert make()(torch.zeros(0, 4), torch.randn(3, 4), torch.randn(4)).shape == (0, 4)
    nothing = average_by_class(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 2)
    assert nothing.tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("form", ["vectors", "matrices"])
def test_rows_stay_exact_under_mixed_precision(form):
    generator = make(form=form, features=64, share=0.5)
    features, base, background = torch.randn(6, 64), torch.randn(3, 64), torch.randn(64)
    labels = torch.tensor([0, 2, 2, 0, 0, 2])

    def written() -> tuple[Tensor, Tensor, Tensor]:
        rows = generator(features, base, background)
        return generator.attention(features), rows, average_by_class(rows, labels, 3)

    exact = written()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (features @ base.T).dtype == torch.bfloat16  # what a plain product would be
        for ours, expected in zip(written(), exact, strict=True):
            assert torch.equal(ours, expected)
        # The box head's features, which are of half precision there.
        assert generator(features.bfloat16(), base, background).dtype == torch.float32
