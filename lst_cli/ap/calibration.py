"""Scores corrected after training: by how often each class was seen, or in which phase it came.

NorCal, Pan et al., "On Model Calibration for Long-Tailed Object Detection and Instance
Segmentation" (NeurIPS 2021): a class's exponentiated logit is divided by N_c^strength before the
softmax, the background's is not, so that rare classes gain against frequent ones while all of
them keep their share against the background. In logits that is a shift, which is all a network
needs to be told.

By phases: the base classes were trained on everything that shows them, the later ones on few
images and against frozen features. One number, taken from the logits of the base classes, moves
the two groups against each other; the background stays, and so does the order within a group.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Way = Literal["norcal", "phases"]
"""By what scores are corrected."""

STRENGTHS: Mapping[Way, tuple[float, ...]] = {
    "norcal": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "phases": (-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0),
}
"""What is tried: exponents of N_c, of which 1 corrects wholly, and logits. 0 corrects nothing."""


class Correction(BaseModel):
    """How the scores of a model were corrected.

    Attributes:
        way: By what.
        strength: How much: the exponent of N_c, or what base classes lose, in logits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    way: Way
    strength: float


def read_correction(value: Any) -> Any:
    """Give a bare number, which stood for a strength of NorCal, its name.

    Example:
        >>> read_correction(0.3)
        {'way': 'norcal', 'strength': 0.3}
    """
    return {"way": "norcal", "strength": value} if isinstance(value, int | float) else value


class Calibration(BaseModel):
    """The strength chosen for a model, and what it was chosen by (`calibration.json`).

    Attributes:
        format: Version of this schema.
        way: By what scores are corrected; older files, which do not say, are of NorCal.
        model_sha256: Of the model.
        seed: Of the choice of images.
        tried_with: Settings that decide about detections.
        wanted: Training images that were asked for.
        images: Those that the model was tried on.
        strength: The chosen one.
        box_ap: Box AP on these images by strength, as text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    way: Way = "norcal"
    model_sha256: str
    seed: int
    tried_with: dict[str, Any]
    wanted: Annotated[int, Field(ge=1)]
    images: Annotated[int, Field(ge=1)]
    strength: float
    box_ap: Mapping[str, float]


def logit_shift(train_instances: Sequence[int], strength: float) -> NDArray[np.float64]:
    """How much NorCal takes from each class's logit: strength times log N_c.

    Args:
        train_instances: N_c of each class, 1 or more, in the order of the labels.
        strength: 0 for no correction.

    Returns:
        Shape (K,).

    Example:
        >>> logit_shift([100, 1], 0.5).round(3).tolist()
        [2.303, 0.0]
    """
    return strength * np.log(np.maximum(np.asarray(train_instances, dtype=np.float64), 1.0))


def phase_shift(classes: int, base_classes: int, strength: float) -> NDArray[np.float64]:
    """How much is taken from each class's logit where base classes stand against later ones.

    Args:
        classes: K.
        base_classes: How many of them, the first ones, came with the base phase.
        strength: Above 0 base classes lose, below 0 they gain; 0 for no correction.

    Returns:
        Shape (K,).

    Example:
        >>> phase_shift(3, 2, 0.5).tolist()
        [0.5, 0.5, 0.0]
    """
    return np.where(np.arange(classes) < base_classes, float(strength), 0.0)


def choose_strength(box_ap: Mapping[float, float]) -> float:
    """The strength with the highest AP; of equal ones that nearest to 0, then the lower.

    Example:
        >>> choose_strength({0.0: 0.30, 0.2: 0.31, 0.4: 0.31})
        0.2
        >>> choose_strength({-1.0: 0.31, 0.0: 0.30, 0.5: 0.31})
        0.5
    """
    return min(box_ap, key=lambda strength: (-box_ap[strength], abs(strength), strength))


def choose_images(
    images_of_class: Sequence[NDArray[np.int64]], most: int, seed: int
) -> NDArray[np.int64]:
    """Draw training images on which every class has its say.

    Class after class, rarest first, gives one image that is not chosen yet, and the next round
    begins: AP is a mean over classes, and a draw of images alone would miss the rare ones.

    Args:
        images_of_class: Rows of the images that show each class.
        most: How many are wanted; there may be fewer.
        seed: Of the draw.

    Returns:
        Rows, ascending.
    """
    generator = np.random.default_rng(seed)
    queues = [generator.permutation(images).tolist() for images in images_of_class if len(images)]
    queues.sort(key=len)
    chosen: set[int] = set()
    while len(chosen) < most and any(queues):
        for queue in queues:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < most:
                chosen.add(queue.pop())
    return np.array(sorted(chosen), dtype=np.int64)
