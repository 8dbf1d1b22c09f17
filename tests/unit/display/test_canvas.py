from __future__ import annotations

from functools import partial

import matplotlib
import pytest

from lst_cli.display.canvas import LIGHT, line_styles, make_figure, render, style_axes


def _figure():
    figure = make_figure(200, 100, LIGHT, 2.0)
    style_axes(figure.subplots(), LIGHT, "title", "x", "y")
    return figure


def test_a_pdf_holds_letters_as_letters_and_no_date():
    figure = _figure()
    png, pdf = render(figure), render(figure, "pdf")
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf  # TrueType
    assert b"/CreationDate" not in pdf
    assert b"matplotlib" not in pdf.lower()
    assert render(figure) == png


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_a_plot_ignores_and_keeps_the_users_own_matplotlib_settings(kind):
    plain = render(_figure(), kind)
    own = {"pdf.fonttype": 3, "pdf.use14corefonts": True, "savefig.dpi": 17}
    with matplotlib.rc_context({**own, "savefig.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert render(_figure(), kind) == plain
        assert dict(matplotlib.rcParams) == before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", [render, partial(render, kind="pdf")])
def test_a_letter_that_the_font_lacks_is_no_warning(draw):
    figure = make_figure(200, 100, LIGHT, 1.0)
    style_axes(figure.subplots(), LIGHT, "犬", "", "")
    assert draw(figure)


def test_lines_beyond_the_first_differ_from_it_in_more_than_colour():
    first, *others = line_styles(LIGHT, 6)
    assert all(one["marker"] != first["marker"] for one in others)
    assert all(one["color"] != first["color"] for one in others)
    assert len({(one["marker"], str(one["linestyle"])) for one in [first, *others]}) == 6


def test_texts_are_shown_as_they_are():
    figure = make_figure(200, 100, LIGHT, 1.0)
    text = figure.text(0, 0, "$a$\x1b")
    render(figure)
    assert text.get_text() == "$a$\\x1b"
    assert not text.get_parse_math()
