"""Rows of new classes before the first iteration, and the generator that may write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lst_cli.engine.checkpoint import load_model
from lst_cli.errors import LstError
from lst_cli.modeling.grow import mean_feature_rows, random_rows
from lst_cli.modeling.rcnn import LstRCNN
from lst_cli.modeling.weight_generator import WeightGenerator
from lst_cli.progress import Progress
from lst_cli.settings.models import GeneratorSettings
from lst_cli.train.support import Support


@dataclass(frozen=True)
class WrittenRows:
    """First classifier rows of new classes.

    Attributes:
        rows: Shape (C, D), on the CPU.
        attention: What the generator's attention made of each class, shape (C, b); None where
            no generator wrote them.
    """

    rows: Tensor
    attention: Tensor | None = None


def draw_rows(model: LstRCNN, classes: int, generator: torch.Generator) -> WrittenRows:
    """Random rows, N(0, 0.01) (paper)."""
    return WrittenRows(random_rows(classes, model.row_features, 0.01, generator))


def imprint_rows(model: LstRCNN, support: Support, most: int, progress: Progress) -> WrittenRows:
    """Mean feature of each class (imprinting)."""
    old = model.roi_heads.box_predictor.cls_score.class_rows.detach().cpu()
    sums, counts = support.mean_features(model, progress, most=most)
    return WrittenRows(mean_feature_rows(sums, counts, old))


def generate_rows(
    model: LstRCNN, support: Support, weight_generator: WeightGenerator, progress: Progress
) -> WrittenRows:
    """Rows that a trained generator writes, averaged over all boxes of a class (section 3.4)."""
    return WrittenRows(*support.generated(model, weight_generator, progress))


def build_generator(
    settings: GeneratorSettings, features: int, base_classes: int, generator: torch.Generator
) -> WeightGenerator:
    """A generator with its first values."""
    return WeightGenerator(
        features=features,
        base_classes=base_classes,
        form=settings.form,
        attention_scale=settings.attention_scale,
        background_share=settings.background_share,
        generator=generator,
    )


def load_generator(
    path: Path, settings: GeneratorSettings, features: int, base_classes: int
) -> WeightGenerator:
    """Read the generator that a phase left behind.

    Args:
        path: Its file.
        settings: The [mwg] settings it was trained with.
        features: D.
        base_classes: b.

    Raises:
        LstError: If the file is damaged or was trained with other settings.
    """
    built = build_generator(settings, features, base_classes, torch.Generator())
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
