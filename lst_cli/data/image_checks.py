"""Whether the images of an annotation file are there and as large as stated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from lst_cli.data.images import ImageFinder, ImageSizeError, check_image_size, read_image
from lst_cli.data.json_stream import Progress
from lst_cli.data.lvis import Dataset
from lst_cli.data.problems import Problem, count_of, examples
from lst_cli.errors import LstError

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
    progress: Progress | None = None,
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
    messages: dict[tuple[str, str | None], list[str]] = {}
    hints: dict[tuple[str, str | None], str | None] = {}
    done = 0

    def look(row: int) -> tuple[str, LstError] | None:
        return _look(dataset, finder, row, decode)

    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for chunk in _chunks(wanted):
            for result in pool.map(look, chunk):
                if result is not None:
                    kind, error = result
                    # A web page is downloaded, a HEIC photo converted: two problems.
                    key = (kind, error.hint if kind == "unreadable-image" else None)
                    messages.setdefault(key, []).append(error.message)
                    hints.setdefault(key, error.hint)
            done += len(chunk)
            if progress is not None:
                progress(done, len(wanted))
    return [
        Problem(
            "error",
            kind,
            f"{count_of(len(found), 'image', 'images')} {what}",
            len(found),
            examples(found),
            hints[key],
        )
        for kind, what in _WHAT.items()
        for key, found in messages.items()
        if key[0] == kind
    ]


def _chunks(rows: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(rows)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _look(
    dataset: Dataset, finder: ImageFinder, row: int, decode: bool
) -> tuple[str, LstError] | None:
    images = dataset.images
    try:
        path = finder.find(
            images.file_names[row], images.coco_urls[row], image_id=int(images.ids[row])
        )
    except LstError as error:
        return "missing-image", error
    height, width = int(images.heights[row]), int(images.widths[row])
    try:
        if decode:
            read_image(path, height, width)
        else:
            check_image_size(path, height, width)
    except ImageSizeError as error:
        return "image-size", error
    except LstError as error:
        return "unreadable-image", error
    return None
