from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.figures.labels import place_labels

AREA = (0.0, 0.0, 400.0, 300.0)


def _place(points, width=60.0, area=AREA):
    points = np.array(points, dtype=float).reshape(-1, 2)
    sizes = np.tile([width, 12.0], (len(points), 1))
    return place_labels(points, sizes, area, radius=3.0)


def _overlap(first, second) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


@pytest.mark.parametrize(
    ("x", "box"), [(200, (204.8, 144, 264.8, 156)), (390, (325.2, 144, 385.2, 156))]
)
def test_a_lonely_name_stands_to_the_right_of_its_point_or_at_the_border_to_the_left(x, box):
    [place] = _place([[x, 150]])
    assert place.line is None
    assert place.box == pytest.approx(box)  # radius 3, a gap of 1.8
    assert _place([[x, 150]], width=401) == [None]


def test_names_of_points_at_one_place_are_drawn_apart_with_lines_where_they_are_far():
    places = _place([[200, 150]] * 8)
    assert None not in places
    lines = [(place.box, place.line) for place in places if place.line is not None]
    assert lines
    for (left, bottom, right, top), (start, (to_x, to_y)) in lines:
        assert start == (200, 150)
        assert left <= to_x <= right
        assert bottom <= to_y <= top


def test_in_a_hopeless_crowd_some_names_are_left_out_and_none_overlaps():
    places = _place([[200, 150]] * 40, area=(100, 100, 300, 200))
    shown = [place for place in places if place is not None]
    assert 8 <= len(shown) < 40


@settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), max_size=25))
def test_no_name_lies_on_another_or_leaves_the_area(points):
    shown = [place.box for place in _place(points) if place is not None]
    for place, box in enumerate(shown):
        assert min(box[:2]) >= 0
        assert box[2] <= 400
        assert box[3] <= 300
        assert not any(_overlap(box, other) for other in shown[:place])
    assert _place(points) == _place(points)


@pytest.mark.parametrize("other", [(209, 159), (200, 160)])
def test_a_name_is_not_as_near_to_another_point_as_to_its_own(other):
    points = [(200, 150), other]
    for place, (x, y) in zip(_place(points), points[::-1], strict=True):
        left, bottom, right, top = place.box
        # Within two radii, 6 pixels, of the name.
        assert not (left - 6 < x < right + 6 and bottom - 6 < y < top + 6)
