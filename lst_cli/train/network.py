"""Networks as the files of a phase have them."""

from __future__ import annotations

from pathlib import Path

import torch

from lst_cli.engine.checkpoint import load_model
from lst_cli.errors import LstError
from lst_cli.modeling.build import build_model
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.weight_generator import WeightGenerator
from lst_cli.settings.models import GeneratorSettings, Settings


def load_network(weights: Path, settings: Settings, classes: int) -> LstRCNN:
    """A network with its weights; an `LstError` if they are missing, damaged or do not fit."""
    model = build_model(settings, classes)
    hint = f"move {weights.parent} elsewhere and train that phase again"
    tensors = load_model(weights, hint)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        heading, *mismatches = str(error).splitlines()
        reason = mismatches[0].strip() if mismatches else heading
        raise LstError(
            f"{weights} does not fit the settings: {reason}",
            f"use the [model] and [detectron2] settings of the base phase, or {hint}",
        ) from error
    return model


def load_generator(
    path: Path, settings: GeneratorSettings, size: tuple[int, int], seed: int | None = None
) -> WeightGenerator:
    """Read the generator that a phase of these settings left behind, or make one from a seed.

    The size is the length of a feature and the number of base classes. Raises an `LstError` if the
    file is damaged or was trained with other settings.
    """
    built = WeightGenerator(
        features=size[0],
        base_classes=size[1],
        form=settings.form,
        attention_scale=settings.attention_scale,
        background_share=settings.background_share,
        generator=torch.Generator().manual_seed(seed or 0),
    )
    if seed is not None and not path.exists():
        return built
    hint = f"move {path} elsewhere to start with a fresh generator"
    state = load_model(path, hint)
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise LstError(
            f"{path} does not fit the settings: it was trained with another mwg.form, or with "
            "mwg.background_share = 0 where it is not 0 now, or the other way round",
            f"put them back, or {hint}",
        ) from error
    return built
