"""Base classes first, then evenly spaced groups (section 3.1)."""

from __future__ import annotations

from itertools import pairwise

from lst_cli.errors import LstError

# The paper: b and T on LVIS v0.5, whose 1,230 classes have training instances.
BASE, PHASES, LVIS_CLASSES = 270, 6, 1230


def fitting_split(classes: int) -> tuple[int, int]:
    """A base and a number of phases for so many classes: the paper's, or as near as can be.

    Example:
        >>> fitting_split(1230), fitting_split(28), fitting_split(2)
        ((270, 6), (6, 6), (1, 1))
    """
    base = BASE if classes >= BASE + PHASES else max(1, round(classes * BASE / LVIS_CLASSES))
    return base, max(1, min(PHASES, classes - base))


def split_classes(classes: int, base: int, phases: int) -> list[range]:
    """Cut the class order into the base group and the groups of later phases.

    Sizes of the later groups differ by at most one, the larger first.

    Args:
        classes: K, the number of classes with training instances.
        base: b, classes of phase 0; all of them, where no phase comes after.
        phases: T, the number of phases after the base phase.

    Returns:
        T + 1 ranges of labels; they partition 0 ... K - 1.

    Raises:
        LstError: If the classes cannot be cut so.

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
