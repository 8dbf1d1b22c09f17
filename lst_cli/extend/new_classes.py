"""Which classes of an annotation file are new to a model that knows others.

Classes are told apart by name: files of different makers number them differently.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import CROWD_HINT, usable_instances
from lst_cli.errors import LstError
from lst_cli.phases.classes import IntArray, order_classes
from lst_cli.phases.replay import Occurrences
from lst_cli.text import did_you_mean, first_few

_NAMED_AT_MOST = 5


@dataclass(frozen=True, eq=False)
class NewClasses:
    """The classes to learn from a file."""

    rows: IntArray  # of its `Categories`, in class order, shape (C,)
    instances: IntArray  # usable annotations of each, shape (C,)
    images: IntArray  # images with any of these, of each, shape (C,)
    image_rows: IntArray  # rows of all these images, ascending
    notes: tuple[str, ...]  # what a user should know of the choice, a sentence each


def choose_new_classes(
    dataset: Dataset, known: Mapping[str, str], wanted: Sequence[str] = ()
) -> NewClasses:
    """Choose the classes of a file that are to be learned.

    Those `wanted` by name, and then annotations of others are no obstacle; or all annotated
    classes, none of which may be known. `known` has the phase's name of each class.

    Raises:
        LstError: If there is nothing to learn, a class is known already or not there, has no
            usable box, or has two ids.
    """
    path, categories = dataset.path, dataset.categories
    classes = dataset.instances.category_index.astype(np.int64)
    if not len(classes):
        raise LstError(
            f"{path}: no annotations, so that there is no class to learn",
            "annotate a few objects of the new classes",
        )
    annotated = {categories.names[row] for row in np.unique(classes)}
    if wanted:
        names = _wished(dataset, known, annotated, wanted)
    else:
        names = _unknown(dataset, known, annotated)
    chosen = np.array([name in names for name in categories.names], dtype=bool)
    _refuse_two_ids(dataset, np.flatnonzero(chosen))
    taught = usable_instances(dataset) & chosen[classes]
    images = dataset.instances.image_index[taught].astype(np.int64)
    found = Occurrences.of(images, classes[taught], len(categories))
    instances = found.instance_counts()
    for row in np.flatnonzero(chosen & (instances == 0)):
        own = classes == row
        only_crowds = dataset.instances.crowd[own].all() and not dataset.skipped
        raise LstError(
            f"{path}: class {quoted(categories.names[row])} has "
            f"{count_of(int(own.sum()), 'annotation', 'annotations')} but no usable box: crowds "
            "and boxes without area inside the image do not count",
            CROWD_HINT if only_crowds else "correct or remove its annotations",
        )
    rows = order_classes(categories.ids, instances)
    return NewClasses(
        rows=rows,
        instances=instances[rows],
        images=found.image_counts()[rows],
        image_rows=np.unique(images),
        notes=(
            *_near_misses([categories.names[row] for row in rows], known),
            *_left_out(dataset, known, annotated, names),
        ),
    )


def quoted(name: str) -> str:
    """A class name in a sentence."""
    return f'"{name}"'


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of many.

    Example:
        >>> listed(["a", "b", "c", "d", "e", "f", "g"])
        '"a", "b", "c", "d", "e" and 2 more'
    """
    return first_few([quoted(name) for name in names], _NAMED_AT_MOST)


def _wished(
    dataset: Dataset, known: Mapping[str, str], annotated: set[str], wanted: Sequence[str]
) -> set[str]:
    choices = sorted(annotated - known.keys())
    for name in wanted:
        option = f"--class {quoted(name)}"
        if name in known:
            raise LstError(
                f"{option}: in the workspace already ({known[name]})",
                "lst status shows the phases; leave the class out",
            )
        if name not in dataset.categories.names:
            meant = did_you_mean(quoted(name), map(quoted, choices))
            raise LstError(
                f"{option}: {dataset.path} has no such class{meant}",
                f"choose one of {listed(choices)}"
                if choices
                else "give another file with --train FILE",
            )
        if name not in annotated:
            raise LstError(
                f"{option}: {dataset.path} has no annotation of it",
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
    ids_of: dict[str, list[int]] = defaultdict(list)
    for row in chosen.tolist():
        ids_of[dataset.categories.names[row]].append(int(dataset.categories.ids[row]))
    for name, ids in ids_of.items():
        if len(ids) > 1:
            raise LstError(
                f"{dataset.path}: class {quoted(name)} has more than one category id: "
                f"{', '.join(map(str, ids))}",
                "give every class one id, or another name",
            )


def _near_misses(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    alike = {_letters(name): f"{quoted(name)} ({phase})" for name, phase in known.items()}
    return [
        f"{quoted(name)} is taken for another class than {alike[_letters(name)]}: "
        "names count letter by letter"
        for name in names
        if _letters(name) in alike
    ]


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold() or name


def _left_out(
    dataset: Dataset, known: Mapping[str, str], annotated: set[str], chosen: set[str]
) -> list[str]:
    """What of the file is not learned."""
    file = dataset.path.name
    groups = {
        f"left out, no instance in {file}": [
            name for name in dataset.categories.names if name not in annotated | known.keys()
        ],
        "left out, not named by --class": sorted(annotated - chosen - known.keys()),
        f"in the workspace already, so not new, and not background in {file}": sorted(
            annotated & known.keys()
        ),
    }
    return [f"{what}: {listed(names)}" for what, names in groups.items() if names]
