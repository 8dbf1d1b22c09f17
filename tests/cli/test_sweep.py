"""`lst sweep` as a user calls it: what is trained, told and written, and what is refused."""

from __future__ import annotations

import shutil

import pytest

from lst_cli.errors import InterruptionError, LstError


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
    [
        ([], "lst sweep needs a plan"),
        (["table1", "--b", "x"], "'x' is not a number"),
    ],
)
def test_a_slip_is_one_line(lst, words, message):
    assert message in lst("sweep", *words).err
