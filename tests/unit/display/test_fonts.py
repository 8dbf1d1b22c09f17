from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from lst_cli.display import fonts
from lst_cli.display.canvas import LIGHT, make_figure, render
from lst_cli.display.fonts import families, pieces_of, plot_font, short_name
from lst_cli.display.objects import Panel, PanelObject
from lst_cli.display.panels import draw_predictions

CAT = "\N{CJK UNIFIED IDEOGRAPH-732B}"
OWL = "\U0001f989"  # DejaVu has some faces of this block, and no owl


def make_font(path: Path, name: str, letters: str) -> Path:
    """A font that draws each of its letters as a full square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, -200))
    for point in ((0, 800), (1000, 800), (1000, -200)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    order = [".notdef", *(f"u{ord(letter):X}" for letter in letters)]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):X}" for letter in letters})
    builder.setupGlyf(dict.fromkeys(order, square))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The fonts that are installed; none at first."""
    installed: list[Path] = []
    monkeypatch.setattr(fonts, "installed_fonts", lambda: tuple(installed))
    fonts._font_with.cache_clear()
    yield installed
    fonts._font_with.cache_clear()


@pytest.mark.parametrize("name", ["cat", "кошка", "γάτα", "قطة", "mačka", "🐱", "50 % #1 - a/b"])
def test_what_the_plots_own_font_has_is_drawn_with_it(machine, name):
    assert short_name(name, 22, 7) == name
    assert pieces_of(name) == [(name, plot_font())]
    assert families(name) == ["DejaVu Sans"]


@pytest.mark.parametrize("name", [CAT, f"{CAT} cat", "บ้าน", "बिल्ली", OWL, "\U0010ffff", "", " \n"])
def test_without_a_font_for_it_the_id_is_drawn(machine, name):
    assert short_name(name, 22, 7) == "#7"


def test_without_an_id_what_cannot_be_drawn_is_a_question_mark(machine):
    assert short_name(f"run {CAT}", 22) == "run ?"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines", "two lines"), ("tab\tand\x1b[31m", "tab and\\x1b[31m"),
        ("a\u202eb\ud800", "a\\u202eb\\ud800"), ("e\u0301tude", "étude"),
        ("x" * 23, "x" * 21 + "…"), ("x" * 22, "x" * 22), ("  spaced  ", "spaced"),
    ],
)  # fmt: skip
def test_a_name_is_one_line_of_letters_that_can_be_seen(name, shown):
    assert short_name(name, 22, 7) == shown


def test_an_installed_font_lends_its_letters(machine, tmp_path):
    machine.append(make_font(tmp_path / "cjk.ttf", "Lst Test CJK", CAT))
    assert short_name(CAT, 22, 7) == CAT
    assert pieces_of(CAT) == [(CAT, machine[0])]
    # No font has all of it: each piece is drawn with one that has it.
    assert pieces_of(f"cat {CAT} 0.90") == [
        ("cat ", plot_font()), (CAT, machine[0]), (" 0.90", plot_font())
    ]  # fmt: skip
    assert families(f"{CAT} cat") == ["DejaVu Sans", "Lst Test CJK"]


def test_a_font_that_has_all_of_a_name_goes_before_two_that_share_it(machine, tmp_path):
    machine += [
        make_font(tmp_path / "a.ttf", "Lst A", CAT),
        make_font(tmp_path / "b.ttf", "Lst B", CAT + "cat 0.9"),
    ]
    assert pieces_of(f"{CAT} cat 0.9") == [(f"{CAT} cat 0.9", machine[1])]


def test_a_damaged_font_is_passed_over(machine, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"\0\1\0\0no font")
    machine += [broken, tmp_path / "gone.ttf", make_font(tmp_path / "c.ttf", "Lst C", CAT)]
    assert pieces_of(CAT) == [(CAT, machine[2])]


def test_a_picture_has_the_letters_of_an_installed_font(machine, tmp_path):
    def ink() -> float:
        found = [PanelObject(CAT, (0.0, 20.0, 30.0, 20.0), None, 0.5, category_id=7)]
        image = np.full((64, 64, 3), 128, dtype=np.uint8)
        data = draw_predictions(Panel(image, "a", predictions=found))
        pixels = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        return float((pixels[170:200, :60].sum(axis=2) > 650).mean())  # of the label, white on blue

    without = ink()
    machine.append(make_font(tmp_path / "cjk.ttf", "Lst Test CJK", CAT))
    fonts._font_with.cache_clear()
    assert ink() > without + 0.02  # a full square


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_a_plot_has_the_letters_of_an_installed_font(machine, tmp_path, kind):
    figure = make_figure(200, 100, LIGHT, 1.0)
    figure.text(0.2, 0.5, f"cat {CAT}", family="DejaVu Sans")
    machine.append(make_font(tmp_path / "cjk.ttf", "Lst Test CJK", CAT))
    assert render(figure, kind)
    assert figure.texts[0].get_fontfamily() == ["DejaVu Sans", "Lst Test CJK"]
