"""A small demo set, drawn once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_tools

from lst_cli.demo.draw import draw_demo
from lst_cli.demo.marker import DemoSet

SMALL: dict[str, Any] = {
    "classes": 10,
    "size": 96,
    "head": 40,
    "val_per_class": 3,
    "per_image": 4.0,
}


@dataclass
class SmallSet:
    directory: Path
    arguments: dict[str, Any]
    drawn: DemoSet
    train: dict[str, Any]
    val: dict[str, Any]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallSet:
    directory = tmp_path_factory.mktemp("demo") / "set"
    drawn = draw_demo(directory, **SMALL)
    return SmallSet(
        directory,
        dict(SMALL),
        drawn,
        json.loads(drawn.train_json.read_text()),
        json.loads(drawn.val_json.read_text()),
    )


@pytest.fixture
def decode():
    """Give the mask of an annotation, shape (H, W)."""

    def _decode(annotation: dict[str, Any]) -> np.ndarray:
        return mask_tools.decode(annotation["segmentation"]).astype(bool)

    return _decode
