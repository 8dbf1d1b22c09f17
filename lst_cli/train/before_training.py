"""The checks that come before any training, so that none fails in the middle of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lst_cli.annotations.problems import SKIP_HINT, Problem, count_of
from lst_cli.annotations.read import Dataset
from lst_cli.check.boxes import WRONG_BOXES
from lst_cli.check.check import check, check_file
from lst_cli.check.images import check_images
from lst_cli.errors import LstError
from lst_cli.inputs import ImagePaths, IntArray
from lst_cli.progress import Progress, silent, stage
from lst_cli.workspace.manifest import Split

# Warnings that belong before the long work that the data is wrong for.
_WRONG_DATA = {"box-not-of-mask", "box-one-pixel-off", "box-layout", "no-pixel",
               "image-listed-twice", "annotated-twice", "unmatchable"}  # fmt: skip


def check_before_training(split: Split, progress: Progress) -> None:
    """Raise an `LstError` if annotations, masks or image headers have any error."""
    report = check(
        Path(split.train.path),
        Path(split.val.path),
        [Path(directory) for directory in split.image_dirs],
        skip_unusable=split.skips_unusable,
        progress=stage(progress, "checking files and images"),
    )
    refuse_errors([in_split(problem, bool(split.image_dirs)) for problem in report.problems])


def check_found_images(
    parts: Sequence[Dataset],
    paths: ImagePaths,
    rows: IntArray | None = None,
    *,
    progress: Progress,
    has_split: bool = True,
) -> None:
    """Raise an `LstError` if an image of a split is missing or not as large as stated.

    `parts` are the files that the image table is made of, `rows` those of the table to look at; all
    by default. Without a split, hints name the options of the command.
    """
    for part, finder, start in zip(parts, paths.finders, paths.starts, strict=True):
        own = np.arange(len(part.images))
        if rows is not None:
            own = rows[(rows >= start) & (rows < start + len(own))] - start
        problems = check_images(part, finder, rows=own, progress=progress)
        if has_split:
            problems = [in_split(problem) for problem in problems]
        refuse_errors(problems, str(part.path))


def in_split(problem: Problem, has_images: bool = True) -> Problem:
    """A problem with a hint for commands that read a split instead of options."""
    hint = problem.hint
    if problem.kind == "missing-image" and has_images and "--images" in (hint or ""):
        hint = "make the same split again with the right --images DIR; what is trained stays"
    elif hint == SKIP_HINT:
        hint = "correct or remove these, or make the split again with --skip-unusable"
    return replace(problem, hint=hint)


def read_checked(
    path: Path,
    *,
    training: bool,
    skip_unusable: bool = False,
    progress: Progress = silent,
    warn: Callable[[str], None] | None = None,
) -> Dataset:
    """Read an annotation file; an `LstError` if its annotations or masks have any error.

    With `training`, classes are learned from it. `warn` is called with what makes numbers wrong
    without stopping anything.
    """
    dataset, problems = check_file(
        path, training=training, skip_unusable=skip_unusable, progress=progress
    )
    look = f"lst check --{'train' if training else 'val'} {shlex.quote(str(path))}"
    refuse_errors(problems, str(path), look)
    if warn is not None:
        for problem in problems:
            if problem.kind in _WRONG_DATA:
                warn(problem.at(path).sentence)
    return dataset


def refuse_errors(problems: Sequence[Problem], where: str = "", look: str = "lst check") -> None:
    """Raise an `LstError` about the first error of a check, if there is any.

    `where` names the files, for problems that do not; the command `look` shows all problems.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    # Boxes of another meaning reach out of their images, too: what is wrong comes first.
    first = min(errors, key=lambda problem: problem.kind not in WRONG_BOXES)
    rest = len(errors) - 1
    more = f" (and {count_of(rest, 'more kind', 'more kinds')} of error)" if rest else ""
    raise LstError(f"{first.at(first.where or where).sentence}{more}", first.hint or look)
