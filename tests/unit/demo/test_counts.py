from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.demo.counts import deal_instances, long_tail_counts


@settings(deadline=None)
@given(classes=st.integers(4, 36), head=st.integers(2, 2000))
def test_counts_fall_from_the_head_to_three_ones(classes: int, head: int) -> None:
    counts = long_tail_counts(classes, head)

    assert len(counts) == classes
    assert counts[0] == head
    assert counts[-3:] == [1, 1, 1]
    assert all(first >= second for first, second in pairwise(counts))


def test_the_default_counts_fill_every_bin_of_the_paper_with_more_than_two_classes() -> None:
    counts = np.array(long_tail_counts(28, 260))

    assert (counts == 1).sum() == 4
    assert ((counts >= 2) & (counts < 5)).sum() == 4
    assert ((counts >= 5) & (counts < 10)).sum() == 4
    assert ((counts >= 10) & (counts < 100)).sum() == 10
    assert (counts >= 100).sum() == 6
    assert counts.sum() == 1525


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 60), max_size=12),
    per_image=st.floats(1, 6),
    seed=st.integers(0, 1000),
)
def test_dealing_loses_no_instance_and_leaves_no_image_empty(
    counts: list[int], per_image: float, seed: int
) -> None:
    images = deal_instances(counts, per_image, np.random.default_rng(seed))

    dealt = np.concatenate([*images, np.zeros(0, np.int64)])
    assert np.bincount(dealt, minlength=len(counts)).tolist() == counts
    assert all(1 <= ranks.size < max(2 * per_image, 2) + 1 for ranks in images)
    assert len(images) == np.ceil(sum(counts) / per_image)


def test_dealing_nothing_gives_no_image() -> None:
    assert deal_instances([0, 0], 4.0, np.random.default_rng(0)) == []
