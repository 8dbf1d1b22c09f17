"""`lst sweep` as a user calls it, once and again: what is trained, told, written and refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from lst_cli.errors import InterruptionError, LstError
from lst_cli.sweep.plan import read_plan, shipped_plans
from lst_cli.workspace.store import Workspace
from tests.fixtures.reports import read_csv
from tests.fixtures.sweeps import plain_name


def test_a_sweep_trains_what_is_shared_once_and_ends_in_a_table(sweep):
    outcome = sweep().ok()
    # Joint training, then the base phase and two phases twice, then all again for the second seed.
    assert [run[0] for run in sweep.trainer.runs] == [0, 0, 1, 2, 1, 2, 0, 1, 2]
    assert sweep.evaluation.calls == [("joint-seed0", 0), ("lst-seed0", 2), ("mwg-seed0", 2),
                                      ("lst-seed1", 2)]  # fmt: skip
    assert "the base phase of lst-seed0, mwg-seed0" in outcome.err
    assert "lst-seed0: AP 25.0, " in outcome.err
    assert "30.0 ± 7.1" in outcome.out
    assert "with MWG differs from lst: step.mwg false -> true" in outcome.err
    assert all((sweep.root / f"sweep.{kind}").exists() for kind in ("md", "csv", "json"))
    passes = [
        sum(workspace.require_done(phase).image_passes for phase in workspace.done_phases())
        for workspace in map(sweep.workspace, ("joint-seed0", "lst-seed0"))
    ]
    assert passes[0] == passes[1]
    assert sweep.workspace("mwg-seed0").settings().step.mwg


def test_a_sweep_that_is_done_prints_its_table_again_even_without_base_phases(sweep):
    before = sweep.json()
    done = len(sweep.trainer.runs), len(sweep.evaluation.calls)
    shutil.rmtree(sweep.root / "bases")
    left = sweep.jobs().values()
    assert {(job["state"], job["seconds_left"]) for job in left} == {("done", 0.0)}
    again = sweep("--json")
    assert again.json == before
    assert (len(sweep.trainer.runs), len(sweep.evaluation.calls)) == done
    assert "lst-seed1: done before" in again.err


def test_an_interrupted_sweep_goes_on_where_it_stopped(sweep):
    sweep.trainer.stop_after = 3
    assert sweep().code == 130
    sweep.evaluation.fails["lst-seed0"] = InterruptionError("interrupted", "lst eval")
    outcome = sweep()
    assert (outcome.code, outcome.error) == (1, "error: interrupted")
    assert outcome.hint == "run the same lst sweep again to continue"
    assert "joint training continued after iteration 3" in outcome.err
    outcome = sweep().ok()
    assert "phase 1 begun" in outcome.err, "of the run with MWG"
    begun = [run[:2] for run in sweep.trainer.runs][:5]
    assert begun == [(0, 0), (0, 3), (0, 0), (1, 0), (2, 0)]


def test_a_run_that_fails_does_not_stop_the_others(sweep):
    sweep.evaluation.fails = {
        "joint-seed0": LstError("it broke", "mend it"),
        "lst-seed0": ValueError("what nobody thought of"),
    }
    outcome = sweep()
    assert outcome.code == 1
    lines = outcome.err.splitlines()
    assert "error: joint-seed0: it broke" in lines
    assert "  try: mend it" in lines
    assert "error: lst-seed0: ValueError: what nobody thought of" in lines
    traceback = sweep.workspace("lst-seed0").root / "error.txt"
    assert "Traceback" in traceback.read_text()
    assert "Traceback" not in outcome.err
    record = sweep.read("sweep.json")
    assert [one["name"] for one in record["failed"]] == ["joint-seed0", "lst-seed0"]
    assert [len(one["seeds"]) for one in record["runs"]] == [0, 1, 1]
    assert sweep().code == 0
    assert not traceback.exists()


def test_runs_of_a_base_phase_that_failed_are_not_trained(sweep):
    sweep.trainer.fail_in_prepare = LstError("diverged", "start the phase again with --restart")
    outcome = sweep("--only lst --seed 0")
    assert outcome.code == 1
    assert "diverged" in outcome.err
    assert "try: change the settings of the run in few.toml" in outcome.err
    assert "lst-seed0: its base phase, base-" in outcome.err


CHAIN = """[[run]]
name = "tuned"
kind = "joint"
weights-of = "lst"
share-of-base = 0.1
seeds = [0]
[[run]]
name = "mwg"
"""


def test_a_run_starts_from_the_model_of_another_and_is_not_trained_where_that_failed(sweep):
    sweep.edit('[[run]]\nname = "mwg"\n', CHAIN)
    sweep.trainer.fail_in_prepare = LstError("diverged", "try again")
    outcome = sweep("--only tuned")
    assert "tuned-seed0: what it goes on from, lst-seed0, failed" in outcome.err
    sweep("--only tuned").ok()
    models = [weights for _, _, weights in sweep.trainer.runs]
    lst = sweep.workspace("lst-seed0")
    assert models == [None, None, None, str(lst.phase(2).model)]
    record = {run["name"]: run for run in sweep.read("sweep.json")["runs"]}
    before, after = (record[name]["seeds"][0] for name in ("lst", "tuned"))
    own = sweep.workspace("tuned-seed0").require_done(0)
    assert after["image_passes"] == before["image_passes"] + own.image_passes
    assert after["seconds"] == before["seconds"] + own.seconds
    assert sweep.done_by("--only tuned") == (0, [])


@pytest.mark.parametrize("name", sorted(set(shipped_plans()) - {"extend"}))
def test_every_shipped_plan_fits_a_set_of_classes(name, lst, small_lvis):
    words = ["--train", small_lvis.train_json, "--val", small_lvis.val_json, "--b", 4]
    outcome = lst("sweep", name, *words, "--phases", 1, "--preset", "lite", "--dry-run", "--json")
    runs = {run.name: run for run in read_plan(name).runs}
    jobs = [job for job in outcome.ok().json["jobs"] if job["run"]]
    made = {job["run"] for job in jobs}
    assert made <= runs.keys()
    assert len({run.title for run in runs.values()}) == len(runs)
    for job in jobs:
        assert len(runs[job["run"]].title) <= 45, "a label has room in a terminal"


def test_methods_of_the_plan_of_successors_show_as_many_images(lst, small_lvis):
    words = ["--train", small_lvis.train_json, "--val", small_lvis.val_json, "--preset", "lite"]
    words += ["--set", "base.image_passes=800", "--dry-run", "--json"]
    jobs = lst("sweep", "successors", *words).ok().json["jobs"]
    shown = {job["run"]: job["image_passes"] for job in jobs if job["run"]}
    methods = {"lst", "repeat-factor", "seesaw", "step-wise", "simltd"}
    assert {shown[name + end] for name in methods for end in ("", "-paste")} == {960}
    assert [shown[name] for name in ("step-wise-1", "step-wise-2", "simltd-2")] == [800, 880, 880]


def test_a_dry_run_counts_and_writes_nothing(sweep):
    outcome = sweep("--dry-run").ok()
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert "5 + 3 + 3" in rows["lst-seed0"]
    assert rows["lst-seed0"].count("to be done") == 1
    assert "mwg differs from lst: step.mwg false -> true" in outcome.err
    jobs = sweep.jobs()
    assert jobs["joint-seed0"]["image_passes"] == jobs["lst-seed0"]["image_passes"]
    assert jobs["mwg-seed0"]["shares_base_of"] == jobs["lst-seed0"]["shares_base_of"]
    assert not sweep.root.exists()


def test_without_a_directory_images_are_looked_for_in_the_current_one(
    lst, sweep, small_lvis, monkeypatch
):
    monkeypatch.chdir(small_lvis.images)
    at = sweep.words.index("--images")
    outcome = lst(*sweep.words[:at], *sweep.words[at + 2 :], "--dry-run").ok()
    assert "not found" not in outcome.err


def test_a_dry_run_tells_what_is_left(sweep):
    sweep("--only lst")
    record = sweep.json("--dry-run")
    states = {job["name"]: (job["state"], job["seconds_left"] > 0) for job in record["jobs"]}
    assert states["lst-seed1"] == ("done", False)
    assert states["mwg-seed0"] == ("to be done", True)
    assert record["seconds_from"] == "the rate of what is finished here"


def test_a_dry_run_leaves_out_what_is_done_of_a_phase_under_way(sweep):
    (whole,) = sweep.jobs("--only joint").values()
    sweep.trainer.stop_after = 5
    sweep("--only joint")
    (left,) = sweep.jobs("--only joint").values()
    share = 1 - 5 / whole["phases"][0]["iterations"]
    assert left["seconds_left"] == pytest.approx(whole["seconds_left"] * share)


def test_a_base_that_runs_share_counts_once_in_the_rate(open_seeds):
    open_seeds.edit('row = "repeat-factor"', 'row = "repeat-factor"\nbase.batch_size = 4')
    open_seeds("--seed 0").ok()
    [base] = map(Workspace, (open_seeds.root / "bases").iterdir())
    done = [one.require_done(0) for one in (open_seeds.workspace("joint-seed0"), base)]
    rate = sum(one.seconds or 0.0 for one in done) / sum(one.image_passes for one in done)
    left = next(job for job in open_seeds.jobs("--seed 1").values() if job["kind"] == "base")
    assert left["seconds_left"] == pytest.approx(rate * left["image_passes"])


# --- what is refused -----------------------------------------------------------------------------


def test_data_that_are_not_in_order_stop_a_sweep_before_it_begins(sweep, small_lvis):
    small_lvis.train["images"][0]["coco_url"] = "http://images.invalid/train/none.png"
    small_lvis.save()
    outcome = sweep()
    assert "not found" in outcome.error
    assert outcome.hint == "correct [data] in few.toml, or give --train, --val and --images"
    assert sweep.trainer.runs == []


def test_annotations_that_cannot_be_used_are_left_out_of_all_runs(sweep, small_lvis):
    small_lvis.train["annotations"][0].pop("segmentation")
    small_lvis.save()
    outcome = sweep("--dry-run")
    assert "1 annotation with no segmentation" in outcome.error
    assert "--skip-unusable" in outcome.hint
    assert sweep("--dry-run --skip-unusable").code == 0


def test_plans_that_come_with_the_package_are_listed_and_found_by_name(
    lst, small_lvis, tmp_path, monkeypatch
):
    listed = lst("sweep", "--list").ok()
    assert "Table 1: " in listed.out
    assert set(lst("sweep", "--list", "--json").json) >= {"table1", "table2", "table3", "figures"}
    monkeypatch.chdir(tmp_path)
    data = ["--train", small_lvis.train_json, "--val", small_lvis.val_json]
    outcome = lst("sweep", "table1", *data, "--b", 3, "--phases", 2, "--dry-run", "--json").ok()
    assert outcome.json["directory"] == "lst-sweep-table1"
    assert len(outcome.json["jobs"]) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "lst sweep needs a plan"), (["table1", "--b", "x"], "'x' is not a number")],
)
def test_a_slip_is_one_line(lst, words, message):
    assert message in lst("sweep", *words).err


# --- again, with more seeds or other settings ----------------------------------------------------


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
    rows = read_csv(open_seeds.root / "sweep-seeds.csv")
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
