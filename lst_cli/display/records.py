"""Records that tables, plots and pictures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.instant import Way


@dataclass(frozen=True)
class ReportClass:
    """One class of the class order.

    Attributes:
        category_id: The id in the annotation file.
        name: The name in the annotation file, unescaped.
        instances: Its training instances.
        images: Its training images.
        phase: The phase that learns it.
    """

    category_id: int
    name: str
    instances: int
    images: int
    phase: int


@dataclass(frozen=True)
class ReportPhase:
    """What one finished phase was trained on, and how long it took.

    Attributes:
        phase: 0 is base.
        classes: How many classes arrived in it.
        entries: All entries of its training set, replay included.
        replay_entries: How many of them replay an old class.
        iterations: Optimizer updates.
        seconds: Training time, or None where it was not kept.
        note: Anything a reader of its numbers should know, in a few words.
        new_rows: How the first classifier rows of its classes came about; None in the base
            phase, and where it was not kept.
        image_passes: Images that training showed, one seen twice counted twice; None where it
            was not kept.
    """

    phase: int
    classes: int
    entries: int
    replay_entries: int
    iterations: int
    seconds: float | None = None
    note: str = ""
    new_rows: Way | None = None
    image_passes: int | None = None


@dataclass(frozen=True)
class ReplayBalance:
    """Training instances of every seen class, in all images and in a phase's training set.

    Attributes:
        phase: The phase the set belongs to, 1 or later.
        before: Instances of each seen class in all its images, in class order.
        after: Instances of each seen class that count in D_t, in the same
            order; a mean over epochs where draws differ.
        old: How many of these classes are old; the rest are new.
        replay: How old classes are replayed, `step.replay`.
    """

    phase: int
    before: Sequence[float]
    after: Sequence[float]
    old: int
    replay: str = "balanced"


@dataclass(frozen=True)
class PanelObject:
    """One object to draw on a validation image.

    Attributes:
        label: The name of its class.
        box: (x, y, width, height) in pixels of the image.
        segmentation: Its mask as COCO has it: an RLE with ``size`` and
            ``counts`` (compressed or not), a list of polygons, or None.
        score: The confidence of a prediction; None for ground truth.
        category_id: Of its class; drawn where no font has the letters of its name.
    """

    label: str
    box: tuple[float, float, float, float]
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]] | None = None
    score: float | None = None
    category_id: int | None = None


@dataclass(frozen=True)
class Panel:
    """One validation image with what is there and what was found.

    Attributes:
        image: Its file, or its pixels as uint8 of shape (H, W, 3), RGB.
        title: What to call it, as a rule its file name.
        ground_truth: The annotated objects of the classes seen so far.
        predictions: The detections worth showing; the caller has chosen.
        size: Height and width of a file as its annotations state them; as a viewer shows it, if
            None.
    """

    image: Path | NDArray[np.uint8]
    title: str
    ground_truth: Sequence[PanelObject] = ()
    predictions: Sequence[PanelObject] = ()
    size: tuple[int, int] | None = None
