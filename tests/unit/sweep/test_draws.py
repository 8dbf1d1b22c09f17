from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.settings.models import Settings
from lst_cli.sweep.draws import draw_files
from lst_cli.sweep.new_classes import Cell
from lst_cli.sweep.plan import Draws, PlannedRun
from lst_cli.workspace.store import Workspace

COUNTS = {1: 9, 2: 5, 3: 4, 4: 4, 5: 4, 6: 2}  # instances of each class
DRAWS = Draws(draws=2, classes=2, instances=(4, 5), boxes=(3, 1))


@pytest.fixture
def document() -> dict[str, Any]:
    """Six classes in ten images; each object of a class is in another image."""
    annotations = [
        {"id": 10 * category + place, "category_id": category, "image_id": 100 + place}
        for category, count in COUNTS.items()
        for place in range(count)
    ]
    image = {"neg_category_ids": [1, 2], "not_exhaustive_category_ids": [3]}
    return {
        "images": [{"id": 100 + place, **image} for place in range(10)],
        "categories": [{"id": one, "name": f"class {one}"} for one in COUNTS],
        "annotations": annotations,
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def classes_in(found: Any) -> dict[int, int]:
    return dict(Counter(one["category_id"] for one in found["annotations"]))


def test_the_base_has_no_image_of_a_class_that_is_left_out(document, tmp_path):
    files = draw_files(document, DRAWS, tmp_path)
    drawn = {one for group in files.category_ids for one in group}
    assert drawn == {2, 3, 4, 5}
    assert [[f"class {one}" for one in group] for group in files.category_ids] == [
        list(names) for names in files.names
    ]
    base = read(files.base)
    assert classes_in(base) == {1: 4}
    assert [one["id"] for one in base["images"]] == [105, 106, 107, 108, 109]
    assert base["images"][0]["neg_category_ids"] == [1]
    assert base["images"][0]["not_exhaustive_category_ids"] == []
    assert base["categories"] == document["categories"]


def test_few_boxes_are_of_the_drawn_classes_and_all_others_are_annotated_too(document, tmp_path):
    files = draw_files(document, DRAWS, tmp_path)
    for draw, group in enumerate(files.category_ids):
        more, fewer = (read(files.few(draw, boxes)) for boxes in (3, 1))
        found = classes_in(more)
        assert {one: count for one, count in found.items() if one in (2, 3, 4, 5)} == {
            group[0]: 3,
            group[1]: 3,
        }
        assert found[1] == len(more["images"])
        ids = [{one["id"] for one in few["annotations"]} for few in (more, fewer)]
        assert ids[0] > ids[1]
        assert all(classes_in(fewer)[one] == 1 for one in group)


def test_joint_training_has_the_base_and_the_boxes_of_all_draws(document, tmp_path):
    files = draw_files(document, DRAWS, tmp_path)
    joint = read(files.joint(3))
    found = classes_in(joint)
    assert [found[one] for one in (2, 3, 4, 5)] == [3, 3, 3, 3]
    for key in ("images", "annotations"):
        ids = [one["id"] for one in joint[key]]
        assert len(set(ids)) == len(ids)


def test_the_same_files_are_drawn_again_and_not_written(document, tmp_path):
    files = draw_files(document, DRAWS, tmp_path)
    before = files.base.stat().st_mtime_ns
    assert draw_files(document, DRAWS, tmp_path) == files
    assert files.base.stat().st_mtime_ns == before


def test_runs_whose_names_have_dots_have_results_of_their_own(tmp_path):
    names = {
        Cell(run, Settings(), 0, 1, tmp_path, (), Workspace(tmp_path / f"{run.name}-draw0")).result
        for run in (PlannedRun(name=f"a.{letter}", kind="extend") for letter in "bc")
    }
    assert names == {tmp_path / "a.b-draw0.json", tmp_path / "a.c-draw0.json"}


def test_too_few_classes_are_refused(document, tmp_path):
    draws = Draws(draws=2, classes=3, instances=(4, 5), boxes=(1,))
    with pytest.raises(LstError, match=r"^6 classes with 4 to 5 instances .* have 4$"):
        draw_files(document, draws, tmp_path / "none")
    assert not (tmp_path / "none").exists()
