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

_NAME_SOME = "name image files, or directories that hold them"


@dataclass(frozen=True)
class LooseImage:
    """An image file."""

    path: Path  # as far as the user said it
    name: Path  # below the directory that the user named, or the file name


def list_images(places: Sequence[Path], *, without: Path | None = None) -> list[LooseImage]:
    """List the image files among files and directories, in the order in which they were named.

    Directories are searched with everything below them, except what is hidden and the directory
    `without`; names with numbers in them are ordered by the numbers. No file is listed twice. An
    `LstError` if a place is not there or cannot be read, or a directory holds no image.
    """
    found: dict[Path, LooseImage] = {}
    for place in places:
        for image in _images_at(place, without):
            # A link is an image of its own; a directory reached in two ways is one directory.
            found.setdefault(image.path.parent.resolve() / image.path.name, image)
    if not found:
        raise LstError("no image was named", _NAME_SOME)
    return list(found.values())


def measure_images(
    files: Sequence[LooseImage],
    skip: Callable[[Path, LstError], None],
    *,
    progress: Progress = silent,
) -> tuple[list[LooseImage], Images]:
    """Read the sizes of images from their headers; `skip` those that cannot be read.

    Gives the images that can be used, and a table of them; an image's id is its row.
    """
    usable: list[LooseImage] = []
    sizes: list[tuple[int, int]] = []
    for done, file in enumerate(files, start=1):
        try:
            sizes.append(upright_size(file.path))
            usable.append(file)
        except LstError as error:
            skip(file.path, error)
        progress("headers", done, len(files))
    heights, widths = np.array(sizes, dtype=np.int32).reshape(-1, 2).T
    count = len(usable)
    return usable, Images(
        ids=np.arange(count, dtype=np.int64),
        heights=heights,
        widths=widths,
        file_names=[str(file.path) for file in usable],
        coco_urls=[""] * count,
        neg_category_ids=[()] * count,
        not_exhaustive_category_ids=[()] * count,
    )


def _images_at(place: Path, without: Path | None) -> list[LooseImage]:
    try:
        is_directory = stat.S_ISDIR(place.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = _NAME_SOME
        if set("*?[") & set(str(place)):
            hint = "without quotes the shell replaces it by the names of the files"
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
        files = [here / name for name in names if not name.startswith(".")]
        read = [file for file in files if is_picture_name(file.name)]
        # Cameras may write a JPEG beside a raw photo; one without is named as not read.
        stems = {file.stem for file in read}
        raw = (file for file in files if is_picture_name(file.name, read=False))
        found += read + [file for file in raw if file.stem not in stems]
    return found


def _unreadable(error: OSError) -> LstError:
    return LstError(f"{error.filename}: cannot be read: {error.strerror}", "make it readable")


def _natural(name: Path) -> list[tuple[float, str]]:
    parts = re.split(r"(\d+)", str(name))
    # Numbers come before letters.
    return [(int(part), "") if part.isdecimal() else (math.inf, part) for part in parts if part]
