"""Where the images of an annotation file lie on this machine.

An annotation file names an image by `file_name`, by `coco_url` or by both, and
neither says how the user stored it: LVIS v1 gives only a URL, LVIS v0.5 names
images as COCO did in 2014, and LVIS's validation images lie in COCO's train2017.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from lst_cli.errors import LstError

SUBDIRECTORIES = (
    "train2017", "val2017", "test2017", "train2014", "val2014", "test2014",
    "images", "train", "val", "test",
)  # fmt: skip
"""Directories below a given one in which a bare name is looked for."""

_COCO_2014 = re.compile(r"COCO_(?:train|val|test)\d{4}_(\d{12}\.\w+)")
_COCO_NAME = re.compile(r"(?:COCO_\w+_)?\d{12}\.\w+")
_PART = re.compile(r"(?:train|val|valid|validation|test)\d*", re.IGNORECASE)


def find_image(images_dirs: Sequence[Path], file_name: str, coco_url: str) -> Path:
    """Find one image; for many, keep an `ImageFinder`.

    Raises:
        LstError: If it is not there.
    """
    return ImageFinder(images_dirs).find(file_name, coco_url)


class ImageFinder:
    """Finds images by name in whichever way the user's directories are laid out.

    The first of these that exists is the image:

    1. ``DIR/file_name`` if file_name has a directory, ``DIR/<last two parts of
       coco_url>``, and the same with DIR already ending in that directory;
    2. ``DIR/<name>`` for the bare names: file_name's, coco_url's, and COCO 2014's
       name without its prefix;
    3. ``DIR/<train2017, val2017, ..., images, train, val, test>/<name>``.

    The order is fixed, so an image's place does not depend on which were
    looked for before. Directories are listed once instead of asking for each
    file. A bare name can be that of another image, unless it is COCO's
    twelve digits: an image said to lie in ``val`` is not taken from a directory
    called ``train``, and two different files of one name are refused.

    Args:
        dirs: Directories to look in, in order.
    """

    def __init__(self, dirs: Sequence[Path | str]) -> None:
        self.dirs = tuple(Path(directory) for directory in dirs)
        self._listings: dict[Path, frozenset[str]] = {}

    def find(self, file_name: str, coco_url: str, *, image_id: int | None = None) -> Path:
        """Return the path of an image.

        Args:
            file_name: As in the annotation file, or empty.
            coco_url: As in the annotation file, or empty.
            image_id: Named in the error.

        Raises:
            LstError: If no such file exists, or several that differ.
        """
        who = "an image" if image_id is None else f"image {image_id}"
        full, bare = _names(file_name, coco_url)
        if not full and not bare:
            raise LstError(
                f"{who} has neither file_name nor coco_url",
                "add file_name to the images of the annotation file",
            )
        for group in self._candidates(full, bare):
            found = [path for path in group if self._is_listed(path)]
            if found:
                return self._only(found, who)
        # Not listed; it may have come since the directory was listed.
        for group in self._candidates(full, bare):
            found = [path for path in group if path.is_file()]
            if found:
                self._listings.clear()
                return self._only(found, who)
        names = " or ".join(dict.fromkeys(str(name) for name in (*full, *bare)))
        places = ", ".join(str(directory) for directory in self.dirs) or "no directory at all"
        raise LstError(
            f"{who} not found: looked for {names} in {places}",
            "give the directory that holds the images with --images DIR",
        )

    def _candidates(self, full: list[PurePosixPath], bare: list[str]) -> Iterator[list[Path]]:
        """Yield groups of equally good places, the best group first."""
        for name in full:
            if name.is_absolute():
                yield [Path(name)]
                continue
            yield [directory / name for directory in self.dirs]
            parents = name.parent.parts
            yield [
                directory / name.name
                for directory in self.dirs
                if directory.absolute().parts[-len(parents) :] == parents
            ]
        said = [name.parent.name for name in full]
        for base in bare:
            yield [
                directory / base
                for directory in self.dirs
                if not _contradicts(directory.absolute().name, said, base)
            ]
        for base in bare:
            yield [
                directory / below / base
                for directory in self.dirs
                for below in SUBDIRECTORIES
                if not _contradicts(below, said, base)
            ]

    def _is_listed(self, path: Path) -> bool:
        names = self._listings.get(path.parent)
        if names is None:
            try:
                with os.scandir(path.parent) as entries:
                    names = frozenset(entry.name for entry in entries)
            except OSError:
                names = frozenset()
            self._listings[path.parent] = names
        return path.name in names

    def _only(self, found: list[Path], who: str) -> Path:
        first = found[0]
        if len(found) == 1 or _COCO_NAME.fullmatch(first.name):
            return first
        for other in found[1:]:
            if not _same(first, other):
                raise LstError(
                    f"{who} could be {first} or {other}, which differ",
                    "give a file_name with its directory (train/0001.jpg), "
                    "or the directory above both with --images DIR",
                )
        return first


def _same(first: Path, other: Path) -> bool:
    try:
        return first.samefile(other) or filecmp.cmp(first, other, shallow=False)
    except OSError:  # a broken link, say; then nobody knows
        return False


def _names(file_name: str, coco_url: str) -> tuple[list[PurePosixPath], list[str]]:
    """Return the names with a directory, and the names without."""
    full: list[PurePosixPath] = []
    bare: list[str] = []
    named = PurePosixPath(file_name.replace("\\", "/")) if file_name else None
    url = PurePosixPath(unquote(urlsplit(coco_url).path)) if coco_url else None
    if named is not None and len(named.parts) > 1:
        full.append(named)
    if url is not None:
        tail = PurePosixPath(*[part for part in url.parts if part != "/"][-2:])
        if len(tail.parts) == 2:
            full.append(tail)
    for path in (named, url):
        if path is None or not path.name:
            continue
        bare.append(path.name)
        modern = _COCO_2014.fullmatch(path.name)
        if modern is not None:
            bare.append(modern.group(1))
    return list(dict.fromkeys(full)), list(dict.fromkeys(bare))


def _contradicts(directory: str, said: list[str], name: str) -> bool:
    """Tell whether a directory's name says that it holds another part of the set."""
    if _COCO_NAME.fullmatch(name) or not _PART.fullmatch(directory):
        return False
    parts = [part for part in said if _PART.fullmatch(part)]
    return bool(parts) and directory not in parts
