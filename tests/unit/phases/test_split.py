from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.errors import LstError
from lst_cli.phases.labels import NO_LABEL, LabelMap
from lst_cli.phases.order import order_classes
from lst_cli.phases.split import split_classes


def test_classes_are_ordered_by_instances_with_ties_by_id():
    order = order_classes(np.array([7, 1, 5, 2]), np.array([3, 9, 3, 9]))
    assert order.tolist() == [1, 3, 2, 0]


def test_classes_without_instances_are_left_out():
    assert order_classes(np.array([1, 2]), np.array([0, 0])).tolist() == []


def test_lvis_groups_have_the_papers_sizes():
    groups = split_classes(1230, 270, 6)
    assert [len(group) for group in groups] == [270, 160, 160, 160, 160, 160, 160]


def test_all_classes_may_be_one_phase_with_none_after_it():
    assert split_classes(13, 13, 0) == [range(13)]


def test_larger_groups_come_first():
    assert [len(group) for group in split_classes(13, 5, 3)] == [5, 3, 3, 2]


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


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1))
def test_labels_round_trip(category_ids):
    labels = LabelMap(category_ids)
    ids = np.array(category_ids)
    assert labels.to_labels(ids).tolist() == list(range(len(ids)))
    assert labels.category_ids[labels.to_labels(ids)].tolist() == category_ids


def test_unknown_classes_have_no_label():
    assert LabelMap([5, 3]).to_labels(np.array([3, 4, 5, 99])).tolist() == [
        1,
        NO_LABEL,
        0,
        NO_LABEL,
    ]
    assert LabelMap([]).to_labels(np.array([3])).tolist() == [NO_LABEL]
