"""`lst check`: look at everything that could spoil a training, and train nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.annotations.problems import Problem, count_of, examples
from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.check.boxes import WRONG_BOXES
from lst_cli.check.fields import check_dataset, class_name, usable_instances
from lst_cli.check.images import check_images, check_listed_twice, check_shared_images
from lst_cli.check.masks import Masks, check_masks, examine_masks, leave_out_unusable
from lst_cli.errors import LstError
from lst_cli.images.finder import HERE, ImageFinder
from lst_cli.progress import Progress, silent

_BYTES_AN_IMAGE = 50_000  # what looking at an image costs, in bytes of JSON read


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What `check` found."""

    problems: tuple[Problem, ...]  # each says in `where` which file it concerns
    train: Dataset | None  # None if the file was not given or could not be read
    val: Dataset | None
    images_checked: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that must be fixed before training."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "format": 1,
            "ok": not self.errors,
            "train": _summary(self.train),
            "val": _summary(self.val),
            "images_checked": self.images_checked,
            "problems": [asdict(problem) for problem in self.problems],
        }


@dataclass
class _Meter:
    """Progress of several pieces of work, one after the other, as one."""

    progress: Progress
    total: int = 0  # may still grow
    piece: str = ""
    before: int = 0  # done before this piece
    done: int = 0

    def __call__(self, what: str, done: int, _: int | None) -> None:
        if what != self.piece:
            self.piece, self.before = what, self.before + self.done
        self.done = done
        self.progress("checking", min(self.before + done, self.total), self.total)

    def of_images(self, dataset: Dataset) -> Progress:
        return lambda _, done, total: self(f"{dataset.path}", done * _BYTES_AN_IMAGE, total)


def check(
    train: Path | None,
    val: Path | None,
    image_dirs: Sequence[Path],
    *,
    skip_unusable: bool = False,
    decode: bool = False,
    progress: Progress = silent,
) -> CheckReport:
    """Check one annotation file or both, their masks, and the images.

    A file that cannot be read is a problem like others, so that one run shows what is wrong with
    everything. Without image directories, the images of the current one are looked at, if any image
    of the files is there. With `decode` every image is decoded instead of reading its header.
    Progress has no particular unit; its total grows when the number of images becomes known.
    """
    given = {role: path for role, path in (("train", train), ("val", val)) if path is not None}
    meter = _Meter(progress)
    for path in given.values():
        with suppress(OSError):
            meter.total += 2 * path.stat().st_size
    problems: list[Problem] = []
    read: dict[str, Dataset] = {}
    for role, path in given.items():
        try:
            read[role], found = check_file(
                path, training=role == "train", skip_unusable=skip_unusable, progress=meter
            )
        except LstError as error:
            found = [Problem("error", "unreadable-file", error.message, hint=error.hint)]
        problems += [problem.at(path) for problem in found]
    finder = ImageFinder(image_dirs or HERE)
    looks = image_dirs or any(
        finder.is_listed(*names) for dataset in read.values() for names in dataset.images.names
    )
    ours, theirs = read.get("train"), read.get("val")
    if ours is not None and theirs is not None:
        both = " and ".join(dict.fromkeys(map(str, given.values())))
        found = check_pair(ours, theirs)
        found += check_shared_images(ours, theirs, finder if looks else None, content=True)
        problems += [problem.at(both) for problem in found]
    checked = 0
    if looks:
        different = {dataset.sha256: dataset for dataset in read.values()}.values()
        checked = sum(len(dataset.images) for dataset in different)
        meter.total += checked * _BYTES_AN_IMAGE
        for dataset in different:
            found = check_images(dataset, finder, progress=meter.of_images(dataset), decode=decode)
            found += check_listed_twice(dataset, finder)
            problems += [problem.at(dataset.path) for problem in found]
    else:
        message = (
            "no image directory is given, and no image lies below the current one, so none was "
            "looked at"
        )
        problems.append(Problem("warning", "images-not-checked", message, hint="give --images DIR"))
    return CheckReport(tuple(problems), ours, theirs, checked)


def check_file(
    path: Path, *, training: bool, skip_unusable: bool = False, progress: Progress = silent
) -> tuple[Dataset, list[Problem]]:
    """Read an annotation file and check it; an `LstError` if it cannot be read."""
    dataset = read_dataset(path, progress=progress)
    masks = examine_masks(dataset, progress=progress)
    if skip_unusable:
        dataset = leave_out_unusable(dataset, masks)
    return dataset, check_annotations(dataset, masks, training=training)


def check_annotations(
    dataset: Dataset, masks: Masks | None = None, *, training: bool
) -> list[Problem]:
    """Check the records, masks and boxes of a file, which is read again if no masks are given.

    Boxes that mean something else come first, since they explain other errors.
    """
    found = check_dataset(dataset, training=training)
    found += check_masks(dataset, masks or examine_masks(dataset), training=training)
    return sorted(found, key=lambda one: one.severity != "error" or one.kind not in WRONG_BOXES)


def check_pair(train: Dataset, val: Dataset) -> list[Problem]:
    """Check that two files can be split together: their releases, their classes, what is learned.

    LVIS v0.5 and v1 number other classes with the same ids, so that a model of one evaluated on
    the other gives wrong numbers without any error.
    """
    return [*_check_same_classes(train, val), *_check_learned(train, val)]


def _check_same_classes(train: Dataset, val: Dataset) -> Iterator[Problem]:
    if train.layout != val.layout:
        yield Problem(
            "error",
            "layouts-differ",
            f"the training file has the layout {train.layout}, the validation file {val.layout}",
            hint="give the images of both files the same fields: file_name in both or in "
            "neither, and so with neg_category_ids; take LVIS files from one release",
        )
    ours, theirs = (
        {number: f'"{name}"' for number, name in zip(one.ids.tolist(), one.names, strict=True)}
        for one in (train.categories, val.categories)
    )
    alone = ours.keys() ^ theirs.keys()
    renamed = {one for one in ours.keys() & theirs.keys() if ours[one] != theirs[one]}
    text = []
    if renamed:
        have = count_of(len(renamed), "category_id has", "category_ids have")
        text.append(f"{have} another name in the validation file than in the training file")
    if alone:
        are = count_of(len(alone), "category_id is", "category_ids are")
        text.append(f"{are} in only one of the two files")
    if differ := sorted(renamed | alone):
        some = examples(
            f"category {number}: {ours.get(number, 'nothing')} in training, "
            f"{theirs.get(number, 'nothing')} in validation"
            for number in differ
        )
        hint = 'give both files the same list "categories"; take LVIS files from one release'
        yield Problem("error", "classes-differ", "; ".join(text), len(differ), some, hint)


def _check_learned(train: Dataset, val: Dataset) -> Iterator[Problem]:
    """Check that there are two classes to learn, and find objects of classes without any."""
    used = np.unique(train.instances.category_index[usable_instances(train)])
    if len(used) == 1:
        only = f"only one class has usable training instances, {train.categories.names[used[0]]}"
        message = f"{only}; a split needs two or more, with --joint too"
        hint = "annotate objects of more classes, or give another training file"
        yield Problem("error", "one-class", message, hint=hint)
    rows = val.instances.category_index[val.instances.scored]
    unknown = rows[~np.isin(val.categories.ids[rows], train.categories.ids[used])]
    if len(unknown) and len(used):
        classes = np.unique(unknown)
        none = len(unknown) == len(rows)
        objects = count_of(len(unknown), "validation object", "validation objects")
        yield Problem(
            "error" if none else "info",
            "class-not-learned",
            f"{'all ' if none else ''}{objects} of "
            f"{count_of(len(classes), 'class', 'classes')} without a training instance are in no "
            f"phase and not evaluated{', so that there is no AP' if none else ''}",
            len(unknown),
            examples(class_name(val, row) for row in classes),
            "give a validation file with objects of the classes in training" if none else None,
        )


def _summary(dataset: Dataset | None) -> dict[str, Any] | None:
    if dataset is None:
        return None
    return {
        "path": str(dataset.path),
        "sha256": dataset.sha256,
        "layout": dataset.layout,
        "federated": dataset.federated,
        "images": len(dataset.images),
        "categories": len(dataset.categories),
        "instances": len(dataset.instances),
        "usable_instances": int(usable_instances(dataset).sum()),
    }
