"""Records that tables, plots and pictures are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.segmentations import Segmentation


@dataclass(frozen=True)
class ReportClass:
    """One class of the class order."""

    category_id: int
    name: str  # as the annotation file has it, unescaped
    instances: int  # in training
    images: int  # in training
    phase: int  # that learns it


@dataclass(frozen=True)
class ReportPhase:
    """What one finished phase was trained on, and how long it took; None where not recorded."""

    phase: int
    classes: int  # that arrived in it
    entries: int  # of its training set, replay included
    replay_entries: int  # those of them that replay an old class
    iterations: int
    seconds: float | None = None  # training time
    note: str = ""  # what a reader of its numbers should know, in a few words
    new_rows: str | None = None  # origin of its classes' first classifier rows; None for the base
    image_passes: int | None = None  # images shown in training, one seen twice counted twice


@dataclass(frozen=True)
class ReplayBalance:
    """Training instances of every seen class, in all images and in a phase's training set D_t."""

    phase: int  # 1 or later
    before: Sequence[float]  # of each seen class in all its images, in class order
    after: Sequence[float]  # in D_t, likewise; a mean over epochs where draws differ
    old: int  # how many of these classes are old; the rest are new
    replay: str = "balanced"  # how old classes are replayed, `step.replay`


@dataclass(frozen=True)
class PanelObject:
    """One object to draw on a validation image."""

    label: str  # the name of its class
    box: tuple[float, float, float, float]  # (x, y, width, height) in pixels of the image
    segmentation: Segmentation | None = None
    score: float | None = None  # confidence of a prediction; None for ground truth
    category_id: int | None = None  # drawn where no font has the letters of its name


@dataclass(frozen=True)
class Panel:
    """One validation image with what is there and what was found."""

    image: Path | NDArray[np.uint8]  # a file, or pixels of shape (H, W, 3), RGB
    title: str  # usually the file name
    ground_truth: Sequence[PanelObject] = ()  # of the classes seen so far
    predictions: Sequence[PanelObject] = ()  # those worth showing; the caller has chosen
    # (height, width) that the annotations state for a file; as a viewer shows it, if None.
    size: tuple[int, int] | None = None
