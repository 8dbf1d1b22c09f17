"""`lst check`: look at everything that could spoil a training, and train nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lst_cli.annotations.problems import Problem
from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.check.boxes import WRONG_BOXES
from lst_cli.check.fields import (
    check_dataset,
    check_images,
    check_segmentations,
    usable_instances,
)
from lst_cli.check.image_overlap import check_listed_twice, check_shared_images
from lst_cli.check.same_classes import check_pair
from lst_cli.check.unusable import leave_out_unusable
from lst_cli.errors import LstError
from lst_cli.images.finder import HERE, ImageFinder
from lst_cli.progress import Progress, silent

_BYTES_AN_IMAGE = 50_000  # what looking at an image costs, in bytes of JSON read


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What `check` found.

    Attributes:
        problems: All problems, each saying in `where` which file it concerns.
        train: The training file, or None if it was not given or could not be read.
        val: The validation file, likewise.
        images_checked: How many image files were looked at.
    """

    problems: tuple[Problem, ...]
    train: Dataset | None
    val: Dataset | None
    images_checked: int

    @property
    def ok(self) -> bool:
        """Whether training may begin: there is no error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that must be fixed first."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "format": 1,
            "ok": self.ok,
            "train": _summary(self.train),
            "val": _summary(self.val),
            "images_checked": self.images_checked,
            "problems": [problem.as_dict() for problem in self.problems],
        }


class _Meter:
    """Several pieces of work shown as one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._total = 0
        self._begun = 0

    def expect(self, work: int) -> None:
        """Announce work to come."""
        self._total += work

    def step(self, work: int, *, unit: int = 1) -> Progress:
        """Begin a piece of the announced work, told in units of some size."""
        before = self._begun
        self._begun += work

        def tell(what: str, done: int, total: int | None) -> None:
            self._progress("checking", min(before + done * unit, self._total), self._total)

        return tell


def check(
    train: Path | None,
    val: Path | None,
    image_dirs: Sequence[Path],
    *,
    skip_unusable: bool = False,
    decode: bool = False,
    workers: int = 4,
    progress: Progress = silent,
) -> CheckReport:
    """Check both annotation files, their masks, and the images.

    A file that cannot be read is a problem like others, so that one run shows
    what is wrong with everything.

    Args:
        train: The training file, if it is to be checked.
        val: The validation file, if it is to be checked.
        image_dirs: Where the images lie. Without any, those of the current directory are looked
            at, if any image of the files is there.
        skip_unusable: Whether annotations that cannot be used are left out.
        decode: Whether to decode every image instead of reading its header.
        workers: Threads that look at images.
        progress: Called with work done and to do, in no particular unit; what
            is to do grows when the number of images becomes known.

    Returns:
        The problems and the files.
    """
    meter = _Meter(progress)
    passes = 3 if skip_unusable else 2  # numbers, masks to leave out, masks to check
    files = [path for path in (train, val) if path is not None]
    for file in files:
        meter.expect(passes * _size(file))
    problems: list[Problem] = []
    datasets: list[Dataset | None] = []
    for training, path in ((True, train), (False, val)):
        dataset = None
        if path is not None:
            dataset, found = _check_file(
                path, training=training, skip_unusable=skip_unusable, meter=meter
            )
            problems += [problem.at(path) for problem in found]
        datasets.append(dataset)
    ours, theirs = datasets
    both = " and ".join(dict.fromkeys(map(str, files)))
    if ours is not None and theirs is not None:
        problems += [problem.at(both) for problem in check_pair(ours, theirs)]
    images_checked = 0
    finder = _finder([one for one in datasets if one is not None], image_dirs)
    if ours is not None and theirs is not None:
        found = check_shared_images(ours, theirs, finder, content=True)
        problems += [problem.at(both) for problem in found]
    if finder is not None:
        checked = {one.sha256: one for one in datasets if one is not None}.values()
        for dataset in checked:
            meter.expect(len(dataset.images) * _BYTES_AN_IMAGE)
        for dataset in checked:
            step = meter.step(len(dataset.images) * _BYTES_AN_IMAGE, unit=_BYTES_AN_IMAGE)
            found = [
                *check_images(dataset, finder, progress=step, workers=workers, decode=decode),
                *check_listed_twice(dataset, finder),
            ]
            problems += [problem.at(dataset.path) for problem in found]
            images_checked += len(dataset.images)
    else:
        problems.append(
            Problem(
                "warning",
                "images-not-checked",
                "no image directory is given, and no image lies below the current one, so none "
                "was looked at",
                hint="give --images DIR",
            )
        )
    return CheckReport(tuple(problems), ours, theirs, images_checked)


def _finder(datasets: Sequence[Dataset], image_dirs: Sequence[Path]) -> ImageFinder | None:
    finder = ImageFinder(image_dirs or HERE)
    named = (
        names
        for one in datasets
        for names in zip(one.images.file_names, one.images.coco_urls, strict=True)
    )
    return finder if image_dirs or any(finder.is_listed(*names) for names in named) else None


def _check_file(
    path: Path, *, training: bool, skip_unusable: bool, meter: _Meter
) -> tuple[Dataset | None, list[Problem]]:
    steps = [meter.step(_size(path)) for _ in range(3 if skip_unusable else 2)]
    dataset = None
    found: list[Problem] = []
    try:
        dataset = read_dataset(path, progress=steps[0])
        if skip_unusable:
            dataset = leave_out_unusable(dataset, progress=steps[1])
        found = check_dataset(dataset, training=training)
        found += check_segmentations(path, dataset, training=training, progress=steps[-1])
        found.sort(key=lambda one: one.severity != "error" or one.kind not in WRONG_BOXES)
    except LstError as error:
        found.append(Problem("error", "unreadable-file", error.message, hint=error.hint))
    return dataset, found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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
