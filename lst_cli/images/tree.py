"""All files some levels below the given directories: for images that lie in no usual place."""

from __future__ import annotations

import difflib
import os
import shlex
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lst_cli.images.names import ImageName, part_of, spell

LEVELS = 3
"""How many levels of directories below a given one are looked through."""

_MOST_DIRECTORIES = 2_000
_MOST_FILES = 1_000_000
_NEIGHBOURS = (
    2_000  # names to each side, in the order of letters, that are held against a wrong one
)
# Names of directories that say nothing about which images lie in them.
_HOLDERS = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "data"))


class _File(NamedTuple):
    directory: str
    name: str
    below: tuple[str, ...]  # its directories below the given one, spelled alike
    part: str  # of the data set, as the given directory's name says

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)


class ImageTree:
    """Finds files by name below directories, however they are nested and their names are spelled.

    Hidden directories are passed over. The order of directories and names is fixed, so that the
    same files give the same answer.

    Args:
        dirs: Directories to look through.

    Attributes:
        whole: Whether everything was looked through; there is a limit for `--images /`.
        count: How many files there are.
    """

    def __init__(self, dirs: Iterable[Path]) -> None:
        self.whole = True
        self.count = 0
        self._directories = 0
        self._files: dict[str, list[_File]] = {}
        for root in dirs:
            self._add(root)
        self._keys = sorted(self._files)

    def find(self, wanted: ImageName) -> list[str]:
        """The files that can be an image, equally good ones; a name to the letter is better."""
        found = [
            (file, rank, name)
            for said, key, name in wanted.spelled
            for file in self._files.get(key, ())
            if (rank := _agreement(wanted, said, file)) is not None
        ]
        if len(found) == 1:
            return [found[0][0].path]
        exact = [one for one in found if one[0].name in (one[2], wanted.file_name)]
        found = exact or found
        best = max((rank for _, rank, _ in found), default=None)
        return [file.path for file, rank, _ in found if rank == best]

    def describe_nearest(self, wanted: ImageName) -> tuple[str, str | None]:
        """Say what is there instead of a missing image, and what helps.

        Returns:
            A part of a sentence, and a hint; None where only other directories can help.
        """
        key = wanted.spelled[0][1]
        if key in self._files:
            file = self._files[key][0]
            return (
                f"the file {file.path} lies in another directory",
                "correct the directory in file_name, or, if it is that image, give "
                f"--images {shlex.quote(file.directory)}",
            )
        stem = key.rpartition(".")[0] or key
        at = bisect_left(self._keys, f"{stem}.")
        if at < len(self._keys) and self._keys[at].startswith(f"{stem}."):
            path = self._files[self._keys[at]][0].path
            return (
                f"there is {path}",
                "correct file_name in the annotation file, or rename the file",
            )
        near = self._keys[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
        if close := difflib.get_close_matches(key, near, n=1):
            path = self._files[close[0]][0].path
            return f"the nearest name is {path}", None
        if self._keys:
            path = self._files[self._keys[0]][0].path
            return f"no name there is like it, for instance {path}", None
        return "no file is there", None

    def _add(self, root: Path) -> None:
        part = part_of(root.absolute().name)
        level: list[tuple[str, tuple[str, ...]]] = [(str(root), ())]
        seen: set[tuple[int, int]] = set()
        for _ in range(LEVELS + 1):
            below: list[tuple[str, tuple[str, ...]]] = []
            for directory, spelled in level:
                if self._directories >= _MOST_DIRECTORIES or self.count >= _MOST_FILES:
                    self.whole = False
                    return
                self._directories += 1
                names, folders = _list(directory, seen)
                for name in names:
                    *within, key = spell(name) or [""]
                    file = _File(directory, name, (*spelled, *within), part)
                    self._files.setdefault(key, []).append(file)
                self.count += len(names)
                below += [
                    (os.path.join(directory, one), (*spelled, *spell(one))) for one in folders
                ]
            level = below


def _list(directory: str, seen: set[tuple[int, int]]) -> tuple[list[str], list[str]]:
    """Names of the files and of the directories in a directory; none if it cannot be listed."""
    names, folders = [], []
    try:
        found = os.stat(directory)
        if (found.st_dev, found.st_ino) in seen:  # a link that leads round in a circle
            return [], []
        seen.add((found.st_dev, found.st_ino))
        with os.scandir(directory) as entries:
            for entry in entries:
                # A link is followed only if its name is that of a directory: each costs a look.
                linked = entry.is_symlink()
                if entry.is_dir(follow_symlinks=False) or (
                    linked and "." not in entry.name and entry.is_dir()
                ):
                    folders.append(entry.name)
                else:
                    names.append(entry.name)
    except (OSError, ValueError):
        return [], []
    return sorted(names), sorted(one for one in folders if not one.startswith("."))


def _agreement(wanted: ImageName, said: Sequence[str], file: _File) -> tuple[int, bool] | None:
    """Rank how well a file's directories are those that an image is said to lie in.

    An image of `seq01` is not one of `seq02`, though both are called 0001.jpg: either all
    directories that are said are there, in this order, or the other way round.
    """
    holder = not _HOLDERS.isdisjoint(file.below)
    if wanted.is_unique:
        return 0, holder
    ours = [part_of(one) or one for one in said if one not in _HOLDERS]
    theirs = [part_of(one) or one for one in file.below if one not in _HOLDERS]
    if wanted.contradicts(file.part) or not (_holds(theirs, ours) or _holds(ours, theirs)):
        return None
    return len(set(said) & set(file.below)), holder


def _holds(long: Sequence[str], short: Sequence[str]) -> bool:
    """Tell whether everything short has is in long, in the same order."""
    rest = iter(long)
    return all(one in rest for one in short)
