"""Which row of an existing model is which class, and how many images it may be shown.

torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Categories
from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.text import did_you_mean

MOST_PASSES = 2_000  # images that the model is shown by default; more changed nothing
SHARE_OF_PASSES = 10  # at most a tenth of what the original was trained on
_CLASSES = "--classes FILE with the model's class names, one a line, in the model's order"


@dataclass(frozen=True)
class ModelClasses:
    """The classes of a model in the terms of the training file."""

    named_by: str  # what said so, in words
    ids: tuple[int | None, ...]  # category id of each row of the model; None: not in the file
    dropped: tuple[str, ...]  # names of these rows
    unknown: tuple[str, ...]  # categories of the file that the model does not know

    @property
    def known(self) -> dict[int, int]:
        """Row of the model by category id."""
        return {number: row for row, number in enumerate(self.ids) if number is not None}


def read_names(path: Path) -> list[str]:
    """Class names, one a line; an `LstError` if they are not text or one stands twice."""
    hint = "give the model's class names, one a line, in the model's order"
    try:
        text = read_regular(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise LstError(f"--classes {path}: no such file", hint) from error
    except OSError as error:
        raise LstError(f"--classes {path}: cannot be read: {error.strerror}", hint) from error
    except UnicodeDecodeError as error:
        raise LstError(f"--classes {path}: not UTF-8 text", hint) from error
    names = [line.strip() for line in text.rstrip().splitlines()]
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise LstError(f"--classes {path}, line {number}: no name", hint)
        if name in seen:
            raise LstError(
                f"--classes {path}, line {number}: {name} stands in line {seen[name]} too", hint
            )
        seen[name] = number
    if not names:
        raise LstError(f"--classes {path}: no names", hint)
    return names


def match_classes(
    rows: int,
    categories: Categories,
    given: Sequence[str] | None,
    builtin: Sequence[str] = (),
    builtin_name: str = "",
) -> ModelClasses:
    """Find the category of each of a model's rows.

    By the names that were given; else by the `builtin` ones of the data set in its config, where
    there are as many and the file has half of them; else by detectron2's convention: the
    categories of the training file in ascending id. Raises an `LstError` if the counts differ or
    no name fits.
    """
    known = categories.names
    if given is not None:
        if len(given) != rows:
            raise LstError(
                f"--classes has {count_of(len(given), 'name', 'names')}, and the model "
                f"{count_of(rows, 'class', 'classes')}",
                f"give {_CLASSES}",
            )
        found = _by_name("--classes", given, categories)
        if not found.known:
            meant = did_you_mean(given[0], known)
            raise LstError(
                f"--classes: the training file has no class of these names, such as "
                f"{given[0]}{meant}",
                "write the names as in the training file",
            )
        return found
    if len(builtin) == rows and 2 * len(set(builtin) & set(known)) >= rows:
        return _by_name(f"names of {builtin_name}", builtin, categories)
    if rows != len(known):
        raise LstError(
            f"the model has {count_of(rows, 'class', 'classes')}, and the training file "
            f"{count_of(len(known), 'category', 'categories')}: which is which?",
            f"give {_CLASSES}",
        )
    ids = tuple(sorted(int(number) for number in categories.ids))
    return ModelClasses("ascending category ids, as detectron2 numbers classes", ids, (), ())


def _by_name(what: str, names: Sequence[str], categories: Categories) -> ModelClasses:
    twice = {name for name in categories.names if categories.names.count(name) > 1} & set(names)
    if twice:
        raise LstError(
            f"the training file has several categories called {min(twice)}",
            "give them different names",
        )
    ids = dict(zip(categories.names, categories.ids.tolist(), strict=True))
    return ModelClasses(
        what,
        tuple(ids.get(name) for name in names),
        tuple(name for name in names if name not in ids),
        tuple(name for name in categories.names if name not in names),
    )


def image_passes(given: int | None, of_original: int, images: int) -> int:
    """Images to show the model: as many as given, else as few as do it.

    Never more than a tenth of what the original was trained on, by its config. Raises an `LstError`
    if more are given.

    Example:
        >>> image_passes(None, 1_440_000, 118_000), image_passes(None, 4000, 1600)
        (2000, 400)
    """
    most = max(1, of_original // SHARE_OF_PASSES)
    if given is None:
        return min(MOST_PASSES, most, 2 * images)
    if given > most:
        raise LstError(
            f"--image-passes {given:,}: more than a tenth of the {of_original:,} that the model "
            "was trained on (SOLVER.MAX_ITER * SOLVER.IMS_PER_BATCH of its config)",
            f"give at most {most:,}, or correct the config",
        )
    return given
