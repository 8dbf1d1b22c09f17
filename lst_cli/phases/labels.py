"""category_id and label, translated here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
NO_LABEL = -1


class LabelMap:
    """The two names of a class: LVIS's category_id and the row of the network's head.

    The label of a class is its rank in the class order; it never changes from phase to phase.

    Args:
        category_ids: Category ids in class order.
    """

    def __init__(self, category_ids: Sequence[int]) -> None:
        self.category_ids: IntArray = np.asarray(category_ids, dtype=np.int64)
        self._order = np.argsort(self.category_ids, kind="stable")

    def __len__(self) -> int:
        return len(self.category_ids)

    def to_labels(self, category_ids: IntArray) -> IntArray:
        """Labels of category ids, shape as given; `NO_LABEL` for classes outside the order."""
        wanted = np.asarray(category_ids, dtype=np.int64)
        if not len(self.category_ids):
            return np.full(wanted.shape, NO_LABEL, dtype=np.int64)
        ordered = self.category_ids[self._order]
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        return np.where(ordered[place] == wanted, self._order[place], NO_LABEL)
