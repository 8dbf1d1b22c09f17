"""Images that two annotation files share, or that one lists twice."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from lst_cli.annotations.problems import Problem, count_of, examples
from lst_cli.annotations.read import Dataset, Images
from lst_cli.errors import LstError
from lst_cli.files import open_regular, read_regular
from lst_cli.images.decode import ImageFinder

_COCO = re.compile(r"(?:COCO_\w+_|.*cocodataset\.org/.*)(\d{12})\.\w+")
_TAIL = 4096  # bytes; the ends of two photos differ, their heads often do not
_File = tuple[Path, int, tuple[int, int]]  # path, row, height and width
_Group = tuple[list[_File], list[_File]]  # of the training file, of the validation file
_HINT = "remove them from one of the files; lst hold-out cuts a part that shares no image"


def check_shared_images(
    train: Dataset, val: Dataset, finder: ImageFinder | None = None, *, content: bool = False
) -> list[Problem]:
    """Find images that are both trained on and evaluated on.

    Args:
        train: The training file.
        val: The validation file.
        finder: Where the images lie. With it, a name without a directory stands for an image only
            where both files find the same one by it.
        content: Whether to compare image files, too; only those of equal length are read.

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
        equal = _same_content(train.images, val.images, finder)
        ways["by content"] = len(equal.keys() - shared.keys())
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
                for row, other in shared.items()
            ),
            _HINT,
        )
    ]


def check_listed_twice(dataset: Dataset) -> list[Problem]:
    """Find images that a file lists more than once, under several ids."""
    images, twice = dataset.images, images_listed_twice(dataset.images)
    if not twice:
        return []
    return [
        Problem(
            "warning",
            "image-listed-twice",
            f"{count_of(len(twice), 'image is', 'images are')} listed again under another id: the "
            "objects of one entry are missing in the other and count as background there",
            len(twice),
            examples(
                f"image {images.ids[row]} is image {images.ids[first]}: {_name(images, row)}"
                for row, first in twice.items()
            ),
            "give the annotations of both the id of the first, and remove the second",
        )
    ]


def images_listed_twice(images: Images) -> dict[int, int]:
    """Rows that show an image of an earlier row, and that row."""
    found: dict[int, int] = {}
    first: dict[tuple[str, str], int] = {}
    for row in range(len(images)):
        for key in _keys(images, row):
            other = first.setdefault(key, row)
            if other != row and _may_be_same(images, other, images, row, key):
                found.setdefault(row, found.get(other, other))
    return found


def _same_names(train: Images, val: Images, finder: ImageFinder | None) -> dict[int, int]:
    """Rows of validation images that are training images, and rows of those."""
    rows = {key: row for row in reversed(range(len(train))) for key in _keys(train, row)}
    found: dict[int, int] = {}
    for row in range(len(val)):
        for key in _keys(val, row):
            other = rows.get(key)
            if other is None or not _may_be_same(train, other, val, row, key):
                continue
            if finder is not None and key[0] == "name" and "/" not in key[1]:
                place = _find(finder, val, row)
                if place is None or place != _find(finder, train, other):
                    continue
            found.setdefault(row, other)
    return found


def _names(images: Images, row: int) -> tuple[str, str]:
    """File name and URL as far as they tell images apart."""
    name = images.file_names[row].replace("\\", "/").removeprefix("./")
    return name, unquote(images.coco_urls[row]).split("://")[-1]


def _keys(images: Images, row: int) -> Iterator[tuple[str, str]]:
    name, url = _names(images, row)
    if name:
        yield "name", name
    if url:
        yield "url", url
    for text in (url, name):
        if coco := _COCO.fullmatch(text):
            yield "coco", coco.group(1)


def _may_be_same(
    first: Images, row: int, other: Images, other_row: int, key: tuple[str, str]
) -> bool:
    """Whether nothing else tells two images of one name, URL or COCO number apart."""
    if key[0] == "coco":
        return True
    pairs = zip(_names(first, row), _names(other, other_row), strict=True)
    return all(mine == theirs or not mine or not theirs for mine, theirs in pairs)


def _same_content(train: Images, val: Images, finder: ImageFinder) -> dict[int, int]:
    """As `_same_names`, by the bytes of the files."""
    groups: Iterable[_Group] = [(list(_files(finder, train)), list(_files(finder, val)))]
    for key in (_size, _tail, _digest):
        groups = _refine(groups, key)
    pairs = {theirs[1]: ours[0][1] for ours, mine in groups for theirs in mine}
    return dict(sorted(pairs.items()))


def _files(finder: ImageFinder, images: Images) -> Iterator[_File]:
    for row in range(len(images)):
        path = _find(finder, images, row)
        if path is not None:
            yield path, row, (int(images.heights[row]), int(images.widths[row]))


def _refine(groups: Iterable[_Group], key: Callable[[_File], object]) -> Iterator[_Group]:
    """Part files that differ; only those stay that have one like them in the other file."""
    for group in groups:
        finer: dict[object, _Group] = defaultdict(lambda: ([], []))
        for part in (0, 1):
            for file in group[part]:
                with suppress(OSError):  # which check_images tells
                    finer[key(file)][part].append(file)
        yield from (found for found in finer.values() if all(found))


def _size(file: _File) -> object:
    return file[0].stat().st_size, file[2]


def _tail(file: _File) -> object:
    with open_regular(file[0]) as opened:
        length = opened.seek(0, os.SEEK_END)
        opened.seek(max(length - _TAIL, 0))
        return opened.read()


def _digest(file: _File) -> object:
    return hashlib.sha256(read_regular(file[0])).digest()


def _find(finder: ImageFinder, images: Images, row: int) -> Path | None:
    try:
        return finder.look_up(images.file_names[row], images.coco_urls[row])
    except LstError:  # which check_images tells
        return None


def _name(images: Images, row: int) -> str:
    return images.file_names[row] or images.coco_urls[row]
