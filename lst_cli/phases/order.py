"""The class order: frequent first (section 3.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def order_classes(category_ids: IntArray, instances: IntArray) -> IntArray:
    """Sort classes by number of training instances, descending.

    Ties go to the smaller category id, which reproduces the authors' order of the 1,230
    classes of LVIS v0.5. Classes without a training instance are left out: nothing can be
    learned of them.

    Args:
        category_ids: One id a class, shape (C,).
        instances: Training instances of each, shape (C,).

    Returns:
        Rows of the classes in class order, shape (K,) with K <= C. The position of a class in
        it is its label, in every phase.

    Example:
        >>> order_classes(np.array([5, 3, 9, 4]), np.array([2, 7, 0, 2])).tolist()
        [1, 3, 0]
    """
    order = np.lexsort((category_ids, -instances))
    present: IntArray = order[instances[order] > 0].astype(np.int64)
    return present
