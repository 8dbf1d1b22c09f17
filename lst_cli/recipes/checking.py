"""The checks that come before any training, so that none fails in the middle of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lst_cli.data.problems import Problem
from lst_cli.errors import LstError
from lst_cli.recipes.check import check
from lst_cli.workspace.manifest import Split


def check_before_training(split: Split, prepare: Callable[[str, int, int | None], None]) -> None:
    """Check annotations, masks and image headers, validation included.

    Raises:
        LstError: If there is any error.
    """
    report = check(
        Path(split.train.path),
        Path(split.val.path),
        [Path(directory) for directory in split.image_dirs],
        progress=lambda done, total: prepare("checking files and images", done, total),
    )
    problems = report.problems
    if split.image_dirs:
        # The directories come from the split, not from an option of the command that trains.
        again = "make the same split again with the right --images DIR; what is trained stays"
        problems = tuple(
            replace(problem, hint=again) if problem.kind == "missing-image" else problem
            for problem in problems
        )
    refuse_errors(problems)


def refuse_errors(problems: Sequence[Problem], where: str = "", look: str = "lst check") -> None:
    """Stop if a check found an error.

    Args:
        problems: What a check found.
        where: The files, for problems that do not say it themselves.
        look: The command that shows all problems.

    Raises:
        LstError: Naming the first one with an example, and how many more there are.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    first = errors[0]
    example = f", for instance {first.examples[0]}" if first.examples else ""
    more = f" (and {len(errors) - 1} more kind(s) of error)" if len(errors) > 1 else ""
    place = first.where or where
    prefix = f"{place}: " if place and place not in first.message else ""
    raise LstError(f"{prefix}{first.message}{example}{more}", first.hint or look)
