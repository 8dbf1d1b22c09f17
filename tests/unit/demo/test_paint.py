from __future__ import annotations

import numpy as np
import pytest

from lst_cli.demo.layout import GLYPHS, arrange_glyphs
from lst_cli.demo.paint import BACKGROUNDS, color_distance, color_field, paint_layout


def test_a_painted_object_stands_out_from_its_background():
    rng = np.random.default_rng(5)
    contrasts = []
    for _ in range(10):
        layout = arrange_glyphs(rng, GLYPHS[:2], 96)
        pixels = paint_layout(rng, layout).astype(float)
        ground = pixels[~layout.visible.any(axis=0)].mean(axis=0)
        contrasts += [np.abs(pixels[mask].mean(axis=0) - ground).max() for mask in layout.visible]
    assert min(contrasts) > 20


@pytest.mark.parametrize("draw", BACKGROUNDS, ids=lambda draw: draw.__name__)
def test_a_texture_has_the_asked_shape_lies_between_0_and_1_and_is_not_flat(draw):
    for seed in range(5):
        field = draw(np.random.default_rng(seed), 48, 12.0)
        assert (field.shape, field.dtype) == ((48, 48), np.float32)
        assert 0 <= field.min() < field.max() <= 1
        assert field.std() > 0.05


def test_a_field_takes_the_first_colour_at_0_and_the_last_at_1():
    black, white, red = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.628, 0.2577, 29.23 / 360)
    field = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_allclose(color_field(field, [black, white])[0], [[0] * 3, [1] * 3], atol=0.01)
    np.testing.assert_allclose(color_field(field, [white, red])[0, 1], [1, 0, 0], atol=0.02)


def test_black_and_white_are_one_apart():
    assert color_distance((0.0, 0.0, 0.3), (1.0, 0.0, 0.7)) == pytest.approx(1.0)
    assert color_distance((0.5, 0.1, 0.25), (0.5, 0.1, 1.25)) == pytest.approx(0.0, abs=1e-9)
