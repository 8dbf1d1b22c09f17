"""Boxes of new classes that a network sees too little or too much of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lst_cli.extend.new_classes import quoted
from lst_cli.inputs import TrainingInput
from lst_cli.phases.classes import IntArray
from lst_cli.settings.models import DataSettings, Settings

# Share of its image from which a box is taken to cover it.
WHOLE_IMAGE = 0.9
# Share of the boxes of a class from which the user is told.
MANY_BOXES = 0.1
_LEVELS = "MODEL.ROI_HEADS.IN_FEATURES"


class BoxSizes(NamedTuple):
    """Boxes of a class."""

    boxes: int
    tiny: int  # those that are smaller than a cell of the finest feature map
    whole_image: int  # those that cover their image


def finest_stride(settings: Settings) -> int:
    """Pixels of the network's input, along an edge, for a cell of its finest feature map."""
    levels = map(str, settings.detectron2.get(_LEVELS, ["p2"]))
    strides = [2 ** int(name[1:]) for name in levels if re.fullmatch(r"p\d", name)]
    return min(strides, default=4)


def measure_boxes(
    inputs: TrainingInput, new: range, data: DataSettings, stride: int
) -> tuple[BoxSizes, ...]:
    """Measure the boxes of each class with a label in `new`, as large as the network sees them."""
    instances, images = inputs.dataset.instances, inputs.dataset.images
    rows = np.flatnonzero((inputs.labels >= new.start) & (inputs.labels < new.stop))
    sizes = images.sizes[instances.image_index[rows]]  # (M, 2)
    boxes = instances.boxes[rows]
    corners = np.clip([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 0, sizes)
    areas = np.prod(corners[1] - corners[0], axis=1)
    tiny = areas * inputs.scales_at_test(rows, data) ** 2 < stride**2
    whole = areas >= WHOLE_IMAGE * sizes.prod(axis=1)
    labels = inputs.labels[rows] - new.start

    counts: list[IntArray] = [
        np.bincount(one, minlength=len(new)) for one in (labels, labels[tiny], labels[whole])
    ]
    return tuple(map(BoxSizes, *(one.tolist() for one in counts)))


def describe_sizes(names: Sequence[str], sizes: Sequence[BoxSizes], stride: int) -> Iterator[str]:
    """What a user should know of the boxes of these classes, a sentence each."""
    for name, (boxes, tiny, whole) in zip(names, sizes, strict=True):
        of = f"of {boxes:,} boxes of {quoted(name)}"
        if tiny > MANY_BOXES * boxes:
            yield (
                f"{tiny:,} {of} are smaller than {stride} x {stride} pixels after the image is "
                "resized for the network, too small to be seen: annotate larger objects"
            )
        if whole > MANY_BOXES * boxes:
            yield (
                f"{whole:,} {of} cover the whole image, so that the class is learned from all "
                "that is in it: draw each box around one object"
            )
