from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.compare.compare import Home
from lst_cli.display.objects import Panel, PanelObject
from lst_cli.figures import tail_data
from lst_cli.figures.tail import compose_tail, tail_caption, tail_figure
from lst_cli.figures.tail_data import (
    MOST_RUNS,
    Answer,
    Match,
    Tail,
    TailClass,
    TailExample,
    choose_objects,
    judge,
)
from tests.fixtures.reports import read_csv

SIZE = (40, 30)


def box(category_id: int, x: float, score: float | None = None) -> PanelObject:
    """A square of ten pixels; two classes have one name."""
    square = [[x, 5, x + 10, 5, x + 10, 15, x, 15]]
    return PanelObject("owl", (x, 5, 10, 10), square, score, category_id)


@pytest.mark.parametrize(
    ("found", "best", "own", "right"),
    [
        # The most confident detection that overlaps enough, whatever its class.
        ([box(1, 10, 0.2), box(2, 11, 0.7), box(2, 29, 0.9)], (0.7, 90 / 110), (0.2, 1.0), False),
        # Of the right class the most confident that is there, and else the nearest.
        ([box(1, 10, 0.2), box(1, 12, 0.4), box(1, 17, 0.9)], (0.4, 2 / 3), (0.4, 2 / 3), True),
        ([box(1, 17, 0.1), box(1, 18, 0.9)], None, (0.1, 3 / 17), False),
        ([box(1, 25, 0.9)], None, None, False),
        ([], None, None, False),
    ],
)
def test_an_answer_is_what_is_detected_where_the_object_is(found, best, own, right):
    answer = judge(box(1, 10), found, SIZE, "an image")
    for one, expected in ((answer.best, best), (answer.own, own)):
        assert (one and (one.score, one.iou)) == (expected and pytest.approx(expected))
    assert answer.right == right


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
    runs = [(Home(workspace, 2), dict.fromkeys((40, 6, 1, 8, 3), 0.5))]
    shown, _ = tail_data._choose_classes(runs)
    assert [one.category_id for one in shown] == [1, 3, 6, 8]
    monkeypatch.setattr(tail_data, "MOST_CLASSES", 3)
    shown, notes = tail_data._choose_classes(runs)
    assert [one.category_id for one in shown] == [1, 3, 6]
    assert notes == ["4 classes have fewer than 10 training instances."]


# --- the figure ----------------------------------------------------------------------------------


def _match(label: str, score: float, iou: float) -> Match:
    return Match(PanelObject(label, (8, 8, 20, 10), None, score), iou)


RIGHT = Answer(_match("owl", 0.5, 0.75), _match("owl", 0.5, 0.75))
WRONG = Answer(_match("a helmeted guinea fowl", 0.625, 0.8), _match("owl", 0.25, 0.3))
NOTHING = Answer(None, None)
PANEL = Panel(np.full((30, 48, 3), 90, dtype=np.uint8), "one.png")


def make_tail(runs=2, classes=3, examples=2, name="owl {}", run="run {}") -> Tail:
    found = [
        TailClass(10 + n, name.format(n), 1 + n, [0.1 * n + 0.2 * run for run in range(runs)])
        for n in range(classes)
    ]
    shown = [
        TailExample(
            one, PANEL, 7, PanelObject(one.name, (8, 8, 20, 10)),
            [(RIGHT, WRONG, NOTHING)[(place + run) % 3] for run in range(runs)],
        )
        for place, one in enumerate(found[:examples])
    ]  # fmt: skip
    return Tail([run.format(number) for number in range(runs)], found, shown)


def test_the_csv_has_every_class_and_run_and_what_is_shown_of_them():
    figure = tail_figure(make_tail())
    rows = read_csv(figure.csv)
    assert len(rows) == 6
    first, second = rows[:2]
    assert (first["class"], first["training_instances"], first["run"]) == ("owl 0", "1", "run 0")
    assert (second["AP"], second["image"], second["image_id"]) == ("20.0000", "one.png", "7")
    assert (first["answer"], first["score"], first["IoU"]) == ("owl", "0.5", "0.75")
    assert (second["answer"], second["answer_score"]) == ("a helmeted guinea fowl", "0.625")
    assert (second["score"], second["IoU"]) == ("0.25", "0.3")
    assert (rows[3]["answer"], rows[3]["score"]) == ("", "")  # nothing found
    assert rows[4]["image"] == ""  # not shown
    # The terminal shows a row for each run.
    assert [row["AP"] for row in figure.table.rows] == pytest.approx([0.1, 0.3])
    assert [row["right"] for row in figure.table.rows] == [1, 0]
    assert [row["some"] for row in figure.table.rows] == [2, 3]


def test_the_caption_says_how_rare_the_classes_are_and_how_objects_were_chosen():
    caption = tail_caption(make_tail())
    assert "The 3 rarest classes with ground truth (1 to 3 training instances)" in caption
    assert "largest annotated object" in caption
    assert "largest" not in tail_caption(make_tail(examples=0))
    assert "(1 training instances)" in tail_caption(make_tail(classes=1))


def _words(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("examples", [0, 3])
def test_every_picture_has_its_place_and_every_class_its_mark(examples):
    figure = compose_tail(make_tail(runs=3, classes=5, examples=examples, run="_{}"), scale=1)
    assert len(figure.axes) == 1 + 4 * examples
    assert all(axes.images for axes in figure.axes[1:])
    marks = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", None)]
    assert [len(line.get_ydata()) for line in marks] == [5, 5, 5]
    assert marks[1].get_ydata() == pytest.approx([20, 30, 40, 50, 60])
    # matplotlib by itself leaves out names that begin with an underscore.
    legend = [text.get_text().split(":")[0] for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["_0", "_1", "_2"]


@pytest.mark.parametrize("runs", range(1, MOST_RUNS + 1))
def test_letters_are_large_enough_for_print_and_none_is_cut_off(runs, check_letters):
    figure = compose_tail(make_tail(runs, classes=60, examples=6 if runs < 3 else 3), scale=1)
    check_letters(figure)
    words = _words(figure)
    assert "✓ score 0.50, IoU 0.75" in words
    assert any(word.startswith("✗ a helmeted") for word in words)
    assert "0.62; right: none" in words  # its own class is somewhere else
    assert "✗ nothing found" in words
    assert words.count("1 training instance") == 1
    assert "2 training instances" in words


def test_long_names_of_runs_and_classes_are_cut_to_the_room_they_have(check_letters):
    name = "an extraordinarily long name of $something$ that goes on and on and on and on"
    figure = compose_tail(make_tail(classes=1, examples=1, name=name, run="a" * 60), scale=1)
    check_letters(figure)
    assert any(word.endswith("…") and word.startswith("an extra") for word in _words(figure))
