from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lst_cli.annotations.joined import join_datasets
from lst_cli.annotations.read import Dataset
from lst_cli.errors import LstError


@pytest.fixture
def parts(read: Callable[..., Dataset], two_classes: dict[str, Any]) -> list[Dataset]:
    """Two files with the same ids; in the second, everything lies one pixel to the right."""
    other = copy.deepcopy(two_classes)
    other["categories"].reverse()
    for annotation in other["annotations"]:
        annotation["bbox"][0] += 1.0
        annotation["segmentation"] = [[annotation["id"], 1, 5, 1, 5, 5]]
    return [read(two_classes, "one.json"), read(other, "two.json")]


def test_a_single_file_is_taken_as_it_is(parts):
    joined = join_datasets(parts[:1])
    assert joined.images is parts[0].images
    assert joined.instances is parts[0].instances
    assert joined.categories is parts[0].categories
    assert (joined.image_starts, joined.instance_starts) == ((0,), (0,))


def test_rows_of_the_second_file_come_behind_those_of_the_first(parts):
    joined = join_datasets(parts)
    assert joined.images.ids.tolist() == [1, 2, 1, 2]
    assert joined.instances.ids.tolist() == [11, 12, 13, 11, 12, 13]
    assert joined.instances.image_index.tolist() == [1, 1, 0, 3, 3, 2]
    assert joined.instances.boxes[:, 0].tolist() == [1.0, 0.0, 5.5, 2.0, 1.0, 6.5]
    names = [joined.categories.names[row] for row in joined.instances.category_index]
    assert names == ["dog", "cat", "dog"] * 2
    assert joined.images.coco_urls == parts[0].images.coco_urls * 2
    assert (joined.image_starts, joined.instance_starts) == ((0, 2), (0, 3))
    assert joined.instances.image_index.dtype == np.int32
    assert parts[1].instances.image_index.tolist() == [1, 1, 0]  # the file itself is left alone


def test_segmentations_come_from_the_file_of_their_row(parts):
    joined = join_datasets(parts)
    found = joined.read_segmentations(np.array([0, 2, 4, 5]))
    assert [json.loads(raw)[0][0] for raw in found] == [1.0, 5.5, 12, 13]
    assert joined.read_segmentations(np.array([], dtype=np.int64)) == []
    (last,) = joined.read_segmentations(np.array([5]))
    assert json.loads(last)[0][0] == 13


def test_a_row_that_no_file_has_is_refused(parts):
    with pytest.raises(LstError, match=r"two\.json has no annotation in row 3"):
        join_datasets(parts).read_segmentations(np.array([0, 6]))
