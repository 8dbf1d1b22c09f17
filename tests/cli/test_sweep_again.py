"""The same `lst sweep` again: with more seeds, other settings, directories of earlier versions."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from lst_cli.errors import LstError
from tests.fixtures.sweeps import plain_name


@pytest.fixture
def open_seeds(sweep):
    """The sweep with a plan that leaves the seeds of phase-by-phase runs to the command line."""
    sweep.edit("seeds = [0, 1]\n", "")
    return sweep


def test_seeds_that_are_added_later_stand_beside_the_first_and_those_of_a_twin_too(open_seeds):
    open_seeds.plan.write_text(
        f'{open_seeds.plan.read_text()}[[run]]\nname = "twin"\nkind = "lst"\n'
    )
    for seed in (2, 0):
        assert open_seeds(f"--seed {seed} --only lst").code == 0
    trained = len(open_seeds.trainer.runs)
    record = open_seeds.json("--seed 0 --only lst")
    runs = {run["name"]: run for run in record["runs"]}
    assert record["left_out"] == []
    assert len(open_seeds.trainer.runs) == trained
    for name in ("lst", "twin"):
        assert [one["seed"] for one in runs[name]["seeds"]] == [0, 2]
    assert runs["lst"]["planned"] == 2
    assert runs["twin"]["numbers"] == runs["lst"]["numbers"]
    assert runs["twin"]["same_as"] == "lst"
    with (open_seeds.root / "sweep-seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["seed"], row["AP"]) for row in rows[:2]] == [
        ("lst", "0", "25.0000"), ("lst", "2", "45.0000"),
    ]  # fmt: skip
    assert {row["image passes"] for row in rows} == {str(runs["lst"]["seeds"][0]["image_passes"])}


def test_seeds_of_other_settings_are_not_mixed_and_come_back_with_their_settings(open_seeds):
    before = open_seeds.json("--only lst")
    kept = open_seeds.workspace("lst-seed0").root.name
    outcome = open_seeds("--only lst --seed 4 --set step.lr=0.5 --json")
    seeds = [one["seed"] for run in outcome.json["runs"] for one in run["seeds"]]
    assert seeds == [4]
    assert outcome.json["left_out"] == [kept]
    assert outcome.err.index(f"settings or data: {kept}") < outcome.err.index("begun")
    assert open_seeds.done_by("--only lst") == (0, [])
    after = open_seeds.read("sweep.json")
    assert {**after, "left_out": []} == before
    assert len(after["left_out"]) == 1


def test_a_seed_of_another_time_that_is_unfinished_is_named_and_not_in_the_table(open_seeds):
    open_seeds.evaluation.fails["lst-seed3"] = LstError("no")
    open_seeds("--seed 3 --only lst")
    (open_seeds.root / "lst-seed99999999999").mkdir()  # is nobody's
    outcome = open_seeds("--seed 0 --only lst --json")
    assert [[one["seed"] for one in run["seeds"]] for run in outcome.json["runs"]] == [[], [0], []]
    (name,) = outcome.json["left_out"]
    assert re.fullmatch("lst-seed3-[0-9a-f]{8}", name)
    told = f"Not in the table, as they are unfinished or of another plan, settings or data: {name}"
    assert told in outcome.err
    assert told in (open_seeds.root / "sweep.md").read_text()
    assert told in open_seeds("--seed 0 --dry-run").err


def test_other_annotations_make_another_workspace(sweep, small_lvis):
    before = {job["workspace"] for job in sweep.jobs().values()}
    small_lvis.train["annotations"][0]["bbox"][2] -= 0.25
    small_lvis.save()
    after = {job["workspace"] for job in sweep.jobs().values()}
    assert len(before) == len(after)
    assert not before & after


# --- directories of earlier versions -------------------------------------------------------------


def make_as_an_earlier_version_did(root: Path, digest: str = "") -> None:
    """Rename what a sweep trained: another digest of runs, or none, and of base phases."""
    for one in root.glob("*-seed*"):
        one.rename(root / f"{plain_name(one)}{digest}")
    for one in (root / "bases").iterdir():
        one.rename(root / "bases" / f"00000000-{one.name.rsplit('-', 1)[1]}")


@pytest.mark.parametrize("digest", ["", "-00000000"])
def test_directories_that_an_earlier_version_made_are_used(sweep, digest):
    sweep.evaluation.fails["mwg-seed0"] = KeyboardInterrupt()
    assert sweep().code == 130
    make_as_an_earlier_version_did(sweep.root, digest)
    outcome = sweep("--json").ok()
    # Joint training, one base phase for each seed, and two phases three times.
    assert len(sweep.trainer.runs) == 1 + 2 + 6
    assert "joint-seed0: done before" in outcome.err
    assert [len(run["seeds"]) for run in outcome.json["runs"]] == [1, 2, 1]
    assert outcome.json["left_out"] == []
    assert sweep.done_by("") == (0, [])


def test_a_directory_of_an_earlier_version_and_other_settings_is_named_and_left_alone(sweep):
    sweep("--seed 0 --only lst")
    make_as_an_earlier_version_did(sweep.root)
    files = {path: path.read_bytes() for path in (sweep.root / "lst-seed0").rglob("*.json")}
    record = sweep.json("--seed 0 --only lst --set base.lr=0.5")
    assert record["left_out"] == ["lst-seed0"]
    assert len(sweep.trainer.runs) == 2 * 3
    assert files == {path: path.read_bytes() for path in files}
    # Of a base phase alone nobody knows whose it is.
    for phase in ("01", "02"):
        shutil.rmtree(sweep.root / "lst-seed0" / "phases" / phase)
    assert sweep.json("--seed 0 --only lst --set step.lr=0.5")["left_out"][0] == "lst-seed0"


# --- what has to be done again -------------------------------------------------------------------


def test_only_what_a_change_touches_is_done_again(sweep, tmp_path):
    sweep()
    moved = f"--set eval.detections=7 --only lst --device cpu --images {tmp_path}"
    for words, trained, evaluated in (
        ("--device cpu --set step.save_every=7", 0, []),
        (moved, 0, [("lst-seed0", 2), ("lst-seed1", 2)]),
        ("--only joint --set step.lr=0.5", 0, []),
        ("--only joint --set mwg.bank_size=2", 0, []),
        ("--only mwg --set mwg.bank_size=2", 2, [("mwg-seed0", 2)]),
    ):
        assert sweep.done_by(words) == (trained, evaluated), words
    workspace = sweep.workspace("lst-seed0")
    assert workspace.settings().device == "cpu"
    assert str(tmp_path) in workspace.split.image_dirs


def test_all_phases_can_be_evaluated_and_a_shared_one_is_once_for_the_same_settings(sweep):
    sweep.edit('title = "Few runs"', 'evaluate = "all"')
    _, evaluated = sweep.done_by("--seed 0")
    assert [call for call in evaluated if call[1] == 0] == [("joint-seed0", 0), ("lst-seed0", 0)]
    sweep.edit("step.mwg = true", "step.mwg = true\neval.detections = 400")
    _, evaluated = sweep.done_by("--seed 0 --only mwg")
    assert evaluated == [("mwg-seed0", phase) for phase in range(3)]
    sweep.edit("\neval.detections = 400", "")
    assert sweep("--seed 0 --set eval.detections=700").code == 0
    for run in ("lst-seed0", "mwg-seed0"):
        for phase in range(3):
            metrics = sweep.workspace(run).phase(phase).metrics
            assert json.loads(metrics.read_text())["segm"]["AP"] == pytest.approx(0.65)


def test_what_was_evaluated_by_hand_in_another_way_is_evaluated_again(sweep):
    words = "--only lst --seed 0"
    before = sweep.json(words)
    workspace = sweep.workspace("lst-seed0")
    for word in ("eval.detections=7", "eval.bins==1, >=2", "eval.score_threshold=0.5"):
        sweep.evaluation(workspace, 2, workspace.settings([word]), progress=None)
        assert [job["state"] for job in sweep.jobs(words).values()] == ["done", "to be evaluated"]
        assert sweep.done_by(words) == (0, [("lst-seed0", 2)])
        assert sweep.read("sweep.json") == before
