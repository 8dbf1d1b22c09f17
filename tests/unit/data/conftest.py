"""Small annotation files and images, drawn where the test runs."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.data.lvis import Dataset, read_dataset

_TWO_CLASSES: dict[str, Any] = {
    "info": {"description": "two images, two classes, three objects"},
    "annotations": [
        {
            "id": 11,
            "image_id": 2,
            "category_id": 7,
            "bbox": [1.0, 2.0, 3.0, 4.0],
            "area": 12.0,
            "segmentation": [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]],
        },
        {
            "id": 12,
            "image_id": 2,
            "category_id": 5,
            "bbox": [0.0, 0.0, 8.0, 6.0],
            "area": 24.5,
            "segmentation": {"size": [6, 8], "counts": [8, 30, 10]},
        },
        {
            "id": 13,
            "image_id": 1,
            "category_id": 7,
            "bbox": [5.5, 1.0, 2.0, 2.0],
            "area": 2.0,
            "segmentation": [[5.5, 1.0, 7.5, 1.0, 7.5, 3.0]],
        },
    ],
    "images": [
        {
            "id": 1,
            "height": 10,
            "width": 20,
            "coco_url": "http://images.cocodataset.org/train2017/000000000001.jpg",
            "neg_category_ids": [5],
            "not_exhaustive_category_ids": [],
        },
        {
            "id": 2,
            "height": 6,
            "width": 8,
            "coco_url": "http://images.cocodataset.org/val2017/000000000002.jpg",
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [7],
        },
    ],
    "categories": [
        {"id": 5, "name": "cat", "frequency": "r", "def": 'a "pet" }, { or ]'},
        {"id": 7, "name": "dog", "frequency": "f", "def": "}]"},
    ],
}


@pytest.fixture
def two_classes() -> dict[str, Any]:
    """A file in LVIS v1's layout without any problem; change it freely."""
    return copy.deepcopy(_TWO_CLASSES)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an object, or a text as it is, to a file."""

    def write(content: object, name: str = "file.json") -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def read(write: Callable[..., Path]) -> Callable[..., Dataset]:
    """Writes an object to a file and reads it as a dataset."""
    return lambda content, name="file.json": read_dataset(write(content, name))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of the real data, where there is one."""
    default = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("LST_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip("no real data: set LST_SHARED_DATA to its directory")
    return path
