from __future__ import annotations

import numpy as np
import pytest

from lst_cli.phases.partial_labels import ALWAYS, IF_DRAWN, NEVER, PartialLabels, pairs_of

# Two files with two images each. The first is federated. The second has no lists, and class 3 is
# not among its categories.
EXHAUSTIVE = np.array([[False] * 4, [True, True, True, False]])
LABELS = PartialLabels(4, EXHAUSTIVE, (0, 2), absent=np.array([1, 6]), partial=np.array([4, 7, 10]))


@pytest.mark.parametrize(
    ("image", "annotated", "expected"),
    [
        (0, [0, -1, 0], [ALWAYS, ALWAYS, IF_DRAWN, IF_DRAWN]),
        (0, [], [IF_DRAWN, ALWAYS, IF_DRAWN, IF_DRAWN]),
        # Class 0 and 3 are annotated in part: that some of their objects are does not matter.
        (1, [0, 1], [NEVER, ALWAYS, ALWAYS, NEVER]),
        (2, [3], [ALWAYS, ALWAYS, NEVER, ALWAYS]),
        (3, [], [ALWAYS, ALWAYS, ALWAYS, IF_DRAWN]),
    ],
)
def test_what_is_known_of_an_image(image, annotated, expected):
    found = LABELS.negatives(image, np.array(annotated, dtype=np.int64))
    assert found.tolist() == expected
    assert found.dtype == np.int8


def test_lists_of_nothing_are_no_pairs():
    assert pairs_of([[], [5]], {3: 0}, 4).tolist() == []
    assert pairs_of([], {3: 0}, 4).tolist() == []
