"""Whether a training and a validation file go together: their layouts and their classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lst_cli.annotations.problems import Problem, count_of
from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import usable_instances


def check_pair(train: Dataset, val: Dataset) -> list[Problem]:
    """Check that two files can be split together."""
    return [*check_same_classes(train, val), *_check_learned(train, val)]


def check_same_classes(train: Dataset, val: Dataset) -> list[Problem]:
    """Check that both files are of one release and mean the same classes.

    LVIS v0.5 and v1 number other classes with the same ids, so that a model of
    one evaluated on the other gives wrong numbers without any complaint.

    Returns:
        At most one error about layouts and one about classes.
    """
    found: list[Problem] = []
    if train.layout != val.layout:
        found.append(
            Problem(
                "error",
                "layouts-differ",
                f"the training file has the layout {train.layout}, "
                f"the validation file {val.layout}",
                hint="give the images of both files the same fields: file_name in both or in "
                "neither, and so with neg_category_ids; take LVIS files from one release",
            )
        )
    ours = dict(zip(train.categories.ids.tolist(), train.categories.names, strict=True))
    theirs = dict(zip(val.categories.ids.tolist(), val.categories.names, strict=True))
    alone = ours.keys() ^ theirs.keys()
    renamed = {one for one in ours.keys() & theirs.keys() if ours[one] != theirs[one]}
    message = []
    if renamed:
        have = count_of(len(renamed), "category_id has", "category_ids have")
        message.append(f"{have} another name in the validation file than in the training file")
    if alone:
        are = count_of(len(alone), "category_id is", "category_ids are")
        message.append(f"{are} in only one of the two files")
    if message:
        found.append(
            Problem.of(
                "error",
                "classes-differ",
                "; ".join(message),
                sorted(renamed | alone),
                lambda number: (
                    f"category {number}: {_quoted(ours.get(number))} in training, "
                    f"{_quoted(theirs.get(number))} in validation"
                ),
                'give both files the same list "categories"; take LVIS files from one release',
            )
        )
    return found


def _check_learned(train: Dataset, val: Dataset) -> list[Problem]:
    """Check that there are two classes to learn, and find objects of classes without any."""
    found: list[Problem] = []
    used = np.unique(train.instances.category_index[usable_instances(train)])
    if len(used) == 1:
        found.append(
            Problem(
                "error",
                "one-class",
                f"only one class has usable training instances, {train.categories.names[used[0]]}; "
                "a split needs two or more, with --joint too",
                hint="annotate objects of more classes, or give another training file",
            )
        )
    objects = val.categories.ids[val.instances.category_index[val.instances.scored]]
    unknown = objects[~np.isin(objects, train.categories.ids[used])]
    if len(unknown) and len(used):
        names = dict(zip(val.categories.ids.tolist(), val.categories.names, strict=True))
        ids = np.unique(unknown).tolist()
        none = len(unknown) == len(objects)
        problem = Problem.of(
            "error" if none else "info",
            "class-not-learned",
            f"{'all ' if none else ''}"
            f"{count_of(len(unknown), 'validation object', 'validation objects')} of "
            f"{count_of(len(ids), 'class', 'classes')} without a training instance are in no "
            f"phase and not evaluated{', so that there is no AP' if none else ''}",
            ids,
            lambda number: f"category {number} ({names[number]})",
            "give a validation file with objects of the classes in training" if none else None,
        )
        found.append(replace(problem, count=len(unknown)))
    return found


def _quoted(name: str | None) -> str:
    """A class name in a sentence."""
    return "nothing" if name is None else f'"{name}"'
