from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.errors import LstError
from lst_cli.phases.classes import (
    NO_LABEL,
    assign_category_ids,
    labels_of,
    order_classes,
    split_classes,
)


def test_classes_are_ordered_by_instances_with_ties_by_id_and_none_without_instances():
    order = order_classes(np.array([7, 1, 5, 2, 4]), np.array([3, 9, 3, 9, 0]))
    assert order.tolist() == [1, 3, 2, 0]
    assert order_classes(np.array([1, 2]), np.array([0, 0])).tolist() == []


@pytest.mark.parametrize(
    ("classes", "base", "phases", "sizes"),
    [(1230, 270, 6, [270] + [160] * 6), (13, 13, 0, [13]), (13, 5, 3, [5, 3, 3, 2])],
)
def test_groups_have_the_papers_sizes_or_larger_ones_first(classes, base, phases, sizes):
    assert [len(group) for group in split_classes(classes, base, phases)] == sizes


@settings(deadline=None)
@given(st.data())
def test_phases_partition_the_classes_evenly(data):
    classes = data.draw(st.integers(2, 300))
    base = data.draw(st.integers(1, classes - 1))
    phases = data.draw(st.integers(1, classes - base))
    groups = split_classes(classes, base, phases)
    assert [label for group in groups for label in group] == list(range(classes))
    assert len(groups) == phases + 1
    sizes = [len(group) for group in groups[1:]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize(
    ("classes", "base", "phases", "named"),
    [
        (10, 10, 1, "--b 10"),
        (10, 0, 1, "--b 0"),
        (10, 4, 0, "--phases 0"),
        (10, 11, 0, "--b 11"),
        (1, 1, 0, "1 class"),
        (10, 4, 7, "--phases 7"),
        (1, 1, 1, "1 class"),
    ],
)
def test_impossible_splits_name_the_option(classes, base, phases, named):
    with pytest.raises(LstError) as caught:
        split_classes(classes, base, phases)
    assert named in caught.value.message
    assert caught.value.hint


def test_labels_are_ranks_in_the_class_order_and_unknown_classes_have_none():
    assert labels_of([[3, 4], [5, 99]], [5, 3]).tolist() == [[1, NO_LABEL], [0, NO_LABEL]]
    assert labels_of([3], []).tolist() == [NO_LABEL]


# --- ids of classes that are added ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "own", "options", "expected"),
    [
        # A class that another file names has its id there; the file that matters most comes first.
        (
            ["emu", "yak"],
            [1, 2],
            {"taken": [1, 2], "used": [5], "named": [{"emu": 5, "owl": 2}]},
            [5, 6],
        ),
        (["emu", "yak"], [1, 2], {"named": [{"emu": 5}, {"emu": 7, "yak": 8}]}, [5, 8]),
        # An id that another class took is skipped.
        (["emu"], [1], {"taken": [5], "named": [{"emu": 5}, {"emu": 7}]}, [7]),
        (["emu"], [1], {"taken": [5, 7], "used": [1], "named": [{"emu": 5}, {"emu": 7}]}, [8]),
        # Its own is kept if no other class has it.
        (["emu", "yak"], [40, 3], {"taken": [1, 2], "used": [3]}, [40, 41]),
        ([], [], {"taken": [1], "used": [1]}, []),
    ],
)
def test_ids_are_those_of_other_files_or_their_own_or_new(names, own, options, expected):
    assert assign_category_ids(names, own, **{"taken": [], "used": [], **options}) == expected


IDS = st.lists(st.integers(1, 12), max_size=8, unique=True)


@settings(deadline=None)
@given(own=IDS, taken=IDS, used=IDS, told=IDS)
def test_no_id_is_given_twice(own, taken, used, told):
    names = [f"class {number}" for number in own]
    named = dict(zip(names, told, strict=False))
    found = assign_category_ids(names, own, taken=taken, used=[*used, *told], named=[named])
    assert len({*found, *taken}) == len(found) + len(set(taken))
