"""Whether images of annotation files are there, as large as stated, and listed once."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import EXAMPLES, Problem, count_of, problems_of
from lst_cli.annotations.read import Dataset, Images
from lst_cli.errors import LstError
from lst_cli.files import open_regular, read_regular
from lst_cli.images.decode import FIND_ALL, ImageSizeError, check_image_size, load_image
from lst_cli.images.finder import ImageFinder
from lst_cli.images.kinds import is_picture_name
from lst_cli.images.names import ImageName
from lst_cli.progress import Progress, silent

_THREADS = 4  # waiting for a disk is most of the work
_CHUNK = 512  # images handed to the threads at once, between two calls of progress
_WHAT = {
    "missing-image": "not found",
    "unreadable-image": "unreadable",
    "image-size": "of another size than stated",
}
_COCO = re.compile(r"(?:COCO_\w+_|.*cocodataset\.org/.*)(\d{12})\.\w+")
_QUERY = re.compile("[?#]")
_TAIL = 4096  # bytes; the ends of two photos differ, their heads often do not

_Names = tuple[str, str]  # file_name and coco_url
_Key = tuple[str, str]  # "coco", "address", "page" or "name", and what it is


def check_images(
    dataset: Dataset,
    finder: ImageFinder,
    *,
    progress: Progress = silent,
    decode: bool = False,
    rows: npt.NDArray[np.int64] | Sequence[int] | None = None,
) -> list[Problem]:
    """Look at the image files of a dataset, or of some rows of its images.

    With `decode` every image is decoded, which also finds files that are cut short; otherwise its
    header is read. Returns errors of the kinds "missing-image", "unreadable-image" and
    "image-size".
    """
    images = dataset.images
    wanted = range(len(images)) if rows is None else [int(row) for row in rows]
    found: dict[tuple[str, str | None], list[tuple[int, LstError | None]]] = {}
    look = partial(_look, images, finder, decode)
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            for row, result in zip(chunk, pool.map(look, chunk), strict=True):
                if result is not None:
                    kind, error = result
                    # A web page is downloaded, a HEIC photo converted: two problems.
                    hint = error.hint if error and kind == "unreadable-image" else None
                    found.setdefault((kind, hint), []).append((row, error))
            progress("checking images", start + len(chunk), len(wanted))

    def error_of(one: tuple[int, LstError | None]) -> LstError:
        row, error = one
        return error or _explain(images, finder, row)

    problems: list[Problem] = []
    for kind, what in _WHAT.items():
        for one in [errors for key, errors in found.items() if key[0] == kind]:
            text, hint = f"image[|s] {what}", error_of(one[0]).hint
            problems += problems_of(one, lambda e: error_of(e).message, "error", kind, text, hint)
    return problems


def find_missing(images: Images, finder_of: Callable[[int], ImageFinder]) -> Problem | None:
    """Look for all images by name alone, which takes a second or two; a warning if some miss."""
    missing = [
        row for row, names in enumerate(images.names) if not finder_of(row).is_listed(*names)
    ]
    errors = [_explain(images, finder_of(row), row) for row in missing[:EXAMPLES]]
    if not errors:
        return None
    message = f"{len(missing):,} of {count_of(len(images), 'image', 'images')} not found"
    texts = tuple(error.message for error in errors)
    return Problem("warning", "missing-image", message, len(missing), texts, errors[0].hint)


def _explain(images: Images, finder: ImageFinder, row: int) -> LstError:
    return finder.explain(*images.names[row], image_id=int(images.ids[row]))


def _look(
    images: Images, finder: ImageFinder, decode: bool, row: int
) -> tuple[str, LstError | None] | None:
    """The kind of error and the error; None for the one that `_explain` makes, which is slow."""
    size = images.stated_size(row)
    try:
        path = finder.look_up(*images.names[row], image_id=int(images.ids[row]), size=size)
    except LstError as error:
        return "missing-image", error
    if path is None:
        return "missing-image", None
    try:
        look = load_image if decode else check_image_size
        look(path, size)
    except ImageSizeError as error:
        return "image-size", error
    except LstError as error:
        hint = error.hint and error.hint.removesuffix(FIND_ALL if decode else "")
        return "unreadable-image", LstError(error.message, hint)
    return None


def check_shared_images(
    train: Dataset,
    val: Dataset,
    finder: ImageFinder | None = None,
    *,
    val_finder: ImageFinder | None = None,
    content: bool = False,
) -> list[Problem]:
    """Find images that are both trained on and evaluated on.

    With a finder, a name stands for one image only where both files find the same image by it;
    the validation file may have another one.
    With `content`, image files are compared byte for byte, too; only those of equal length are
    read.
    """
    if train.sha256 == val.sha256:
        message = (
            "training and validation file are the same: AP measures how well images are "
            "memorised, not how well the model works on new ones"
        )
        hint = "lst hold-out cuts a training file in two"
        return [Problem("warning", "train-is-val", message, len(val.images), hint=hint)]
    ours, theirs = train.images, val.images
    finders = None if finder is None else (finder, val_finder or finder)
    by_name = _same_names(ours, theirs, finders)
    equal = _same_bytes(ours, theirs, finder) if content and finder is not None else {}
    shared = equal | by_name
    ways = {"by name": len(by_name), "byte for byte": len(equal.keys() - by_name.keys())}
    how = ", ".join(f"{count:,} {way}" for way, count in ways.items() if count)
    images = count_of(len(theirs), "validation image", "validation images")
    part = f"of {images} ({len(shared) / max(len(theirs), 1):.1%})"
    text = f"{part} [is a training image|are training images] too ({how}): AP on them is too high"
    hint = "remove them from one of the files; lst hold-out cuts a part that shares no image"

    def name(row: int) -> str:
        return f"{_name(theirs, row)} is {_name(ours, shared[row])} of {train.path.name}"

    return problems_of(sorted(shared), name, "warning", "shared-images", text, hint)


def check_listed_twice(dataset: Dataset, finder: ImageFinder | None = None) -> list[Problem]:
    """Find images that a file lists more than once, under several ids.

    Without a finder of images those that are found by their names; with it, those that are found
    by their bytes alone.
    """
    images = dataset.images
    twice, how = images_listed_twice(images), "under another id"
    if finder is not None:
        how = "under another name, byte for byte"
        equal = _same_bytes(images, images, finder)
        twice = {row: first for row, first in equal.items() if row not in twice}
    lost = "the objects of one entry are missing in the other and count as background there"
    text = f"image[ is|s are] listed again {how}: {lost}"
    hint = "give the annotations of both the id of the first, and remove the second"

    def name(row: int) -> str:
        return f"{_name(images, row)} is {_name(images, twice[row])}"

    return problems_of(sorted(twice), name, "warning", "image-listed-twice", text, hint)


def images_listed_twice(images: Images) -> dict[int, int]:
    """Rows that show an image of an earlier row by their names, and that row."""
    return _same_names(images, images, None)


def _same_names(
    ours: Images, theirs: Images, finders: tuple[ImageFinder, ImageFinder] | None
) -> dict[int, int]:
    """Rows of their images that are among ours, and rows of those; earlier ones, within one."""
    within = ours is theirs
    our_keys = [list(_keys(names)) for names in ours.names]
    their_keys = our_keys if within else [list(_keys(names)) for names in theirs.names]
    often = Counter(chain.from_iterable(our_keys + their_keys))
    first: dict[_Key, int] = {}
    for row, keys in enumerate(our_keys):
        for key in keys:
            first.setdefault(key, row)
    found: dict[int, int] = {}
    for row, keys in enumerate(their_keys):
        for key in keys:
            other = first.get(key)
            if other is None or (within and other == row):
                continue
            if key[0] == "page" and often[key] > 2:  # the page of a data set, say
                continue
            if key[0] != "name" or _may_be_one(ours.names[other], theirs.names[row], finders):
                found.setdefault(row, found.get(other, other) if within else other)
    return found


def _keys(names: _Names) -> Iterator[_Key]:
    """What tells an image from others: COCO's number and an address do, a name may not."""
    given = [text for text in names if text]
    for text in given:
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
        if text is given[0]:
            yield "name", place


def _may_be_one(
    mine: _Names, other: _Names, finders: tuple[ImageFinder, ImageFinder] | None
) -> bool:
    """Whether one name can stand for one image in two records."""
    if finders is not None:
        try:
            places = finders[0].look_up(*mine), finders[1].look_up(*other)
        except LstError:  # several that differ, an error of check_images
            return False
        if any(places):
            return places[0] == places[1]
    parts = ImageName(*mine).parts, ImageName(*other).parts
    return not all(parts) or not parts[0].isdisjoint(parts[1])


class _File(NamedTuple):
    part: int  # 0 of our images, 1 of theirs
    row: int
    path: Path
    size: list[int]  # as stated, the shorter side first: a viewer may turn it


def _same_bytes(ours: Images, theirs: Images, finder: ImageFinder) -> dict[int, int]:
    """What `_same_names` returns, of equal image files."""
    lists = [ours] if ours is theirs else [ours, theirs]
    groups = [[file for part, images in enumerate(lists) for file in _files(part, images, finder)]]
    for key in (_length, _tail, _digest):
        finer: dict[Any, list[_File]] = defaultdict(list)
        for number, group in enumerate(groups):
            for file in group:
                with suppress(OSError):  # an error of check_images
                    finer[number, key(file)].append(file)
        groups = [
            group
            for group in finer.values()
            if len(group) > 1 and len({file.part for file in group}) == len(lists)
        ]
    return {
        file.row: first.row
        for first, *others in groups
        for file in others
        if file.part == len(lists) - 1
    }


def _files(part: int, images: Images, finder: ImageFinder) -> Iterator[_File]:
    sizes = np.sort(images.sizes, axis=1).tolist()
    for row, names in enumerate(images.names):
        with suppress(LstError):  # an error of check_images
            path = finder.look_up(*names)
            if path is not None:
                yield _File(part, row, path, sizes[row])


def _length(file: _File) -> object:
    return file.path.stat().st_size, *file.size


def _tail(file: _File) -> object:
    with open_regular(file.path) as opened:
        length = opened.seek(0, os.SEEK_END)
        opened.seek(max(length - _TAIL, 0))
        return hashlib.sha256(opened.read()).digest()  # of many files at once


def _digest(file: _File) -> object:
    return hashlib.sha256(read_regular(file.path)).digest()


def _name(images: Images, row: int) -> str:
    return f"image {images.ids[row]} ({images.file_names[row] or images.coco_urls[row]})"
