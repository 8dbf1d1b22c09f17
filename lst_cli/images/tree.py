"""All files some levels below the given directories: for images that lie in no usual place."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from lst_cli.files import kernel_devices
from lst_cli.images.kinds import is_picture_name
from lst_cli.images.names import ImageName, part_of, spell, spell_loosely

_NEAR = 3  # levels below a given directory whose images go before those that lie deeper
_LEVELS = 10
_MOST_DIRECTORIES = 2_000
_MOST_FILES = 1_000_000
_NEIGHBOURS = 2_000  # names to each side, in the order of letters, that a wrong one is compared to
_RENAME = "correct file_name in the annotation file, or rename the file"
_NUMBER = re.compile(r"\d+")
# Names of directories that say nothing about which images lie in them.
_HOLDERS = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "data"))


class _Folder(NamedTuple):
    root: int  # place of the given directory among those
    path: str
    below: tuple[str, ...]  # its directories below the given one, spelled alike


class _File(NamedTuple):
    root: int
    directory: str
    name: str
    below: tuple[str, ...]

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)


class ImageTree:
    """Finds files by name below directories, however they are nested and their names are spelled.

    Hidden directories are skipped. The order is fixed, so that the same files give the same answer.
    """

    def __init__(self, dirs: Sequence[Path]) -> None:
        self.count = 0  # of files
        self.unseen = ""  # the first directory that was not looked through; there are limits
        self._parts = [part_of(root.absolute().name) for root in dirs]
        self._files: dict[str, list[_File]] = {}
        self._seen: set[tuple[int, int, int]] = set()  # root, and device and inode of a directory
        level = [_Folder(number, str(root), ()) for number, root in enumerate(dirs)]
        for _ in range(_LEVELS + 1):
            level = [below for folder in level for below in self._add(folder)]
        if level and not self.unseen:
            self.unseen = level[0].path

    def _add(self, folder: _Folder) -> Iterator[_Folder]:
        """Take in the files of a directory, if it can be listed; yields the directories in it."""
        root, path, below = folder
        if len(self._seen) >= _MOST_DIRECTORIES or self.count >= _MOST_FILES:
            self.unseen = self.unseen or path
            return
        try:
            found = os.stat(path)
            # A link that leads round in a circle, or what the kernel makes up.
            place = (root, found.st_dev, found.st_ino)
            if place in self._seen or found.st_dev in kernel_devices():
                return
            self._seen.add(place)
            with os.scandir(path) as entries:
                # A link is followed only if its name is that of a directory: each is a look.
                listed = sorted(
                    (one.name, one.is_dir(follow_symlinks=one.is_symlink() and "." not in one.name))
                    for one in entries
                )
        except (OSError, ValueError):
            return
        for name, is_folder in listed:
            spelled = spell(name)
            if not is_folder:
                self.count += 1
                *within, key = spelled or [""]
                file = _File(root, path, name, (*below, *within))
                self._files.setdefault(key, []).append(file)
            elif not name.startswith("."):
                yield _Folder(root, os.path.join(path, name), (*below, *spelled))

    def find(self, wanted: ImageName) -> list[str]:
        """The files that can be an image, equally good ones; a name to the letter is better."""
        ranked: dict[tuple[bool, bool, int, bool], list[_File]] = {}
        for said, key, name in wanted.spelled:
            for file in self._files.get(key, ()):
                rank = self._agreement(wanted, said, name, file)
                if rank is not None:
                    ranked.setdefault(rank, []).append(file)
        best = ranked[max(ranked)] if ranked else []
        return [file.path for file in sorted(best, key=attrgetter("root"))]

    def _agreement(
        self, wanted: ImageName, said: Sequence[str], name: str, file: _File
    ) -> tuple[bool, bool, int, bool] | None:
        """Rank how well a file's directories are those that the annotation file names.

        An image of `seq01` is not one of `seq02`, though both are called 0001.jpg: one of the two
        must have all directories of the other, in the same order.
        """
        exact, near = file.name in (name, wanted.file_name), len(file.below) <= _NEAR
        holder = not _HOLDERS.isdisjoint(file.below)
        if wanted.is_unique:
            return exact, near, 0, holder
        ours = [part_of(one) or one for one in said if one not in _HOLDERS]
        theirs = [part_of(one) or one for one in file.below if one not in _HOLDERS]
        if wanted.contradicts(self._parts[file.root]) or not (
            _holds(theirs, ours) or _holds(ours, theirs)
        ):
            return None
        return exact, near, len(set(said) & set(file.below)), holder

    def describe_nearest(self, wanted: ImageName) -> tuple[str, str | None]:
        """Say what is there instead of a missing image; the hint, None if no file is alike."""
        key = wanted.spelled[0][1]
        if key in self._files:
            file = self._files[key][0]
            return (
                f"the file {file.path} lies in another directory",
                "correct the directory in file_name, or, if it is that image, give "
                f"--images {shlex.quote(file.directory)}",
            )
        loose = spell_loosely(key)
        for file in self._pictures.get(loose, ()):
            return f"there is {file.path}", _RENAME
        names = list(self._pictures)
        at = bisect_left(names, loose)
        names = [
            name
            for name in names[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
            if _NUMBER.findall(name) == _NUMBER.findall(loose)  # 17 is not 18
        ]
        for name in difflib.get_close_matches(loose, names, n=1):
            return f"the nearest name is {self._pictures[name][0].path}", _RENAME
        for files in self._pictures.values():
            return f"no file there has a similar name; there is for instance {files[0].path}", None
        return "no picture is there", None

    @cached_property
    def _pictures(self) -> dict[str, list[_File]]:
        """The files that may be proposed, by their names as `spell_loosely` writes them."""
        found: dict[str, list[_File]] = {}
        for key, files in self._files.items():
            if is_picture_name(key, read=False) and not key.startswith("._"):
                found.setdefault(spell_loosely(key), []).extend(files)
        found.pop("", None)  # without a letter or a number
        return dict(sorted(found.items()))


def _holds(long: Sequence[str], short: Sequence[str]) -> bool:
    """Tell whether everything short has is in long, in the same order."""
    rest = iter(long)
    return all(one in rest for one in short)
