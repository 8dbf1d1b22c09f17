"""Whether the images of an annotation file are there and as large as stated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import EXAMPLES, Problem, count_of, problems_of
from lst_cli.annotations.read import Dataset, Images
from lst_cli.errors import LstError
from lst_cli.images.decode import FIND_ALL, ImageSizeError, check_image_size, read_image
from lst_cli.images.finder import ImageFinder
from lst_cli.progress import Progress, silent

_THREADS = 4  # waiting for a disk is most of the work
_CHUNK = 512  # images handed to the threads at once, between two calls of progress
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
    decode: bool = False,
    rows: npt.NDArray[np.int64] | Sequence[int] | None = None,
) -> list[Problem]:
    """Look at the image files of a dataset, or of some rows of its images.

    With `decode` every image is decoded, which also finds files that are cut short; otherwise
    its header is read.

    Returns:
        Errors of the kinds "missing-image", "unreadable-image" and
        "image-size", each with its count; empty if there are none.
    """
    images = dataset.images
    wanted = range(len(images)) if rows is None else [int(row) for row in rows]
    found: dict[tuple[str, str | None], list[tuple[int, LstError | None]]] = {}

    def look(row: int) -> tuple[str, LstError | None] | None:
        return _look(images, finder, row, decode)

    def error_of(one: tuple[int, LstError | None]) -> LstError:
        row, error = one
        return error or _explain(images, finder, row)

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            for row, result in zip(chunk, pool.map(look, chunk), strict=True):
                if result is not None:
                    kind, error = result
                    # A web page is downloaded, a HEIC photo converted: two problems.
                    hint = error.hint if error and kind == "unreadable-image" else None
                    found.setdefault((kind, hint), []).append((row, error))
            progress("images", start + len(chunk), len(wanted))
    problems: list[Problem] = []
    for kind, what in _WHAT.items():
        for one in [errors for key, errors in found.items() if key[0] == kind]:
            text, hint = f"image[|s] {what}", error_of(one[0]).hint
            problems += problems_of(one, lambda e: error_of(e).message, "error", kind, text, hint)
    return problems


def find_missing(images: Images, finder_of: Callable[[int], ImageFinder]) -> Problem | None:
    """Look for all images by name alone, which takes a second or two.

    Returns:
        A warning with their number and examples; None if all are there.
    """
    names = zip(images.file_names, images.coco_urls, strict=True)
    missing = [row for row, both in enumerate(names) if not finder_of(row).is_listed(*both)]
    errors = [_explain(images, finder_of(row), row) for row in missing[:EXAMPLES]]
    if not errors:
        return None
    message = f"{len(missing):,} of {count_of(len(images), 'image', 'images')} not found"
    texts = tuple(error.message for error in errors)
    return Problem("warning", "missing-image", message, len(missing), texts, errors[0].hint)


def _explain(images: Images, finder: ImageFinder, row: int) -> LstError:
    names = images.file_names[row], images.coco_urls[row]
    return finder.explain(*names, image_id=int(images.ids[row]))


def _look(
    images: Images, finder: ImageFinder, row: int, decode: bool
) -> tuple[str, LstError | None] | None:
    """The kind of error and the error; None for the one that `_explain` makes, which is slow."""
    names = images.file_names[row], images.coco_urls[row]
    try:
        path = finder.look_up(*names, image_id=int(images.ids[row]))
    except LstError as error:
        return "missing-image", error
    if path is None:
        return "missing-image", None
    try:
        look = read_image if decode else check_image_size
        look(path, int(images.heights[row]), int(images.widths[row]))
    except ImageSizeError as error:
        return "image-size", error
    except LstError as error:
        hint = error.hint and error.hint.removesuffix(FIND_ALL if decode else "")
        return "unreadable-image", LstError(error.message, hint)
    return None
