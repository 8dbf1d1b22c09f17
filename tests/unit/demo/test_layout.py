from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.demo.glyphs import GLYPHS
from lst_cli.demo.layout import MIN_PIXELS, MIN_VISIBLE, arrange_glyphs, draw_scribble, pose_glyph
from lst_cli.errors import LstError


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), objects=st.integers(1, 7))
def test_every_object_keeps_enough_of_itself_and_shares_no_pixel(seed, objects):
    rng = np.random.default_rng(seed)
    chosen = [GLYPHS[index] for index in rng.integers(len(GLYPHS), size=objects)]

    layout = arrange_glyphs(rng, chosen, 96)

    assert layout.visible.shape == (objects, 96, 96)
    assert layout.visible.sum(axis=0).max() <= 1
    shown = layout.visible.sum(axis=(1, 2))
    whole = (layout.coverages >= 128).sum(axis=(1, 2))
    assert (shown >= MIN_VISIBLE * whole).all()
    assert (shown >= MIN_PIXELS).all()
    assert not (layout.visible & (layout.stroke >= 128)).any()


def test_the_last_object_lies_in_front():
    rng = np.random.default_rng(3)
    hidden = 0
    for _ in range(10):
        layout = arrange_glyphs(rng, GLYPHS[:6], 96)
        whole = layout.coverages >= 128
        clear = layout.stroke < 128
        np.testing.assert_array_equal(layout.visible[-1], whole[-1] & clear)
        hidden += int((whole[:-1] & clear & ~layout.visible[:-1]).sum())

    assert hidden > 0  # something is occluded at all


def test_a_crowd_that_does_not_fit_is_an_error():
    with pytest.raises(LstError, match="20 objects do not fit in a demo image of 16 pixels"):
        arrange_glyphs(np.random.default_rng(0), GLYPHS[:20], 16)


def test_posing_sets_size_and_turns_counter_clockwise():
    seven = next(glyph for glyph in GLYPHS if glyph.name == "digit 7")
    upright = pose_glyph(seven, 40)
    turned = pose_glyph(seven, 40, 25)

    assert max(upright.shape) in (40, 41)
    # Turning counter-clockwise lifts the right end of the bar of a 7 above its left end.
    first_rows = [int(np.flatnonzero(turned[:, column] >= 128)[0]) for column in (6, -6)]
    assert first_rows[1] < first_rows[0]


def test_a_scribble_crosses_part_of_the_image():
    stroke = draw_scribble(np.random.default_rng(1), 64, 3.0)

    assert stroke.shape == (64, 64)
    assert 0 < (stroke >= 128).mean() < 0.3
