from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lst_cli.display.objects import Panel, PanelObject
from lst_cli.figures.tail import compose_tail, tail_caption, tail_figure
from lst_cli.figures.tail_data import MOST_RUNS, Answer, Match, Tail, TailClass, TailExample


def _match(label: str, score: float, iou: float) -> Match:
    return Match(PanelObject(label, (8, 8, 20, 10), None, score), iou)


RIGHT = Answer(_match("owl", 0.5, 0.75), _match("owl", 0.5, 0.75), right=True)
WRONG = Answer(_match("a helmeted guinea fowl", 0.625, 0.8), _match("owl", 0.25, 0.3), right=False)
NOTHING = Answer(None, None, right=False)


@pytest.fixture
def make_tail(tmp_path: Path) -> Callable[..., Tail]:
    path = tmp_path / "one.png"
    Image.fromarray(np.full((30, 48, 3), 90, dtype=np.uint8)).save(path)

    def make(
        runs: int = 2,
        classes: int = 3,
        examples: int = 2,
        name: str = "owl {}",
        run: str = "run {}",
    ) -> Tail:
        found = [
            TailClass(10 + n, name.format(n), 1 + n, [0.1 * n + 0.2 * run for run in range(runs)])
            for n in range(classes)
        ]
        shown = [
            TailExample(
                one, Panel(path, path.name), 7, PanelObject(one.name, (8, 8, 20, 10)),
                [(RIGHT, WRONG, NOTHING)[(place + run) % 3] for run in range(runs)],
            )
            for place, one in enumerate(found[:examples])
        ]  # fmt: skip
        return Tail([run.format(number) for number in range(runs)], found, shown)

    return make


def test_the_csv_has_every_class_and_run_and_what_is_shown_of_them(make_tail):
    figure = tail_figure(make_tail())
    rows = list(csv.DictReader(io.StringIO(figure.csv)))
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


def test_the_caption_says_how_rare_the_classes_are_and_how_objects_were_chosen(make_tail):
    caption = tail_caption(make_tail())
    assert "The 3 rarest classes with ground truth (1 to 3 training instances)" in caption
    assert "largest annotated object" in caption
    assert "largest" not in tail_caption(make_tail(examples=0))
    assert "(1 training instances)" in tail_caption(make_tail(classes=1))


def _words(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_an_answer_is_told_with_class_and_scores(make_tail):
    words = _words(compose_tail(make_tail(), scale=1))
    assert "✓ score 0.50, IoU 0.75" in words
    assert any(word.startswith("✗ a helmeted") for word in words)
    assert "0.62; right: none" in words  # its own class is somewhere else
    assert "✗ nothing found" in words
    assert words.count("1 training instance") == 1
    assert "2 training instances" in words


@pytest.mark.parametrize("examples", [0, 3])
def test_every_picture_has_its_place_and_every_class_its_mark(make_tail, examples):
    figure = compose_tail(make_tail(runs=3, classes=5, examples=examples), scale=1)
    assert len(figure.axes) == 1 + 4 * examples
    assert all(axes.images for axes in figure.axes[1:])
    marks = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", None)]
    assert [len(line.get_ydata()) for line in marks] == [5, 5, 5]
    assert marks[1].get_ydata() == pytest.approx([20, 30, 40, 50, 60])


@pytest.mark.parametrize("runs", range(1, MOST_RUNS + 1))
def test_letters_are_large_enough_for_print_and_none_is_cut_off(make_tail, runs, check_letters):
    tail = make_tail(runs=runs, classes=60, examples=6 if runs < 3 else 3)
    check_letters(compose_tail(tail, scale=1))


def test_long_names_of_runs_and_classes_are_cut_to_the_room_they_have(make_tail, check_letters):
    name = "an extraordinarily long name of $something$ that goes on and on and on and on"
    figure = compose_tail(make_tail(classes=1, examples=1, name=name, run="a" * 60), scale=1)
    check_letters(figure)
    assert any(word.endswith("…") and word.startswith("an extra") for word in _words(figure))


def test_a_run_whose_name_begins_with_an_underscore_is_in_the_legend(make_tail):
    legend = compose_tail(make_tail(run="_{}"), scale=1).axes[0].get_legend()
    assert [text.get_text().split(":")[0] for text in legend.get_texts()] == ["_0", "_1"]
