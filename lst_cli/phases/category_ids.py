"""Which category_id a class gets that comes with a file of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def assign_category_ids(
    names: Sequence[str],
    own: Sequence[int],
    *,
    taken: Collection[int],
    used: Collection[int],
    named: Sequence[Mapping[str, int]] = (),
) -> list[int]:
    """Give each new class an id that no other class has.

    A class that another file knows by name has that file's id, so that its ground truth is
    found. Otherwise it keeps its own, if no file of the workspace gives that to a class;
    otherwise it gets the next number above all.

    Args:
        names: The new classes in class order, no name twice.
        own: Their ids in the file they come with.
        taken: Ids of the workspace's classes.
        used: Ids that any file of the workspace gives to a class.
        named: Ids by name in the workspace's files, the file that matters most first.

    Returns:
        One id a class, none twice and none of `taken`.

    Example:
        >>> assign_category_ids(
        ...     ["yak", "emu", "ibex"], [1, 8, 2], taken=[1, 2], used=[1, 2, 5], named=[{"emu": 5}]
        ... )
        [9, 5, 10]
    """
    told = {name: _told(name, named, taken) for name in names}
    given = [number for number in told.values() if number is not None]
    unfree = {*taken, *used, *given}
    fresh = max([*unfree, *own], default=0) + 1
    assigned = []
    for name, number in zip(names, own, strict=True):
        chosen = told[name]
        if chosen is None and number not in unfree:
            chosen = number
        elif chosen is None:
            chosen, fresh = fresh, fresh + 1
        assigned.append(chosen)
    return assigned


def _told(name: str, named: Sequence[Mapping[str, int]], taken: Collection[int]) -> int | None:
    found = (ids[name] for ids in named if name in ids)
    return next((number for number in found if number not in taken), None)
