"""The part of evaluation that needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lst_cli.config import Settings
from lst_cli.data.lvis import Images
from lst_cli.data.mapper import Mapper
from lst_cli.errors import LstError
from lst_cli.evaluation.predict import predict
from lst_cli.modeling.build import build_model, input_format
from lst_cli.training.checkpoint import load_model
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

    Raises:
        LstError: If the weights are missing or cut short, or an image cannot be used.
    """
    mend = f"remove {weights.parent} and train that phase anew"
    try:
        return detect_with(
            load_model(weights, mend), trained, settings, images, find, category_ids, progress
        )
    except RuntimeError as error:
        if "state_dict" not in str(error):
            raise
        raise LstError(f"{weights} does not fit the network of its manifest", mend) from error


def detect_with(
    tensors: Mapping[str, Tensor],
    trained: Settings,
    settings: Settings,
    images: Images,
    find: Callable[[int], Path],
    category_ids: Sequence[int],
    progress: Callable[[int, int | None], None],
) -> list[dict[str, Any]]:
    """Detections of a model whose weights are in memory; as `detect`.

    Args:
        tensors: Its state dict.
        trained: Settings it was trained with.
        settings: Settings of today.
        images: The images.
        find: Path of an image by its row.
        category_ids: Category ids in class order.
        progress: Images done, and their number.

    Raises:
        LstError: If an image cannot be used.
        RuntimeError: If the weights do not fit the settings.
    """
    use = trained.model_copy(update={"eval": settings.eval, "data": settings.data})
    model = build_model(use, len(category_ids))
    model.load_state_dict(tensors)
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
    )
    return [detection.as_dict() for detection in found]
