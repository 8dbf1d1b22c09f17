"""`lst figure`, with phases that a trainer without torch has made."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from lst_cli.errors import LstError
from lst_cli.figures import figures
from lst_cli.report import report
from lst_cli.workspace.store import Workspace
from tests.fixtures.reports import read_csv

ROWS = [[0.5, 0.3, 0.1, 0.1, 0.0], [0.0, 0.0, 0.2, 0.2, 0.6]]


@pytest.fixture
def trained(runs):
    """Base, phases 1 and 2 of two classes each; the base has five."""
    return runs.train("run")


def save(workspace: Workspace, phase: int, rows: Any) -> Path:
    path = workspace.phase(phase).attention
    np.save(path, np.array(rows, dtype=np.float32))
    return path


def test_only_the_figure_and_its_numbers_are_written_and_its_path_is_printed(lst, trained):
    save(trained, 1, ROWS)
    outcome = lst("figure", "attention", "-w", trained.root).ok()
    folder = trained.layout.report / "figures"
    assert outcome.out.splitlines()[-1] == str(folder / "attention.png")
    names = sorted(path.name for path in trained.layout.report.rglob("*") if path.is_file())
    assert names == ["attention.csv", "attention.pdf", "attention.png"]
    assert (folder / "attention.pdf").read_bytes().startswith(b"%PDF")
    rows = read_csv(folder / "attention.csv")
    # Class order: 7, 9, 4, 2, 5 are the base, 11 and 6 phase 1.
    assert [row["class"] for row in rows] == ["class 11", "class 6"]
    assert [rows[1][key] for key in ("base_1", "m_1", "base_2")] == ["class 5", "0.6", "class 4"]
    assert "What the classes of phase 1 attend to" in outcome.out
    assert "class 7" in outcome.out
    assert "Principal components" in outcome.err


def test_the_newest_phase_with_attention_is_shown(lst, trained):
    save(trained, 1, ROWS)
    save(trained, 2, ROWS[::-1])
    words = ("figure", "attention", "attention", "--json")
    outcome = lst(*words, "-w", trained.root).ok()
    found = outcome.json["attention"]
    assert found["phase"] == 2
    assert [one["class"] for one in found["classes"]] == ["class 1", "class 10"]
    assert found["classes"][0]["top"][0] == {"class": "class 5", "m": pytest.approx(0.6)}
    assert not trained.layout.report.exists()


def test_if_one_figure_cannot_be_drawn_none_is_written(lst, trained, monkeypatch):
    save(trained, 1, ROWS)
    outcomes = [b"png", b"pdf", LstError("no room for the second", "free some")]
    monkeypatch.setattr(figures, "render", Mock(side_effect=outcomes))
    outcome = lst("figure", "attention", "balance", "-w", trained.root)
    assert outcome.error == "error: no room for the second"
    assert not trained.layout.report.exists()


def test_without_a_generator_the_user_hears_how_to_train_one(lst, trained):
    outcome = lst("figure", "attention", "-w", trained.root)
    assert outcome.error == "error: no phase was trained with the meta weight generator"
    assert outcome.hint == f"lst step -w {trained.root} --mwg"


def test_attention_of_other_classes_is_refused(lst, trained):
    path = save(trained, 1, ROWS[:1])
    outcome = lst("figure", "attention", "-w", trained.root)
    assert f"{path}: no attention of phase 1: its shape is (1, 5)" in outcome.error
    assert f"put the file back from a copy, or move {path} elsewhere" in outcome.hint


@pytest.mark.parametrize(
    ("attended", "missing", "noted"),
    [(False, True, False), (True, True, True), (True, False, False)],
)
def test_a_report_without_scikit_learn_says_what_is_missing_only_where_it_is(
    trained, monkeypatch, attended, missing, noted
):
    if attended:
        save(trained, 1, ROWS)
    metrics = SimpleNamespace(phase=0, annotations_sha256="", made_with={}, calibration=None)
    monkeypatch.setattr(report, "load_all_metrics", lambda workspace, phases: [metrics])
    for name in ("_panels", "_balance"):
        monkeypatch.setattr(report, name, lambda *_: [])
    monkeypatch.setattr(report, "can_lay_out", lambda attention: not missing)
    data = report.gather(trained)
    assert any("pip install scikit-learn" in note for note in data.notes) == noted
    assert (data.attention is not None) == (attended and not missing)


def test_the_report_holds_what_instant_evaluations_found(lst, runs):
    run = runs.train("run")
    runs.evaluate(run, 0.25, phases=(1,))
    rows = {"generated": runs.record(run, 1, {11: 0.125})}
    run.phase(1).instant.write_text(json.dumps({"format": 1, "phase": 1, "rows": rows}))
    outcome = lst("report", "--json", "-w", run.root).ok()
    [row] = outcome.json["instant"]
    assert (row["phase"], row["generated"], row["random"], row["trained"]) == (1, 0.125, None, 0.25)
    assert [one["new_rows"] for one in outcome.json["phases"]] == [None, "random", "random"]
    run.phase(1).instant.write_text("{")
    outcome = lst("report", "--json", "-w", run.root)
    assert "instant.json: " in outcome.error
    assert outcome.hint == f"lst eval -w {run.root} --instant --phase 1"
