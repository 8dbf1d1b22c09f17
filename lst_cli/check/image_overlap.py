"""Images that two annotation files share, or that one lists twice."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from lst_cli.annotations.problems import Problem, count_of, examples
from lst_cli.annotations.read import Dataset, Images
from lst_cli.errors import LstError
from lst_cli.files import open_regular, read_regular
from lst_cli.images.decode import ImageFinder
from lst_cli.images.kinds import is_picture_name
from lst_cli.images.names import ImageName

_COCO = re.compile(r"(?:COCO_\w+_|.*cocodataset\.org/.*)(\d{12})\.\w+")
_QUERY = re.compile("[?#]")
_TAIL = 4096  # bytes; the ends of two photos differ, their heads often do not
_HINT = "remove them from one of the files; lst hold-out cuts a part that shares no image"
_KEEP_ONE = "give the annotations of both the id of the first, and remove the second"

_Key = tuple[Literal["coco", "address", "page", "name"], str]


class _File(NamedTuple):
    part: int  # 0 is the first annotation file
    row: int
    path: Path
    size: tuple[int, int]  # as stated, the shorter side first: a viewer may turn it


def check_shared_images(
    train: Dataset, val: Dataset, finder: ImageFinder | None = None, *, content: bool = False
) -> list[Problem]:
    """Find images that are both trained on and evaluated on.

    Args:
        train: The training file.
        val: The validation file.
        finder: Where the images lie. With it, a name stands for an image only where both files
            find the same one by it.
        content: Whether to compare image files byte for byte, too; only those of equal length
            are read.

    Returns:
        At most one warning.
    """
    if train.sha256 == val.sha256:
        return [
            Problem(
                "warning",
                "train-is-val",
                "training and validation file are the same: AP tells how well images are "
                "remembered, not how well new ones are understood",
                len(val.images),
                hint="lst hold-out cuts a training file in two",
            )
        ]
    shared = _same_names(train.images, val.images, finder)
    ways = {"by name": len(shared)}
    if content and finder is not None:
        equal = {
            file.row: files[0].row
            for files in _same_bytes((train.images, val.images), finder)
            for file in files
            if file.part > files[0].part
        }
        ways["byte for byte"] = len(equal.keys() - shared.keys())
        shared = equal | shared
    if not shared:
        return []
    share = len(shared) / len(val.images)
    images = count_of(len(val.images), "validation image", "validation images")
    how = ", ".join(f"{count:,} {way}" for way, count in ways.items() if count)
    return [
        Problem(
            "warning",
            "shared-images",
            f"{len(shared):,} of {images} ({share:.1%}) "
            f"{'is a training image' if len(shared) == 1 else 'are training images'} too ({how}): "
            "AP on them is too high",
            len(shared),
            examples(
                f"image {val.images.ids[row]} ({_name(val.images, row)}) is image "
                f"{train.images.ids[other]} ({_name(train.images, other)}) of {train.path.name}"
                for row, other in sorted(shared.items())
            ),
            _HINT,
        )
    ]


def check_listed_twice(dataset: Dataset, finder: ImageFinder | None = None) -> list[Problem]:
    """Find images that a file lists more than once, under several ids.

    Args:
        dataset: The annotation file.
        finder: Where the images lie. With it, those that are found by their bytes alone;
            without, those that are found by their names.
    """
    images = dataset.images
    twice, how = images_listed_twice(images), "under another id"
    if finder is not None:
        twice, how = (
            {
                file.row: files[0].row
                for files in _same_bytes((images,), finder)
                for file in files[1:]
                if file.row not in twice
            },
            "under another name, byte for byte",
        )
    if not twice:
        return []
    return [
        Problem(
            "warning",
            "image-listed-twice",
            f"{count_of(len(twice), 'image is', 'images are')} listed again {how}: the "
            "objects of one entry are missing in the other and count as background there",
            len(twice),
            examples(
                f"image {images.ids[row]} ({_name(images, row)}) is image {images.ids[first]} "
                f"({_name(images, first)})"
                for row, first in sorted(twice.items())
            ),
            _KEEP_ONE,
        )
    ]


def images_listed_twice(images: Images) -> dict[int, int]:
    """Rows that show an image of an earlier row by their names, and that row."""
    return _same_names(images, images, None)


def _same_names(ours: Images, theirs: Images, finder: ImageFinder | None) -> dict[int, int]:
    """Rows of their images that are among ours, and rows of those; earlier ones, within one."""
    first: dict[_Key, int] = {}
    found: dict[int, int] = {}
    our_keys = [list(_keys(ours, row)) for row in range(len(ours))]
    their_keys = our_keys
    if theirs is not ours:
        their_keys = [list(_keys(theirs, row)) for row in range(len(theirs))]
    often = Counter(key for keys in (*our_keys, *their_keys) for key in keys)
    for row, keys in enumerate(our_keys):
        for key in keys:
            first.setdefault(key, row)
    for row, keys in enumerate(their_keys):
        for key in keys:
            other = first.get(key)
            if other is None or (ours is theirs and other == row):
                continue
            if (key[0] == "page" and often[key] > 2) or (  # the page of a data set, say
                key[0] == "name"
                and not _may_be_one(_words(ours, other), _words(theirs, row), finder)
            ):
                continue
            found.setdefault(row, found.get(other, other) if ours is theirs else other)
    return found


def _keys(images: Images, row: int) -> Iterator[_Key]:
    """What tells an image from others: COCO's number and an address do, a name may not."""
    words = _words(images, row)
    named = next(filter(None, words), "")
    for text in filter(None, words):
        scheme, _, address = text.replace("\\", "/").rpartition("://")
        path = _QUERY.split(address, maxsplit=1)[0]
        if scheme and is_picture_name(path):
            address = path  # what follows does not choose the picture
        place = posixpath.normpath(unquote(address) if scheme else address)
        if coco := _COCO.fullmatch(place):
            yield "coco", coco[1]
        elif scheme and "/" in place and (is_picture_name(place) or "?" in place):
            yield "address", place
        elif scheme and "/" in place and not address.endswith("/"):
            yield "page", place
        if text is named:
            yield "name", place


def _may_be_one(mine: tuple[str, str], other: tuple[str, str], finder: ImageFinder | None) -> bool:
    """Whether one name can stand for one image in two records."""
    if finder is not None:
        try:
            places = finder.look_up(*mine), finder.look_up(*other)
        except LstError:  # several that differ, which check_images tells
            return False
        if any(places):
            return places[0] == places[1]
    parts = ImageName.of(*mine).parts, ImageName.of(*other).parts
    return not all(parts) or not parts[0].isdisjoint(parts[1])


def _same_bytes(lists: Sequence[Images], finder: ImageFinder) -> Iterable[list[_File]]:
    """Groups of image files that are equal byte for byte, in the order of lists and rows."""
    groups: Iterable[list[_File]] = [list(_files(lists, finder))]
    for key in (_size, _tail, _digest):
        groups = _refine(groups, key, len(lists))
    return groups


def _files(lists: Sequence[Images], finder: ImageFinder) -> Iterator[_File]:
    for part, images in enumerate(lists):
        for row in range(len(images)):
            with suppress(LstError):  # which check_images tells
                path = finder.look_up(*_words(images, row))
                if path is not None:
                    sides = sorted((int(images.heights[row]), int(images.widths[row])))
                    yield _File(part, row, path, (sides[0], sides[1]))


def _refine(
    groups: Iterable[list[_File]], key: Callable[[_File], object], lists: int
) -> Iterator[list[_File]]:
    """Part files that differ; only groups stay that have some of every list."""
    for group in groups:
        finer: dict[object, list[_File]] = defaultdict(list)
        for file in group:
            with suppress(OSError):  # which check_images tells
                finer[key(file)].append(file)
        for found in finer.values():
            if len(found) > 1 and len({file.part for file in found}) == lists:
                yield found


def _size(file: _File) -> object:
    return file.path.stat().st_size, file.size


def _tail(file: _File) -> object:
    with open_regular(file.path) as opened:
        length = opened.seek(0, os.SEEK_END)
        opened.seek(max(length - _TAIL, 0))
        return opened.read()


def _digest(file: _File) -> object:
    return hashlib.sha256(read_regular(file.path)).digest()


def _words(images: Images, row: int) -> tuple[str, str]:
    return images.file_names[row], images.coco_urls[row]


def _name(images: Images, row: int) -> str:
    return images.file_names[row] or images.coco_urls[row]
