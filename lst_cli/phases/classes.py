"""Classes: their order, their labels, their phases (section 3.1), and ids of added ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lst_cli.errors import LstError
from lst_cli.phases import BASE, LVIS_CLASSES, PHASES

IntArray = npt.NDArray[np.int64]
NO_LABEL = -1


def fitting_split(classes: int) -> tuple[int, int]:
    """A base and a number of phases for so many classes: the paper's, or as near as can be.

    Example:
        >>> fitting_split(1230), fitting_split(28), fitting_split(2)
        ((270, 6), (6, 6), (1, 1))
    """
    base = BASE if classes >= BASE + PHASES else max(1, round(classes * BASE / LVIS_CLASSES))
    return base, max(1, min(PHASES, classes - base))


def order_classes(category_ids: IntArray, instances: IntArray) -> IntArray:
    """Sort classes by number of training instances, descending: the class order.

    Ties go to the smaller category id, which reproduces the authors' order of the 1,230
    classes of LVIS v0.5. Returns rows of the K classes with instances; nothing can be learned of
    the others. The position of a class in it is its label, in every phase.

    Example:
        >>> order_classes(np.array([5, 3, 9, 4]), np.array([2, 7, 0, 2])).tolist()
        [1, 3, 0]
    """
    order = np.lexsort((category_ids, -instances))
    present: IntArray = order[instances[order] > 0].astype(np.int64)
    return present


def labels_of(category_ids: npt.ArrayLike, class_order: Sequence[int]) -> IntArray:
    """Labels of category ids: their ranks in the class order, or `NO_LABEL` outside of it.

    Example:
        >>> labels_of([3, 4, 5], [5, 3]).tolist()
        [1, -1, 0]
    """
    wanted, ids = np.asarray(category_ids, np.int64), np.asarray(class_order, np.int64)
    if not len(ids):
        return np.full(wanted.shape, NO_LABEL, dtype=np.int64)
    labels = np.argsort(ids, kind="stable")
    ordered = ids[labels]
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[place] == wanted, labels[place], NO_LABEL)


def split_classes(classes: int, base: int, phases: int) -> list[range]:
    """Cut the class order into the base group and the groups of later phases.

    Sizes of the later groups differ by at most one, the larger first. Without later phases the
    base has all K classes. The ranges of labels partition 0 ... K - 1. Raises an `LstError` if the
    classes cannot be cut like that.

    Example:
        >>> split_classes(10, 4, 4)
        [range(0, 4), range(4, 6), range(6, 8), range(8, 9), range(9, 10)]
    """
    if classes < 2:
        raise LstError(
            f"the training file has {classes or 'no'} class with instances; a split needs two or "
            "more",
            "annotate objects of more classes, or give another training file",
        )
    if base == classes and phases == 0:
        return [range(base)]
    if not 1 <= base < classes:
        raise LstError(
            f"--b {base}: the base needs at least 1 and fewer than all {classes} classes "
            "that have training instances",
            f"choose --b between 1 and {classes - 1}",
        )
    rest = classes - base
    if not 1 <= phases <= rest:
        raise LstError(
            f"--phases {phases}: {rest} class(es) are left after the base of {base}, "
            f"which makes 1 to {rest} phases",
            f"choose --phases between 1 and {rest}",
        )
    size, larger = divmod(rest, phases)
    borders = [base]
    for phase in range(phases):
        borders.append(borders[-1] + size + (phase < larger))
    return [range(base), *(range(a, z) for a, z in pairwise(borders))]


def assign_category_ids(
    names: Sequence[str],
    own: Sequence[int],
    *,
    taken: Collection[int],
    used: Collection[int],
    named: Sequence[Mapping[str, int]] = (),
) -> list[int]:
    """Give each new class an id that no other class has; the names differ.

    A class that is `named` in another file of the workspace has the id of the first such file, so
    that its ground truth is found. Otherwise it keeps its own id, if no class of the workspace has
    `taken` and no file `used` it; otherwise it gets the next number above all.

    Example:
        >>> assign_category_ids(
        ...     ["yak", "emu", "ibex"], [1, 8, 2], taken=[1, 2], used=[1, 2, 5], named=[{"emu": 5}]
        ... )
        [9, 5, 10]
    """
    known = [
        next((ids[name] for ids in named if name in ids and ids[name] not in taken), None)
        for name in names
    ]
    unfree = {*taken, *used, *(number for number in known if number is not None)}
    fresh = max([*unfree, *own], default=0) + 1
    assigned = []
    for chosen, number in zip(known, own, strict=True):
        if chosen is None and number not in unfree:
            chosen = number
        elif chosen is None:
            chosen, fresh = fresh, fresh + 1
        assigned.append(chosen)
    return assigned
