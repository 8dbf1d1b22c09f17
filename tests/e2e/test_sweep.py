"""A sweep with real networks: what is shared, and the table over it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine

PLAN = """
title = "A tiny table"
evaluate = "all"

[settings]
b = 3
phases = 2

[[run]]
name = "repeat-factor"
kind = "joint"
row = "repeat-factor"
budget-of = "lst"
base.repeat_threshold = 0.5

[[run]]
name = "lst"
kind = "lst"
seeds = [0, 1]

[[run]]
name = "lst-mwg"
kind = "lst"
step.mwg = true

[[run]]
name = "one-phase"
kind = "lst"
phases = 1
"""


@pytest.fixture
def words(tiny, tmp_path):
    """What follows `lst`, for runs of two or three iterations a phase, one of two seeds."""
    plan = tmp_path / "tiny-table.toml"
    plan.write_text(PLAN)
    all_words = tiny.split_words(tmp_path)
    settings = all_words[all_words.index("--set") :]
    for more in ("base.image_passes=4", "base.decay_epochs=[]", "step.image_passes=6"):
        settings += ["--set", more]
    data = ["--train", tiny.train_json, "--val", tiny.val_json, "--images", tiny.images]
    return ["sweep", plan, "--dir", tmp_path / "sweep", *data, *settings]


def workspace_of(root: Path, run: str, seed: int = 0) -> Workspace:
    (found,) = root.glob(f"{run}-seed{seed}-????????")
    return Workspace(found)


def test_runs_of_a_sweep_share_base_phases_and_end_in_a_table(words, run, tmp_path):
    root = tmp_path / "sweep"
    outcome = run(*words, "--json").ok()

    # One base phase for both phase sizes, with the generator and without; one for each seed.
    assert len(list((root / "bases").iterdir())) == 2
    runs = (("lst", 0), ("lst-mwg", 0), ("one-phase", 0), ("lst", 1))
    workspaces = [workspace_of(root, *run) for run in runs]
    models = [one.phase(0).model.read_bytes() for one in workspaces]
    assert models[0] == models[1] == models[2] != models[3]
    assert workspaces[2].require_done(0).shared_from is not None
    evaluations = [one.phase(0).metrics for one in workspaces[:2]]
    assert evaluations[0].read_bytes() == evaluations[1].read_bytes()

    record = outcome.json
    assert record == json.loads((root / "sweep.json").read_text())
    assert [(one["name"], len(one["seeds"])) for one in record["runs"]] == [
        ("repeat-factor", 1), ("lst", 2), ("lst-mwg", 1), ("one-phase", 1),
    ]  # fmt: skip
    rows = {one["name"]: one for one in record["runs"]}
    passes = rows["repeat-factor"]["numbers"]["image passes"]["mean"]
    assert passes == rows["lst"]["numbers"]["image passes"]["mean"]
    assert "step.mwg" in [one["key"] for one in rows["lst-mwg"]["differs"]]
    assert rows["one-phase"]["differs_from"] == "lst"
    assert (root / "sweep.md").read_text().startswith("# A tiny table")


def test_a_base_phase_does_not_depend_on_later_phases(tiny, run, base_folder, tmp_path):
    # What makes it right to share one between splits that differ after it.
    split = [str(word) for word in tiny.split_words(tmp_path)]
    split[split.index("--phases") + 1] = "3"
    for words in (split, ["train-base", "-w", tmp_path]):
        run(*words).ok()
    models = [Workspace(root).phase(0).model.read_bytes() for root in (base_folder, tmp_path)]
    assert models[0] == models[1]
