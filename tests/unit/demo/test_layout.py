from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.demo import layout
from lst_cli.demo.layout import (
    GLYPHS,
    MIN_PIXELS,
    MIN_VISIBLE,
    arrange_glyphs,
    draw_scribble,
    find_font,
    pose_glyph,
    render_glyph,
)
from lst_cli.errors import LstError


def test_every_class_has_a_name_and_a_shape_of_its_own_that_fills_its_picture():
    # A character that the font lacks is drawn as a box, the same for all of them.
    shapes = {np.asarray(render_glyph("\ue123", 1)).tobytes()}
    for glyph in GLYPHS:
        pixels = np.asarray(render_glyph(glyph.character, 1))
        assert max(pixels.shape) == 192
        assert all(edge.any() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
        shapes.add(pixels.tobytes())
    assert len(shapes) - 1 == len({glyph.name.lower() for glyph in GLYPHS}) == len(GLYPHS)
    thin, thick = (np.asarray(render_glyph("T", weight)).mean() for weight in (0, 3))
    assert thick > thin


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Best intersection over union of two shapes over small shifts, after centring."""
    one, other = np.zeros((2, 48, 48), bool)
    for canvas, alpha in ((one, first), (other, second)):
        top, left = (48 - np.array(alpha.shape)) // 2
        canvas[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha >= 128
    shifts = [(down, right) for down in (-2, 0, 2) for right in (-2, 0, 2)]
    moved = [np.roll(other, shift, (0, 1)) for shift in shifts]
    return max((one & each).sum() / (one | each).sum() for each in moved)


def test_no_two_glyphs_are_alike_even_rotated_or_mirrored():
    upright = {glyph.name: pose_glyph(glyph, 32) for glyph in GLYPHS}
    for glyph in GLYPHS:
        for angle in (-25, 0, 25):
            turned = pose_glyph(glyph, 32, angle)
            for name, other in upright.items():
                if name != glyph.name:
                    assert _overlap(turned, other) < 0.8, (glyph.name, name, angle)
                    assert _overlap(turned[:, ::-1], other) < 0.8, (glyph.name, name, angle)


def test_a_missing_font_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(layout, "FONT", "NoSuchFont.ttf")
    with pytest.raises(LstError, match=r"NoSuchFont\.ttf") as caught:
        find_font.__wrapped__()
    assert "matplotlib" in str(caught.value.hint)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), objects=st.integers(1, 7))
def test_every_object_keeps_enough_of_itself_and_shares_no_pixel(seed, objects):
    rng = np.random.default_rng(seed)
    chosen = [GLYPHS[index] for index in rng.integers(len(GLYPHS), size=objects)]
    found = arrange_glyphs(rng, chosen, 96)
    assert found.visible.shape == (objects, 96, 96)
    assert found.visible.sum(axis=0).max() <= 1
    shown = found.visible.sum(axis=(1, 2))
    whole = found.coverages >= 128
    assert (shown >= MIN_VISIBLE * whole.sum(axis=(1, 2))).all()
    assert (shown >= MIN_PIXELS).all()
    # The last lies in front, below the stroke alone.
    assert not (found.visible & (found.stroke >= 128)).any()
    assert (found.visible[-1] == whole[-1] & (found.stroke < 128)).all()


def test_objects_hide_parts_of_others():
    found = arrange_glyphs(np.random.default_rng(3), GLYPHS[:6] * 2, 96)
    assert ((found.coverages >= 128) & ~found.visible).sum() > 50


def test_a_crowd_that_does_not_fit_is_an_error():
    with pytest.raises(LstError, match="20 objects do not fit in a demo image of 16 pixels"):
        arrange_glyphs(np.random.default_rng(0), GLYPHS[:20], 16)


def test_posing_sets_size_and_turns_counter_clockwise():
    seven = next(glyph for glyph in GLYPHS if glyph.name == "digit 7")
    assert max(pose_glyph(seven, 40).shape) in (40, 41)
    turned = pose_glyph(seven, 40, 25)
    # Turning counter-clockwise lifts the right end of the bar of a 7 above its left end.
    left, right = (int(np.flatnonzero(turned[:, column] >= 128)[0]) for column in (6, -6))
    assert right < left


def test_a_scribble_crosses_part_of_the_image():
    stroke = draw_scribble(np.random.default_rng(1), 64, 3.0)
    assert stroke.shape == (64, 64)
    assert 0 < (stroke >= 128).mean() < 0.3
