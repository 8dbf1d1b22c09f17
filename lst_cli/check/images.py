"""Whether the images of an annotation file are there and as large as stated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import EXAMPLES, Problem, Severity, count_of
from lst_cli.annotations.read import Dataset, Images
from lst_cli.errors import LstError
from lst_cli.images.decode import (
    FIND_ALL,
    ImageFinder,
    ImageSizeError,
    check_image_size,
    read_image,
)
from lst_cli.progress import Progress, silent

_Found = Callable[[], LstError]  # put into words only if it is shown: that looks through all names

_CHUNK = 512  # images handed to the threads at once; between chunks progress is told
_WHAT = {
    "missing-image": "not found",
    "unreadable-image": "unreadable",
    "image-size": "of another size than stated",
}


def check_images(
    dataset: Dataset,
    finder: ImageFinder,
    *,
    progress: Progress = silent,
    workers: int = 4,
    decode: bool = False,
    rows: npt.NDArray[np.int64] | Sequence[int] | None = None,
) -> list[Problem]:
    """Look at the image files of a dataset.

    Args:
        dataset: The annotation file.
        finder: Where to look for images.
        progress: Called with images done and images to do.
        workers: Threads; waiting for a disk is most of the work.
        decode: Whether to decode every image, which also finds files that are
            cut short, instead of reading its header.
        rows: Rows of `dataset.images` to look at; all by default.

    Returns:
        Errors of the kinds "missing-image", "unreadable-image" and
        "image-size", each with its count; empty if there are none.
    """
    wanted = range(len(dataset.images)) if rows is None else [int(row) for row in rows]
    found: dict[tuple[str, str | None], list[_Found]] = {}
    done = 0

    def look(row: int) -> tuple[str, _Found] | None:
        return _look(dataset, finder, row, decode)

    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for chunk in _chunks(wanted):
            for result in pool.map(look, chunk):
                if result is not None:
                    kind, error = result
                    # A web page is downloaded, a HEIC photo converted: two problems.
                    hint = error().hint if kind == "unreadable-image" else None
                    found.setdefault((kind, hint), []).append(error)
            done += len(chunk)
            progress("images", done, len(wanted))
    return [
        _problem("error", kind, f"{count_of(len(errors), 'image', 'images')} {what}", errors)
        for kind, what in _WHAT.items()
        for key, errors in found.items()
        if key[0] == kind
    ]


def find_missing(images: Images, finder_of: Callable[[int], ImageFinder]) -> Problem | None:
    """Look for all images by name alone, which takes a second or two.

    Args:
        images: The image table.
        finder_of: Where to look for the image of a row.

    Returns:
        A warning with their number and examples; None if all are there.
    """
    missing = [
        row
        for row, names in enumerate(zip(images.file_names, images.coco_urls, strict=True))
        if not finder_of(row).is_listed(*names)
    ]
    if not missing:
        return None
    count = f"{len(missing):,} of {count_of(len(images), 'image', 'images')} not found"
    found = [_explained(images, finder_of(row), row) for row in missing]
    return _problem("warning", "missing-image", count, found)


def _problem(severity: Severity, kind: str, message: str, found: Sequence[_Found]) -> Problem:
    errors = [error() for error in found[:EXAMPLES]]
    texts = tuple(error.message for error in errors)
    return Problem(severity, kind, message, len(found), texts, errors[0].hint)


def _explained(images: Images, finder: ImageFinder, row: int) -> _Found:
    names = images.file_names[row], images.coco_urls[row]
    return lambda: finder.explain(*names, image_id=int(images.ids[row]))


def _chunks(rows: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(rows)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _look(
    dataset: Dataset, finder: ImageFinder, row: int, decode: bool
) -> tuple[str, _Found] | None:
    images = dataset.images
    try:
        path = finder.look_up(
            images.file_names[row], images.coco_urls[row], image_id=int(images.ids[row])
        )
    except LstError as error:
        return "missing-image", _known(error)
    if path is None:
        return "missing-image", _explained(images, finder, row)
    height, width = int(images.heights[row]), int(images.widths[row])
    try:
        if decode:
            read_image(path, height, width)
        else:
            check_image_size(path, height, width)
    except ImageSizeError as error:
        return "image-size", _known(error)
    except LstError as error:
        hint = error.hint and error.hint.removesuffix(FIND_ALL if decode else "")
        return "unreadable-image", _known(LstError(error.message, hint))
    return None


def _known(error: LstError) -> _Found:
    return lambda: error
