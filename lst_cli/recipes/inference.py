"""The part of evaluation that needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.config import Settings
from lst_cli.data.lvis import Images
from lst_cli.data.mapper import Mapper
from lst_cli.errors import LstError
from lst_cli.evaluation.predict import predict
from lst_cli.modeling.build import input_format
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.recipes.network import load_network
from lst_cli.training.device import choose_device, choose_workers


def detect(
    weights: Path,
    trained: Settings,
    settings: Settings,
    images: Images,
    find: Callable[[int], Path],
    category_ids: Sequence[int],
    *,
    progress: Callable[[int, int | None], None],
    skip: Callable[[int, LstError], None] | None = None,
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
        skip: Told the row of an image that cannot be used, and why; see `predict`.

    Raises:
        LstError: If the weights are missing or cut short, or an image cannot be used.
    """
    use = trained.model_copy(update={"eval": settings.eval, "data": settings.data})
    model = load_network(weights, use, len(category_ids))
    return detect_with(model, use, settings, images, find, category_ids, progress, skip)


def detect_with(
    model: LstRCNN,
    use: Settings,
    settings: Settings,
    images: Images,
    find: Callable[[int], Path],
    category_ids: Sequence[int],
    progress: Callable[[int, int | None], None],
    skip: Callable[[int, LstError], None] | None = None,
) -> list[dict[str, Any]]:
    """Detections of a model that is in memory; as `detect`.

    Args:
        model: The model.
        use: Settings it was built with.
        settings: Settings of today: device and workers.
        images: The images.
        find: Path of an image by its row.
        category_ids: Category ids in class order.
        progress: Images done, and their number.
        skip: Told the row of an image that cannot be used, and why; see `predict`.

    Raises:
        LstError: If an image cannot be used.
    """
    device = choose_device(settings.device)
    model.to(device)
    mapper = Mapper(find, settings.data, channels=input_format(use), seed=settings.seed)
    found = predict(
        model,
        images,
        mapper,
        np.asarray(category_ids, dtype=np.int64),
        workers=choose_workers(settings.data.workers, device),
        progress=progress,
        skip=skip,
    )
    return [detection.as_dict() for detection in found]
