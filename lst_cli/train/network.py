"""A phase's network as its file has it."""

from __future__ import annotations

from pathlib import Path

from lst_cli.engine.checkpoint import load_model
from lst_cli.errors import LstError
from lst_cli.modeling.build import build_model
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.settings.models import Settings


def load_network(
    weights: Path, settings: Settings, classes: int, *, rois_per_image: int = 512
) -> LstRCNN:
    """Build a network and read its weights.

    Args:
        weights: The file, in the directory of its phase.
        settings: What to build.
        classes: K.
        rois_per_image: Regions an image that train the heads.

    Raises:
        LstError: If the file is missing, cut short, or of another network.
    """
    model = build_model(settings, classes, rois_per_image=rois_per_image)
    hint = f"move {weights.parent} elsewhere and train that phase again"
    tensors = load_model(weights, hint)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise LstError(
            f"{weights} does not fit the settings: {_first_mismatch(error)}",
            f"use the [model] and [detectron2] settings of the base phase, or {hint}",
        ) from error
    return model


def _first_mismatch(error: RuntimeError) -> str:
    lines = str(error).splitlines()
    return lines[1].strip() if len(lines) > 1 else lines[0]
