"""Which classes of an annotation file are new to a model that knows others.

Classes are told apart by name: files of different makers number them differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import CROWD_HINT, usable_instances
from lst_cli.errors import LstError
from lst_cli.phases.order import order_classes
from lst_cli.text import did_you_mean

IntArray = npt.NDArray[np.int64]

_NAMED_AT_MOST = 5


@dataclass(frozen=True, eq=False)
class NewClasses:
    """The classes to learn from a file.

    Attributes:
        rows: Rows of its `Categories` in class order, shape (C,).
        instances: Usable annotations of each, shape (C,).
        images: Images with any of these, of each, shape (C,).
        image_rows: Rows of all these images, ascending.
        notes: What a user should know of the choice, a sentence each.
    """

    rows: IntArray
    instances: IntArray
    images: IntArray
    image_rows: IntArray
    notes: tuple[str, ...]


def choose_new_classes(
    dataset: Dataset, known: Mapping[str, str], wanted: Sequence[str] = ()
) -> NewClasses:
    """Choose the classes of a file that are to be learned.

    Without a wish these are all annotated classes, none of which may be known.

    Args:
        dataset: The file.
        known: Classes that are there already: name, and the phase's name for the error.
        wanted: Names of the classes to learn; annotations of others are then no obstacle.

    Raises:
        LstError: If there is nothing to learn, a class is known already or not there, has no
            usable box, or has two ids.
    """
    path, categories = dataset.path, dataset.categories
    if not len(dataset.instances):
        raise LstError(
            f"{path}: no annotations, so that there is no class to learn",
            "annotate a few objects of the new classes",
        )
    boxes = np.bincount(dataset.instances.category_index, minlength=len(categories))
    annotated = {categories.names[row] for row in np.flatnonzero(boxes)}
    if wanted:
        names = _wished(dataset, known, annotated, wanted)
    else:
        names = _unknown(dataset, known, annotated)
    chosen = np.array([name in names for name in categories.names], dtype=bool)
    _refuse_two_ids(dataset, np.flatnonzero(chosen))
    usable = usable_instances(dataset)
    counts = np.bincount(
        dataset.instances.category_index[usable], minlength=len(categories)
    ).astype(np.int64)
    for row in np.flatnonzero(chosen & (counts == 0)):
        own = dataset.instances.category_index == row
        only_crowds = dataset.instances.crowd[own].all() and not dataset.skipped
        raise LstError(
            f"{path}: class {quoted(categories.names[row])} has "
            f"{count_of(int(boxes[row]), 'annotation', 'annotations')} but no usable box: crowds "
            "and boxes without area inside the image do not count",
            CROWD_HINT if only_crowds else "correct or remove its annotations",
        )
    rows = order_classes(categories.ids, np.where(chosen, counts, 0))
    taught = usable & chosen[dataset.instances.category_index]
    pairs = np.unique(
        np.stack([dataset.instances.category_index, dataset.instances.image_index])[:, taught],
        axis=1,
    )
    return NewClasses(
        rows=rows,
        instances=counts[rows],
        images=np.bincount(pairs[0], minlength=len(categories)).astype(np.int64)[rows],
        image_rows=np.unique(pairs[1]).astype(np.int64),
        notes=(
            *_near_misses([categories.names[row] for row in rows], known),
            *_left_out(dataset, known, annotated, names),
        ),
    )


def quoted(name: str) -> str:
    """A class name in a sentence.

    Example:
        >>> quoted("ice cream")
        '"ice cream"'
    """
    return f'"{name}"'


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of many.

    Example:
        >>> listed(["a", "b", "c", "d", "e", "f", "g"])
        '"a", "b", "c", "d", "e" and 2 more'
    """
    shown = ", ".join(quoted(name) for name in names[:_NAMED_AT_MOST])
    more = len(names) - _NAMED_AT_MOST
    return f"{shown} and {more:,} more" if more > 0 else shown


def _wished(
    dataset: Dataset, known: Mapping[str, str], annotated: set[str], wanted: Sequence[str]
) -> set[str]:
    for name in wanted:
        if name in known:
            raise LstError(
                f"--class {quoted(name)}: in the workspace already ({known[name]})",
                "lst status shows the phases; leave the class out",
            )
        if name not in dataset.categories.names:
            meant = did_you_mean(quoted(name), map(quoted, sorted(annotated - known.keys())))
            raise LstError(
                f"--class {quoted(name)}: {dataset.path} has no such class{meant}",
                f"choose of {listed(sorted(annotated - known.keys()))}"
                if annotated - known.keys()
                else "give another file with --train FILE",
            )
        if name not in annotated:
            raise LstError(
                f"--class {quoted(name)}: {dataset.path} has no annotation of it",
                "annotate a few objects of it, or leave the class out",
            )
    return set(wanted)


def _unknown(dataset: Dataset, known: Mapping[str, str], annotated: set[str]) -> set[str]:
    clashes = sorted(annotated & known.keys())
    fresh = annotated - known.keys()
    if clashes:
        which = ", ".join(f"{quoted(name)} ({known[name]})" for name in clashes)
        count = count_of(len(clashes), "class is", "classes are")
        words = " ".join(f"--class {quoted(name)}" for name in islice(sorted(fresh), 3))
        raise LstError(
            f"{dataset.path}: {count} in the workspace already: {which}",
            f"say which classes are new: lst extend {words}{' ...' if len(fresh) > 3 else ''}"
            if fresh
            else "give a file with classes that are not in the workspace",
        )
    return fresh


def _refuse_two_ids(dataset: Dataset, chosen: IntArray) -> None:
    ids_of: dict[str, list[int]] = {}
    for row in chosen.tolist():
        ids = ids_of.setdefault(dataset.categories.names[row], [])
        ids.append(int(dataset.categories.ids[row]))
    for name, ids in ids_of.items():
        if len(ids) > 1:
            raise LstError(
                f"{dataset.path}: class {quoted(name)} has more than one category id: "
                f"{', '.join(map(str, ids))}",
                "give every class one id, or another name",
            )


def _near_misses(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    plain = {_plain(name): name for name in known}
    return [
        f"{quoted(name)} is taken for another class than {quoted(plain[_plain(name)])} "
        f"({known[plain[_plain(name)]]}): names count letter by letter"
        for name in names
        if _plain(name) in plain
    ]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold() or name


def _left_out(
    dataset: Dataset, known: Mapping[str, str], annotated: set[str], chosen: set[str]
) -> list[str]:
    """What of the file is not learned."""
    notes = []
    listed_only = [
        name for name in dataset.categories.names if name not in annotated | known.keys()
    ]
    if listed_only:
        notes.append(f"left out, no instance in {dataset.path.name}: {listed(listed_only)}")
    others = sorted(annotated - chosen - known.keys())
    if others:
        notes.append(f"left out, not named by --class: {listed(others)}")
    old = sorted(annotated & known.keys())
    if old:
        notes.append(
            f"known already, neither learned nor taken for background in the images of "
            f"{dataset.path.name}: {listed(old)}"
        )
    return notes
