from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.display.objects import PanelObject
from lst_cli.figures import tail_data as tail
from lst_cli.figures.tail_data import choose_objects, judge

SIZE = (40, 30)


def box(category_id: int, x: float, score: float | None = None) -> PanelObject:
    """A square of ten pixels; two classes have one name."""
    square = [[x, 5, x + 10, 5, x + 10, 15, x, 15]]
    return PanelObject("owl", (x, 5, 10, 10), square, score, category_id)


TRUTH = box(1, 10)


def test_the_most_confident_detection_that_overlaps_enough_is_the_answer_whatever_its_class():
    answer = judge(TRUTH, [box(1, 10, 0.2), box(2, 11, 0.7), box(2, 29, 0.9)], SIZE)
    assert answer.best is not None
    assert answer.own is not None
    assert (answer.best.found.category_id, answer.best.score) == (2, 0.7)
    assert answer.best.iou == pytest.approx(90 / 110)
    assert (answer.own.score, answer.own.iou) == (0.2, 1.0)
    assert not answer.right


def test_of_the_right_class_the_most_confident_that_is_there_counts_and_else_the_nearest():
    answer = judge(TRUTH, [box(1, 10, 0.2), box(1, 12, 0.4), box(1, 17, 0.9)], SIZE)
    assert answer.right
    assert answer.own is not None
    assert (answer.own.score, answer.own.there) == (0.4, True)
    far = judge(TRUTH, [box(1, 17, 0.1), box(1, 18, 0.9)], SIZE)
    assert far.best is None
    assert not far.right
    assert far.own is not None
    assert (far.own.score, far.own.there) == (0.1, False)


@pytest.mark.parametrize("found", [[box(1, 25, 0.9)], []])
def test_what_lies_elsewhere_is_no_answer(found):
    answer = judge(TRUTH, found, SIZE)
    assert (answer.best, answer.own, answer.right) == (None, None, False)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Class 1 in images 1 and 2, the larger in 2; class 2 in 2 only; class 3 in 2 and 3."""
    places = [(1, 1, 50), (2, 1, 80), (2, 2, 60), (2, 3, 99), (3, 3, 10), (3, 3, 10)]
    document = {
        "images": [
            {"id": n, "height": 30, "width": 40, "file_name": f"{n}.png"} for n in (1, 2, 3)
        ],
        "categories": [{"id": n, "name": f"class {n}"} for n in (1, 2, 3)],
        "annotations": [
            {"id": place, "image_id": image, "category_id": category, "area": area,
             "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6]]}
            for place, (image, category, area) in enumerate(places, 1)
        ],
    }  # fmt: skip
    path = tmp_path / "val.json"
    path.write_text(json.dumps(document))
    return read_dataset(path)


def test_each_class_shows_its_largest_object_in_an_image_of_its_own(dataset):
    assert choose_objects(dataset, [1, 2, 3], 6) == {1: 1, 3: 4}  # of equals the first
    assert choose_objects(dataset, [2, 1, 3], 6) == {2: 2, 1: 0, 3: 4}
    assert choose_objects(dataset, [2, 1, 3], 2) == {2: 2, 1: 0}
    assert choose_objects(dataset, [7], 2) == {}


def test_classes_added_later_take_their_place_among_the_rarest(monkeypatch):
    # A split lists the classes of `lst extend`, 8 and 3 instances, behind all others.
    classes = [
        SimpleNamespace(category_id=n, name=f"class {n}", instances=n) for n in (40, 6, 1, 8, 3)
    ]
    train = SimpleNamespace(sha256="0")
    split = SimpleNamespace(classes=classes, seen_classes=lambda phase: 5, train=train)
    workspace: Any = SimpleNamespace(split=split, root=Path("w"))
    run = tail._Run(workspace, 2, dict.fromkeys((40, 6, 1, 8, 3), 0.5))
    shown, _ = tail._choose_classes([run])
    assert [one.category_id for one in shown] == [1, 3, 6, 8]
    monkeypatch.setattr(tail, "MOST_CLASSES", 3)
    shown, notes = tail._choose_classes([run])
    assert [one.category_id for one in shown] == [1, 3, 6]
    assert notes == ["4 classes have fewer than 10 training instances."]
