from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.display.records import Panel, PanelObject
from lst_cli.figures.details import choose_window, draw_detail

BLUE = (0, 0, 255)


@settings(deadline=None)
@given(
    st.integers(1, 900), st.integers(1, 900), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_a_window_lies_in_the_image_and_holds_the_whole_object(wide, high, x, y, w, h):
    box = (x * wide, y * high, w * (1 - x) * wide, h * (1 - y) * high)
    left, top, width, height = choose_window(box, (wide, high))
    assert left >= 0
    assert top >= 0
    assert width >= 1
    assert height >= 1
    assert left + width <= wide
    assert top + height <= high
    # To the pixel: a box may end in the middle of one.
    assert left <= box[0] + 1
    assert top <= box[1] + 1
    assert left + width >= box[0] + box[2] - 1
    assert top + height >= box[1] + box[3] - 1


def test_a_small_object_is_shown_with_what_is_around_it():
    assert choose_window((100, 100, 4, 4), (640, 480)) == (70, 78, 64, 48)


def test_only_the_mask_is_coloured_and_only_in_the_window():
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    one = PanelObject("a", (10, 10, 20, 10), [[10, 10, 30, 10, 30, 20, 10, 20]])
    drawn = draw_detail(Panel(image, "an image"), (0, 0, 60, 40), [(one, BLUE)], 600)
    assert drawn.shape == (400, 600, 3)
    assert drawn[150, 200].tolist() == [0, 0, 89]  # inside: a share of the colour
    assert drawn[101, 200].tolist() == [0, 0, 255]  # its border: all of it
    assert drawn[98, 200].tolist() == [255, 255, 255]  # around it: white, to be seen in grey
    assert drawn[300, 200].tolist() == [0, 0, 0]
    assert not draw_detail(Panel(image, "an image"), (0, 25, 20, 15), [(one, BLUE)], 100).any()
