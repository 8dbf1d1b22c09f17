"""Room for new classes in a trained model, with nothing changed for the old ones.

detectron2 keeps the background in the last row of the classifier, so new rows go before it.
The label of an old class stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
BOX_WEIGHT = "roi_heads.box_predictor.bbox_pred.weight"
BOX_BIAS = "roi_heads.box_predictor.bbox_pred.bias"

BOX_DIMENSIONS = 4


def random_rows(rows: int, features: int, std: float, generator: torch.Generator) -> Tensor:
    """Rows drawn from N(0, std), shape (rows, features)."""
    rows_of_noise: Tensor = torch.randn(rows, features, generator=generator) * std
    return rows_of_noise


def mean_feature_rows(sums: Tensor, counts: Tensor, old_rows: Tensor) -> Tensor:
    """Rows that point at the mean feature of each new class, shape (C, D); zeros without a box.

    The direction is all that matters to the cosine; the length is the mean length of the old
    rows, because the mask branch reads rows unnormalised.
    `sums` are those of the L2-normalised features of the boxes of each class, shape (C, D).
    """
    length = old_rows.norm(dim=-1).mean()
    directions = F.normalize(sums / counts.clamp(min=1)[:, None], dim=-1)
    scaled: Tensor = directions * length
    return scaled


def grow_classifier(weight: Tensor, new_rows: Tensor) -> Tensor:
    """Put C rows of new classes between K old classes and the background, the last row.

    Example:
        >>> grow_classifier(torch.tensor([[1.0], [9.0]]), torch.tensor([[2.0]])).flatten()
        tensor([1., 2., 9.])
    """
    return torch.cat([weight[:-1], new_rows.to(weight), weight[-1:]])


def grow_state(
    state: Mapping[str, Tensor],
    new_rows: Tensor,
    generator: torch.Generator,
    *,
    class_agnostic_boxes: bool,
    average_boxes: bool = False,
) -> dict[str, Tensor]:
    """State dict of a model with C more classes; every other tensor is the old one.

    Class-specific box regressors of new classes are drawn from N(0, 0.001), or are the average of
    the old ones: without training, random ones would leave proposals as they are.
    """
    grown = dict(state)
    grown[CLASSIFIER] = grow_classifier(state[CLASSIFIER], new_rows)
    if class_agnostic_boxes:
        return grown
    weight, bias = state[BOX_WEIGHT], state[BOX_BIAS]
    if average_boxes:
        rows, offsets = _average_boxes(weight, len(new_rows)), _average_boxes(bias, len(new_rows))
    else:
        rows = random_rows(len(new_rows) * BOX_DIMENSIONS, weight.shape[1], 0.001, generator)
        offsets = rows.new_zeros(len(rows))
    grown[BOX_WEIGHT] = torch.cat([weight, rows.to(weight)])
    grown[BOX_BIAS] = torch.cat([bias, offsets.to(weight)])
    return grown


def _average_boxes(regressors: Tensor, classes: int) -> Tensor:
    """The average class's four regressors, once for each of some classes."""
    each = regressors.reshape(-1, BOX_DIMENSIONS, *regressors.shape[1:])  # (K, 4, ...)
    average: Tensor = each.mean(dim=0).repeat(classes, *[1] * (regressors.ndim - 1))
    return average
