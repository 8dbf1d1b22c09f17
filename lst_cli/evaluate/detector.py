"""The part of evaluation that needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.annotations.read import Images
from lst_cli.engine.device import choose_device, choose_workers, place
from lst_cli.errors import LstError
from lst_cli.evaluate.inference import predict_rows
from lst_cli.evaluate.resumable import in_use
from lst_cli.modeling.build import input_format
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.progress import Progress
from lst_cli.samples.mapper import Mapper
from lst_cli.settings.models import Settings
from lst_cli.train.network import load_network

Skip = Callable[[int, LstError], None]


def detect(
    weights: Path,
    trained: Settings,
    settings: Settings,
    images: Images,
    find: Callable[[int], Path],
    category_ids: Sequence[int],
    *,
    progress: Progress,
    skip: Skip | None = None,
) -> list[dict[str, Any]]:
    """Detections of a model on images.

    Args:
        weights: Its file.
        trained: Settings it was trained with: they give the network.
        settings: Settings of today: device, workers and the test setting.
        images: The images.
        find: Path of an image by its row.
        category_ids: Category ids in class order, as many as the model has classes.
        progress: Images done, and their number.
        skip: Told the row of an image that cannot be used, and why; see `predict_rows`.

    Raises:
        LstError: If the weights are missing or cut short, or an image cannot be used.
    """
    use = in_use(trained, settings)
    model = load_network(weights, use, len(category_ids))
    rows = range(len(images.ids))
    detections = []
    for row, found in detect_with(model, use, settings, images, find, category_ids, rows, skip):
        detections += found
        progress("images", row + 1, len(rows))
    return detections


def detect_with(
    model: LstRCNN,
    use: Settings,
    settings: Settings,
    images: Images,
    find: Callable[[int], Path],
    category_ids: Sequence[int],
    rows: Sequence[int],
    skip: Skip | None = None,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Detections of a model that is in memory on some of the images; as `detect_rows`.

    Args:
        model: The model.
        use: Settings it was built with.
        settings: Settings of today: device and workers.
        images: The images.
        find: Path of an image by its row.
        category_ids: Category ids in class order.
        rows: Which images, and in what order.
        skip: Told the row of an image that cannot be used, and why; see `predict_rows`.

    Returns:
        Row and detections of each image, one by one.

    Raises:
        LstError: If an image cannot be used.
    """
    device = choose_device(settings.device)
    place(model, device)
    found = predict_rows(
        model,
        images,
        Mapper(find, settings.data, channels=input_format(use), seed=settings.seed),
        np.asarray(category_ids, dtype=np.int64),
        rows,
        workers=choose_workers(settings.data.workers, device),
        skip=skip,
    )
    return ((row, [detection.as_dict() for detection in one]) for row, one in found)


def detect_rows(
    weights: Path,
    trained: Settings,
    settings: Settings,
    images: Images,
    find: Callable[[int], Path],
    category_ids: Sequence[int],
    rows: Sequence[int],
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Detections of a model on some of the images; the network is there when this returns.

    Args:
        weights: Its file.
        trained: Settings it was trained with.
        settings: Settings of today.
        images: The images.
        find: Path of an image by its row.
        category_ids: Category ids in class order.
        rows: Which images, and in what order.

    Returns:
        Row and detections of each image, one by one.

    Raises:
        LstError: As `detect`.
    """
    use = in_use(trained, settings)
    model = load_network(weights, use, len(category_ids))
    return detect_with(model, use, settings, images, find, category_ids, rows)
