from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.modeling.heads.cosine import CosineClassifier, cosines

FEATURES = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
ROWS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, -4.0]])


def make(scale: float = 10.0, learn_scale: bool = True) -> CosineClassifier:
    classifier = CosineClassifier(features=2, classes=2, scale=scale, learn_scale=learn_scale)
    with torch.no_grad():
        classifier.weight.copy_(ROWS)
    return classifier


def test_cosines_of_a_small_example():
    expected = torch.tensor([[0.6, 0.8, -1.0], [0.0, -1.0, 0.8]])
    torch.testing.assert_close(cosines(FEATURES, ROWS), expected)


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_the_length_of_features_and_rows_does_not_move_cosines(feature_length, row_length, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(4, 6, generator=generator)
    rows = torch.randn(3, 6, generator=generator)
    expected = cosines(features, rows)
    torch.testing.assert_close(
        cosines(features * feature_length, rows * row_length), expected, atol=1e-5, rtol=0
    )
    assert expected.abs().max() <= 1 + 1e-6


def test_a_zero_feature_scores_zero_everywhere_and_keeps_gradients_finite():
    feature = torch.zeros(1, 2, requires_grad=True)
    logits = make()(feature)
    assert logits.tolist() == [[0.0, 0.0, 0.0]]
    logits.sum().backward()
    assert feature.grad is not None
    assert torch.isfinite(feature.grad).all()


def test_class_rows_are_the_raw_rows_without_the_background():
    classifier = make()
    assert classifier.class_rows.tolist() == ROWS[:2].tolist()
    classifier.class_rows.sum().backward()
    assert classifier.weight.grad is not None
    assert classifier.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("learn", [True, False])
def test_the_scale_is_trained_only_if_wanted(learn):
    classifier = make(learn_scale=learn)
    classifier(FEATURES).sum().backward()
    assert classifier.scale.requires_grad is learn
    assert (classifier.scale.grad is not None) is learn
    assert set(classifier.state_dict()) == {"weight", "scale"}


def test_cosines_stay_exact_under_mixed_precision():
    features, rows = torch.randn(8, 64), torch.randn(5, 64)
    classifier = CosineClassifier(features=64, classes=4, scale=10, learn_scale=True)
    exact, logits = cosines(features, rows), classifier(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (features @ rows.T).dtype == torch.bfloat16  # what a plain product would be
        assert torch.equal(cosines(features, rows), exact)
        assert torch.equal(classifier(features), logits)
        assert cosines(features.bfloat16(), rows).dtype == torch.float32
