from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch.nn import functional as F

from lst_cli.errors import LstError
from lst_cli.modeling.weight_generator import WeightGenerator
from lst_cli.phases.replay import ALL_CLASSES, Occurrences
from lst_cli.progress import silent
from lst_cli.samples.loading import SampleReader
from lst_cli.train import support
from lst_cli.train.support import Support

pytestmark = pytest.mark.engine

# Labels of the objects in each image. 0 is old; 1 has six boxes, 2 has one, 3 has two and 4 is of
# a later phase.
IMAGES = {3: [1], 5: [2, 1, 0, 1], 6: [0, 4], 8: [1, 3, 1], 9: [3, 1]}
NEW = range(1, 4)
PAIRS = [(image, label) for image, labels in IMAGES.items() for label in labels]
LEFT = [[30.0, 51, 53, 80, 82, 91], [50.0], [81.0, 90]]  # edges of their boxes in `Data`
OCCURRENCES = Occurrences.of(
    np.array([image for image, _ in PAIRS]), np.array([label for _, label in PAIRS]), 5
)


class Network:
    """Stands for a model: a pooled box is its left edge, a feature (left edge, 1)."""

    device = torch.device("cpu")
    row_features = 2

    def __init__(self) -> None:
        self.training = True
        self.modes: list[bool] = []
        weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        self.roi_heads = SimpleNamespace(
            pooled_boxes=lambda _, boxes: torch.cat([one.tensor[:, :1] for one in boxes]),
            box_head=lambda pooled: torch.cat([pooled, torch.ones_like(pooled)], dim=1),
            box_predictor=SimpleNamespace(
                cls_score=SimpleNamespace(weight=weight, class_rows=3 * weight[:1])
            ),
        )

    def train(self, mode: bool = True) -> None:
        self.training = mode

    def eval(self) -> None:
        self.train(False)

    def preprocess_image(self, items: list[Any]) -> Any:
        return SimpleNamespace(tensor=torch.zeros(len(items), 3, 4, 4))

    def backbone(self, tensor: torch.Tensor) -> dict[str, Any]:
        self.modes.append(self.training)
        return {}


class Data:
    """Stands for a phase's data; an object's left edge is 10 times its image, plus its place."""

    def __init__(self, broken: int = -1) -> None:
        self.data = SimpleNamespace(occurrences=OCCURRENCES)
        self.broken = broken
        self.read: list[int] = []

    def sample(self, image: int, label: int, position: int = 0) -> int:
        assert label == ALL_CLASSES
        self.read.append(image)
        if image == self.broken:
            raise LstError(f"image {image} is broken", "lst check")
        return image


def to_item(image: int, *, augment: bool) -> dict[str, Any]:
    assert not augment
    instances = Instances((4, 4))
    left = [10.0 * image + place for place in range(len(IMAGES[image]))]
    instances.gt_boxes = Boxes(torch.tensor([[x, 0, x + 5, 5] for x in left]))
    instances.gt_labels = torch.tensor(IMAGES[image])
    return {"image": torch.zeros(3, 4, 4), "instances": instances}


def make(data: Data | None = None, new: range = NEW) -> Any:
    return Support(SampleReader(data or Data(), to_item), new)  # type: ignore[arg-type]


def pooled(classes: Any, model: Any = None, **options: Any) -> list[tuple[list[int], list[float]]]:
    stream = classes.pooled(model or Network(), "work", silent, **options)
    return [(labels.tolist(), boxes[:, 0].tolist()) for labels, boxes in stream]


# --- which boxes ---------------------------------------------------------------------------------


# Images that hold nothing wanted would be empty entries: 3, 5, 8 and 9 have 1, 2, 2 and 1 boxes of
# class 1, 5 one of class 2, 8 and 9 one of class 3 each.
@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, [([0], [30]), ([1], [50]), ([2], [81])]),
        # The second of class 1 is the first in its image; class 3 still wants one in image 9.
        (2, [([0], [30]), ([1, 0], [50, 51]), ([2], [81]), ([2], [90])]),
        (4, [([0], [30]), ([1, 0, 0], [50, 51, 53]), ([0, 2], [80, 81]), ([2], [90])]),
        (
            None,
            [([0], [30]), ([1, 0, 0], [50, 51, 53]), ([0, 2, 0], [80, 81, 82]), ([2, 0], [90, 91])],
        ),
    ],
)
def test_the_first_boxes_of_each_class_are_pooled_once_and_no_more_than_wanted(most, expected):
    assert pooled(make(), most=most) == expected


def test_shaken_boxes_and_proposals_stand_for_objects_where_they_are_wanted(monkeypatch):
    def regions_of(model: Any, images: Any, features: Any) -> list[Boxes]:
        asked.append(model)
        return [Boxes(torch.tensor([[31.0, 0, 36, 5], [85.0, 0, 88, 5]]))]

    asked: list[Any] = []
    monkeypatch.setattr(support, "regions_of", regions_of)
    torch.manual_seed(0)
    shaken = pooled(make(), boxes="jittered", most=1)
    assert asked == []
    for (_, [ours]), annotated in zip(shaken, (30, 50, 81), strict=True):
        assert 0 < abs(ours - annotated) <= 0.5
    # The first overlaps the object of image 3 by 4/6, and no other object by half.
    drawn = pooled(make(), boxes="proposals", most=1)
    assert drawn == [([0], [31]), ([1], [50]), ([2], [81])]
    assert len(asked) == 3


def test_the_network_is_in_evaluation_mode_while_it_lasts():
    model = Network()
    pooled(make(), model)
    assert model.modes == [False] * 4
    assert model.training
    with pytest.raises(LstError, match="image 8 is broken"):
        pooled(make(Data(broken=8)), model)
    assert model.training


def test_what_is_done_is_told_of_how_much():
    told: list[tuple[str, int, int | None]] = []
    classes = make()
    list(classes.pooled(Network(), "work", lambda *done: told.append(done), most=1))
    assert told == [("work", 1, 3), ("work", 2, 3), ("work", 3, 3)]
    assert classes.reader.dataset.read == [3, 5, 8]


# --- what becomes of them ------------------------------------------------------------------------


def test_mean_feature_rows_are_mean_directions_as_long_as_old_rows():
    cases: list[tuple[int | None, list[list[float]]]] = [(1, [[30], [50], [81]]), (None, LEFT)]
    for most, left in cases:
        rows = make().mean_feature_rows(Network(), most, silent).rows
        for row, boxes in zip(rows, left, strict=True):
            directions = F.normalize(torch.tensor([[x, 1.0] for x in boxes]), dim=-1)
            torch.testing.assert_close(row, 3 * F.normalize(directions.mean(dim=0), dim=-1))


def test_generated_rows_are_averages_over_all_boxes_of_a_class():
    model, generator = Network(), WeightGenerator(features=2, base_classes=1)
    written = make().generated_rows(model, generator, silent)
    weight = model.roi_heads.box_predictor.cls_score.weight
    for row, boxes in zip(written.rows, LEFT, strict=True):
        features = torch.tensor([[x, 1.0] for x in boxes])
        expected = generator(features, weight[:1], weight[1]).mean(dim=0)
        torch.testing.assert_close(row, expected.detach())
    assert written.attention is not None
    assert written.attention.tolist() == [[1.0], [1.0], [1.0]]
