"""Images that no annotation file names: what lies in files and directories."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lst_cli.annotations.read import Images
from lst_cli.errors import LstError
from lst_cli.files import hint_for_missing
from lst_cli.images.decode import upright_size
from lst_cli.images.kinds import formats, is_picture_name
from lst_cli.progress import Progress, silent


@dataclass(frozen=True)
class LooseImage:
    """An image file.

    Attributes:
        path: Where it lies, as far as the user said it.
        name: Its path below the directory that the user named, or its file name.
    """

    path: Path
    name: Path


@dataclass(frozen=True)
class LooseImages:
    """Images whose headers can be read, N of them.

    Attributes:
        files: Where they lie.
        table: Their upright sizes; an image's id is its row.
    """

    files: tuple[LooseImage, ...]
    table: Images

    def __call__(self, row: int) -> Path:
        """Path of an image; a worker process can be handed it."""
        return self.files[row].path


def list_images(places: Sequence[Path], *, without: Path | None = None) -> list[LooseImage]:
    """List image files, in the order in which they were named.

    Directories are looked through with everything below them, but for what is hidden; names with
    numbers in them stand in the order of the numbers. A file that is met twice is listed once.

    Args:
        places: Files and directories.
        without: A directory to leave out where it lies below another.

    Raises:
        LstError: If a place is not there or cannot be read, or a directory holds no image.
    """
    found: dict[Path, LooseImage] = {}
    for place in places:
        for image in _images_at(place, without):
            found.setdefault(_place_of(image.path), image)
    if not found:
        raise LstError("no image was named", "name image files, or directories that hold them")
    return list(found.values())


def measure_images(
    files: Sequence[LooseImage],
    skip: Callable[[LooseImage, LstError], None],
    *,
    progress: Progress = silent,
) -> LooseImages:
    """Read the sizes of images from their headers.

    Args:
        files: The images.
        skip: Called with an image whose header cannot be read, and why.
        progress: Images looked at, and their number.
    """
    whole: list[LooseImage] = []
    sizes: list[tuple[int, int]] = []
    for done, file in enumerate(files, start=1):
        try:
            sizes.append(upright_size(file.path))
            whole.append(file)
        except LstError as error:
            skip(file, error)
        progress("headers", done, len(files))
    heights_widths = np.array(sizes, dtype=np.int32).reshape(-1, 2)
    count = len(whole)
    table = Images(
        ids=np.arange(count, dtype=np.int64),
        heights=heights_widths[:, 0],
        widths=heights_widths[:, 1],
        file_names=[str(file.path) for file in whole],
        coco_urls=[""] * count,
        neg_category_ids=[()] * count,
        not_exhaustive_category_ids=[()] * count,
    )
    return LooseImages(tuple(whole), table)


def _images_at(place: Path, without: Path | None) -> list[LooseImage]:
    try:
        is_directory = stat.S_ISDIR(place.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "name image files, or directories that hold them"
        if set("*?[") & set(str(place)):
            hint = "without quotes the shell puts the names of the files in its place"
        raise LstError(
            f"{place}: no such file or directory", hint_for_missing(str(place), hint)
        ) from error
    except OSError as error:
        raise _unreadable(error) from error
    if not is_directory:
        return [LooseImage(place, Path(place.name))]
    inside = [LooseImage(path, path.relative_to(place)) for path in _walk(place, without)]
    if not inside:
        raise LstError(
            f"{place}: no images in it",
            f"name a directory that holds some ({', '.join(formats())}), or the files themselves",
        )
    return sorted(inside, key=lambda image: (_natural(image.name), image.name))


def _walk(top: Path, without: Path | None) -> list[Path]:
    left_out = None if without is None else without.resolve()

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from error

    found = []
    for folder, below, names in os.walk(top, onerror=refuse):
        here = Path(folder)
        below[:] = [
            one for one in below if not one.startswith(".") and (here / one).resolve() != left_out
        ]
        seen = [name for name in names if not name.startswith(".")]
        read = [name for name in seen if is_picture_name(name)]
        # Cameras may write a JPEG beside a raw photo; one without is named as not read.
        stems = {Path(name).stem for name in read}
        read += [
            name
            for name in seen
            if is_picture_name(name, read=False) and Path(name).stem not in stems
        ]
        found += [here / name for name in read]
    return found


def _unreadable(error: OSError) -> LstError:
    return LstError(f"{error.filename}: cannot be read: {error.strerror}", "make it readable")


def _place_of(path: Path) -> Path:
    # A link is an image of its own; a directory reached in two ways is one directory.
    return path.parent.resolve() / path.name


def _natural(name: Path) -> list[tuple[float, str]]:
    parts = re.split(r"(\d+)", str(name))
    # Numbers stand before letters.
    return [(int(part), "") if part.isdecimal() else (math.inf, part) for part in parts if part]
