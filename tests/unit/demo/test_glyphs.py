from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lst_cli.demo import glyphs
from lst_cli.demo.glyphs import GLYPHS, find_font, render_glyph
from lst_cli.demo.layout import pose_glyph
from lst_cli.errors import LstError


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Best intersection over union of two shapes over small shifts, after centring."""
    side = 48
    canvases = []
    for alpha in (first, second):
        canvas = np.zeros((side, side), bool)
        top, left = (side - alpha.shape[0]) // 2, (side - alpha.shape[1]) // 2
        canvas[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha >= 128
        canvases.append(canvas)
    best = 0.0
    for down in (-2, 0, 2):
        for right in (-2, 0, 2):
            moved = np.roll(canvases[1], (down, right), (0, 1))
            union = (canvases[0] | moved).sum()
            best = max(best, (canvases[0] & moved).sum() / union)
    return best


def test_names_and_characters_are_unique():
    assert len({glyph.name.lower() for glyph in GLYPHS}) == len(GLYPHS)
    assert len({glyph.character for glyph in GLYPHS}) == len(GLYPHS)


def test_every_character_has_a_shape_of_its_own_in_the_font():
    # A character that the font lacks is drawn as a box, the same for all of them.
    missing = render_glyph("\ue123")
    shapes = [np.asarray(render_glyph(glyph.character)).tobytes() for glyph in GLYPHS]

    assert len(set(shapes)) == len(GLYPHS)
    assert np.asarray(missing).tobytes() not in shapes


def test_no_two_glyphs_are_alike_even_rotated_or_mirrored():
    upright = {glyph.name: pose_glyph(glyph, 32) for glyph in GLYPHS}
    for glyph in GLYPHS:
        for angle in (-25, 0, 25):
            turned = pose_glyph(glyph, 32, angle)
            for name, other in upright.items():
                if name != glyph.name:
                    assert _overlap(turned, other) < 0.8, (glyph.name, name, angle)
                    assert _overlap(turned[:, ::-1], other) < 0.8, (glyph.name, name, angle)


def test_a_glyph_has_no_margin_and_its_longer_side_is_fixed():
    for glyph in GLYPHS:
        pixels = np.asarray(render_glyph(glyph.character, 1))
        assert max(pixels.shape) == 192
        assert pixels[0].any()
        assert pixels[-1].any()
        assert pixels[:, 0].any()
        assert pixels[:, -1].any()


def test_more_weight_covers_more():
    thin, thick = (np.asarray(render_glyph("T", weight)).mean() for weight in (0, 3))

    assert thick > thin


def test_a_missing_font_is_an_error_that_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(glyphs, "FONT", "NoSuchFont.ttf")
    find_font.cache_clear()
    try:
        with pytest.raises(LstError, match=r"NoSuchFont\.ttf") as caught:
            find_font()
    finally:
        find_font.cache_clear()
    assert "matplotlib" in str(caught.value.hint)


def test_drawing_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys; from lst_cli.demo.glyphs import render_glyph; import lst_cli.demo.draw;"
        "render_glyph('A');"
        "print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    )
    root = Path(glyphs.__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )

    assert result.stdout.strip() == "[]"
