"""`lst sweep` with classes that are added to a base, with a fake trainer and a fake evaluation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import InterruptionError, LstError
from lst_cli.evaluate.stored import load_metrics
from lst_cli.sweep import new_classes
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.store import Workspace
from tests.fixtures.sweeps import plain_name

PLAN = """
title = "Added"
[settings]
b = 3
phases = 1
preset = "lite"
[new-classes]
draws = 2
classes = 1
instances = [2, 9]
boxes = [2, 1]
[[run]]
name = "base"
kind = "lst"
[[run]]
name = "rows"
label = "mean rows"
kind = "extend"
rows = "mean-feature"
fitted = false
[[run]]
name = "tuned"
kind = "extend"
step.replay = "none"
[[run]]
name = "joint"
kind = "joint"
"""


@pytest.fixture
def cells(sweep: Any, fake_instant: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls `lst sweep` with a plan that adds two draws of a class."""
    sweep.plan.write_text(PLAN)
    fake_instant.new_rows = "mean-feature"
    sweep.learned = []

    def learning(rows: str, *, fitted: bool) -> Callable[..., Any]:
        sweep.learned.append((rows, fitted))
        return partial(fake_instant)

    monkeypatch.setattr(new_classes, "load_learning", learning)
    monkeypatch.setattr(new_classes, "evaluate_phase", sweep.evaluation)
    return sweep


def results(cells: Any) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (cells.root / "cells").iterdir())


def test_each_draw_is_added_in_each_way_to_one_base(cells):
    record = cells.json()
    # The base phase and its step; each draw finetuned; joint training with each number of boxes.
    assert [run[0] for run in cells.trainer.runs] == [0, 1, 2, 2, 0, 2, 2, 0]
    assert cells.learned == [("mean-feature", False)] * 4
    assert results(cells) == [
        f"{run}-draw{draw}-boxes{boxes}"
        for run in ("rows", "tuned")
        for draw in (0, 1)
        for boxes in (1, 2)
    ]
    rows = {(row["run"], row["boxes"]): row for row in record["rows"]}
    assert list(rows) == [(run, boxes) for boxes in (1, 2) for run in ("rows", "tuned", "joint")]
    row = rows["rows", 2]
    assert (row["label"], row["planned"], len(row["draws"])) == ("mean rows", 2, 2)
    assert row["numbers"]["new"]["mean"] == pytest.approx(0.25)
    assert row["numbers"]["old"]["mean"] == row["numbers"]["old_before"]["mean"]
    assert row["numbers"]["alarms"]["mean"] is None  # no image is known to be without a class
    draws = [one["classes"] for one in row["draws"]]
    assert [len(names) for names in draws] == [1, 1]
    assert draws[0] != draws[1]
    assert rows["tuned", 2]["numbers"]["images"]["mean"] > 0
    assert rows["joint", 1]["draws"][0]["seconds"] > 0
    assert cells.read("sweep.json") == record
    assert "| 1 | mean rows | 25.0 ± 0.0 |" in (cells.root / "sweep.md").read_text()
    assert (cells.root / "sweep.csv").read_text().startswith("boxes,run,draws,")


def test_a_benchmark_that_is_done_learns_nothing_again(cells):
    before = cells.json()
    trained = len(cells.trainer.runs)
    shutil.rmtree(cells.root / "base" / "bases")
    assert cells.json() == before
    assert len(cells.trainer.runs) == trained
    assert len(cells.learned) == 4
    # Other settings of a run are other cells.
    cells.edit('step.replay = "none"', 'step.replay = "all"')
    again = cells.json()
    assert len(cells.trainer.runs) == trained + 4
    assert [len(row["draws"]) for row in again["rows"]] == [2] * 6


def test_an_interrupted_cell_goes_on_where_it_stopped(cells):
    assert cells("--only rows").code == 0
    cells.trainer.stop_after = 1
    assert cells("--only tuned").code == 130
    [under_way] = [one for one in (cells.root / "cells").iterdir() if one.is_dir()]
    cells.evaluation.fails[plain_name(under_way)] = InterruptionError("interrupted", "lst eval")
    outcome = cells("--only tuned")
    assert outcome.hint == "run the same lst sweep again to continue"
    assert "phase 2 continued after iteration 1" in outcome.err
    record = cells.json("--only tuned")
    assert [(row["run"], len(row["draws"])) for row in record["rows"]] == [
        ("rows", 2), ("tuned", 2), ("rows", 2), ("tuned", 2),
    ]  # fmt: skip
    assert not under_way.exists()


def test_rows_that_are_measured_stay_in_the_table_of_another_run(cells):
    trained = [row["run"] for row in cells.json("--only joint")["rows"]]
    assert trained == ["joint", "joint"]
    runs = len(cells.trainer.runs)
    assert len(cells.json("--only rows --dry-run")["sweeps"]) == 1  # the base
    record = cells.json("--only rows")
    assert [row["run"] for row in record["rows"]] == ["rows", "joint"] * 2
    assert len(cells.trainer.runs) == runs


def test_a_cell_that_fails_does_not_stop_the_others(cells, monkeypatch):
    measure, seen = new_classes._measure, []

    def fail_once(*given: Any) -> Any:
        seen.append(given)
        if len(seen) == 1:
            raise LstError("it broke", "another way")
        if len(seen) == 2:
            raise ValueError("what nobody thought of")
        return measure(*given)

    monkeypatch.setattr(new_classes, "_measure", fail_once)
    outcome = cells("--only rows --only tuned")
    assert outcome.code == 1
    assert "error: rows, draw 0, 2 boxes: it broke" in outcome.err
    assert "ValueError: what nobody thought of" in outcome.err
    assert len(cells.read("sweep.json")["failed"]) == 2
    assert "## What failed" in (cells.root / "sweep.md").read_text()
    assert cells.json("--only rows --only tuned")["failed"] == []


def test_a_base_that_fails_ends_it(cells):
    cells.trainer.fail_in_prepare = LstError("diverged", "lst status")
    assert "the base failed: diverged" in cells("--only rows").error


def test_false_alarms_are_counted_in_images_without_the_class(cells, small_lvis):
    val = small_lvis.val
    for image in val["images"]:
        shown = {one["category_id"] for one in val["annotations"] if one["image_id"] == image["id"]}
        image["neg_category_ids"] = sorted({one["id"] for one in val["categories"]} - shown)
    small_lvis.val_json.write_text(json.dumps(val))
    assert cells("--only rows").code == 0
    [base] = (cells.root / "base").glob("base-seed0-*")
    workspace = Workspace(base)
    category = workspace.split.class_order[0]
    absent = [one["id"] for one in val["images"] if category in one["neg_category_ids"]]
    shown = {one["image_id"] for one in val["annotations"] if one["category_id"] == category}
    found = [
        {"image_id": image, "category_id": category, "score": score}
        for image, score in ((absent[0], 0.5), (absent[0], 0.6), (absent[0], 0.49))
    ] + [{"image_id": min(shown), "category_id": category, "score": 0.9}]
    write_text(workspace.phase(1).detections, json.dumps(found))
    metrics = load_metrics(workspace, 1)
    assert metrics is not None
    rates = new_classes._alarm_rates(workspace, metrics)
    assert rates[category] == pytest.approx(100 * 2 / len(absent))
    assert sum(rates.values()) == rates[category]


def test_a_dry_run_counts_the_cells_and_writes_nothing(cells, tmp_path: Path):
    found = cells.json("--dry-run")
    assert found["cells"] == {"planned": 8, "done": 0}
    assert [len(one["jobs"]) for one in found["sweeps"]] == [2, 1, 1]
    assert len(found["draws"]) == 2
    assert not cells.root.exists()
    assert cells("--only rows").code == 0
    outcome = cells("--dry-run")
    assert "4 of 8 cells of runs of kind extend are done" in outcome.err
    assert "nothing was trained" in outcome.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[new-classes]", "[new_classes]", "unknown key 'new_classes'; did you mean new-classes?"),
        ("boxes = [2, 1]", "boxes = []", "[new-classes]: boxes: Tuple should have at least 1 item"),
        ("instances = [2, 9]", "instances = [90, 99]", "2 classes with 90 to 99 instances"),
        ('kind = "lst"', 'kind = "joint"', "runs of kind extend need one run of kind lst"),
        ('kind = "joint"', 'kind = "joint"\nrows = "generated"', "rows is for runs of kind extend"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(cells, old, new, message):
    cells.edit(old, new)
    assert message in " ".join(cells().error.split())


def test_one_seed_is_enough(cells):
    assert "takes one seed" in cells("--seed 0 --seed 1").error
    assert "--only row: no such run; did you mean rows?" in cells("--only row").error
