"""`lst sweep` as a user calls it, with a fake trainer and a fake evaluation."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.evaluate.resumable import inference_settings, make_header
from lst_cli.phases.bins import parse_bins
from lst_cli.sweep import sweep as recipe
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]
PLAN = """
title = "Few runs"
[settings]
b = 5
phases = 2
seeds = [0, 1]
preset = "lite"
[[run]]
name = "joint"
kind = "joint"
row = "repeat-factor"
budget-of = "lst"
seeds = [0]
[[run]]
name = "lst"
kind = "lst"
[[run]]
name = "mwg"
label = "with MWG"
kind = "lst"
step.mwg = true
seeds = [0]
"""


def workspace_of(root: Path, name: str) -> Workspace:
    """The workspace of a run, such as "lst-seed0", whatever its digest."""
    (found,) = root.glob(f"{name}-????????")
    return Workspace(found)


def plain_name(root: Path) -> str:
    return re.sub(r"(?<=\d)-[0-9a-f]{8}$", "", root.name)


class FakeEvaluation:
    """Writes made-up metrics; `fails` names workspaces that cannot be evaluated."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.fails: dict[str, BaseException] = {}

    def __call__(self, workspace: Any, phase: int, settings: Any, *, progress: Any) -> None:
        name = plain_name(workspace.root)
        if name in self.fails:
            raise self.fails.pop(name)
        self.calls.append((name, phase))
        # Many detections are worth something, so that one can tell them from few.
        ap = 0.25 + 0.1 * settings.seed + (settings.eval.detections - 300) / 1000
        names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "all")
        bins = [
            {"bin": one.name, "low": one.low, "high": one.high, "classes": 2,
             "with_ground_truth": 1, "AP": ap, "AP50": ap, "AP75": ap}
            for one in parse_bins(settings.eval.bins)
        ]  # fmt: skip
        model, split = workspace.require_done(phase).model_sha256, workspace.split
        made = make_header(model, "0" * 64, inference_settings(settings, settings)).made_with
        numbers = {
            **dict.fromkeys(names, ap),
            "old": ap if phase else None,
            "new": ap,
            "bins": bins,
            "groups": [
                {"phase": t, "classes": len(group), "with_ground_truth": 1, "AP": ap}
                for t, group in enumerate(split.groups[: phase + 1])
            ],
            "per_class": {str(split.class_order[0]): ap},
        }
        record = {
            "phase": phase, "images": 8, "detections": 5, "seconds": 1.0, "federated": True,
            "segm": numbers, "bbox": numbers, "made_with": made,
        }  # fmt: skip
        write_text(workspace.phase(phase).detections, "[]")
        write_text(workspace.phase(phase).metrics, json.dumps(record))


@pytest.fixture
def evaluation(monkeypatch: pytest.MonkeyPatch) -> FakeEvaluation:
    fake = FakeEvaluation()
    monkeypatch.setattr(recipe, "evaluate_phase", fake)
    return fake


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "few.toml"
    file.write_text(PLAN)
    return file


@pytest.fixture
def words(plan: Path, small_lvis: Any, tmp_path: Path) -> list[object]:
    """What follows `lst` to make the plan in `tmp_path`/runs."""
    data = ["--train", small_lvis.train_json, "--val", small_lvis.val_json]
    return ["sweep", plan, *data, "--images", small_lvis.images, "--dir", tmp_path / "runs"]


def test_a_sweep_trains_what_is_shared_once_and_ends_in_a_table(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    outcome = lst(*words)
    assert outcome.code == 0, outcome.err
    # Joint training, then the base phase and two phases twice, then all again for the second seed.
    assert [run[0] for run in fake_trainer.runs] == [0, 0, 1, 2, 1, 2, 0, 1, 2]
    assert evaluation.calls == [("joint-seed0", 0), ("lst-seed0", 2), ("mwg-seed0", 2),
                                ("lst-seed1", 2)]  # fmt: skip
    assert "the base phase of lst-seed0, mwg-seed0" in outcome.err
    assert "lst-seed0: AP 25.0, " in outcome.err
    assert "30.0 ± 7.1" in outcome.out
    assert "with MWG differs from lst: step.mwg false -> true" in outcome.err
    root = tmp_path / "runs"
    assert all((root / f"sweep.{kind}").exists() for kind in ("md", "csv", "json"))
    passes = {
        name: sum(workspace.require_done(phase).image_passes for phase in workspace.done_phases())
        for name in ("joint-seed0", "lst-seed0")
        if (workspace := workspace_of(root, name))
    }
    assert passes["joint-seed0"] == passes["lst-seed0"]
    assert workspace_of(root, "mwg-seed0").settings().step.mwg


def test_a_sweep_that_is_done_prints_its_table_again(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    before = lst(*words, "--json")
    runs, calls = len(fake_trainer.runs), len(evaluation.calls)
    again = lst(*words, "--json")
    assert again.json == before.json
    assert (len(fake_trainer.runs), len(evaluation.calls)) == (runs, calls)
    assert "lst-seed1: done before" in again.err


def test_an_interrupted_sweep_goes_on_where_it_stopped(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    fake_trainer.stop_after = 3
    assert lst(*words).code == 130
    evaluation.fails["lst-seed0"] = KeyboardInterrupt()
    outcome = lst(*words)
    assert outcome.code == 130
    assert "joint training continued after iteration 3" in outcome.err
    outcome = lst(*words)
    assert outcome.code == 0
    assert "phase 1 begun" in outcome.err, "of the run with MWG"
    assert [run[:2] for run in fake_trainer.runs][:5] == [(0, 0), (0, 3), (0, 0), (1, 0), (2, 0)]


def test_a_run_that_fails_does_not_stop_the_others(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    evaluation.fails = {
        "joint-seed0": LstError("it broke", "mend it"),
        "lst-seed0": ValueError("what nobody thought of"),
    }
    outcome = lst(*words)
    assert outcome.code == 1
    lines = outcome.err.splitlines()
    assert "error: joint-seed0: it broke" in lines
    assert "  try: mend it" in lines
    assert "error: lst-seed0: ValueError: what nobody thought of" in lines
    traceback = workspace_of(tmp_path / "runs", "lst-seed0").root / "error.txt"
    assert "Traceback" in traceback.read_text()
    assert "Traceback" not in outcome.err
    record = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert [one["name"] for one in record["failed"]] == ["joint-seed0", "lst-seed0"]
    assert [len(one["seeds"]) for one in record["runs"]] == [0, 1, 1]
    assert lst(*words).code == 0
    assert not traceback.exists()


def test_runs_of_a_base_phase_that_failed_are_not_trained(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    fake_trainer.fail_in_prepare = LstError("diverged", "start the phase anew with --restart")
    outcome = lst(*words, "--only", "lst", "--seed", "0")
    assert outcome.code == 1
    assert "diverged" in outcome.err
    assert "try: change the settings of the run in few.toml" in outcome.err
    assert "lst-seed0: its base phase, base-" in outcome.err


def test_a_dry_run_counts_and_writes_nothing(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any
) -> None:
    outcome = lst(*words, "--dry-run")
    assert outcome.code == 0, outcome.err
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert "5 + 3 + 3" in rows["lst-seed0"]
    assert rows["lst-seed0"].count("to be done") == 1
    assert "mwg differs from lst: step.mwg false -> true" in outcome.err
    assert not (tmp_path / "runs").exists()
    record = lst(*words, "--dry-run", "--json").json
    jobs = {job["name"]: job for job in record["jobs"]}
    assert jobs["joint-seed0"]["image_passes"] == jobs["lst-seed0"]["image_passes"]
    assert jobs["mwg-seed0"]["shares_base_of"] == jobs["lst-seed0"]["shares_base_of"]
    assert fake_trainer.runs == []


def test_without_a_directory_images_are_looked_for_in_the_current_one(
    lst: Lst, words: list[object], small_lvis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_lvis.images)
    at = words.index("--images")
    outcome = lst(*words[:at], *words[at + 2 :], "--dry-run")
    assert outcome.code == 0
    assert "not found" not in outcome.err


def test_a_dry_run_tells_what_is_left(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    lst(*words, "--only", "lst")
    record = lst(*words, "--dry-run", "--json").json
    states = {job["name"]: (job["state"], job["seconds_left"] > 0) for job in record["jobs"]}
    assert states["lst-seed1"] == ("done", False)
    assert states["mwg-seed0"] == ("to be done", True)
    assert record["seconds_from"] == "the rate of what is finished here"


def test_a_dry_run_leaves_out_what_is_done_of_a_phase_under_way(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    def seconds_left() -> float:
        (job,) = lst(*words, "--only", "joint", "--dry-run", "--json").json["jobs"]
        left: float = job["seconds_left"]
        return left

    whole = seconds_left()
    fake_trainer.stop_after = 5
    lst(*words, "--only", "joint")
    (job,) = lst(*words, "--only", "joint", "--dry-run", "--json").json["jobs"]
    iterations = job["phases"][0]["iterations"]
    assert seconds_left() == pytest.approx(whole * (1 - 5 / iterations))


def test_seeds_that_are_added_later_stand_beside_the_first(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    plan = Path(str(words[1]))
    plan.write_text(plan.read_text().replace("seeds = [0, 1]\n", ""))
    for seed in (2, 0):
        assert lst(*words, "--seed", seed, "--only", "lst").code == 0
    trained = len(fake_trainer.runs)
    record = lst(*words, "--seed", 0, "--only", "lst", "--json").json
    assert len(fake_trainer.runs) == trained
    runs = {run["name"]: run for run in record["runs"]}
    assert [one["seed"] for one in runs["lst"]["seeds"]] == [0, 2]
    assert runs["lst"]["planned"] == 2
    with (tmp_path / "runs" / "sweep-seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["seed"], row["AP"]) for row in rows] == [
        ("lst", "0", "25.0000"), ("lst", "2", "45.0000"),
    ]  # fmt: skip
    assert {row["image passes"] for row in rows} == {str(runs["lst"]["seeds"][0]["image_passes"])}


def test_seeds_of_other_settings_are_not_mixed_and_come_back_with_their_settings(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    plan = Path(str(words[1]))
    plan.write_text(plan.read_text().replace("seeds = [0, 1]\n", ""))
    words += ["--only", "lst", "--json"]
    assert lst(*words).code == 0
    before = (tmp_path / "runs" / "sweep.json").read_bytes()
    kept = workspace_of(tmp_path / "runs", "lst-seed0").root.name
    outcome = lst(*words, "--seed", 4, "--set", "step.lr=0.5")
    runs = {run["name"]: run for run in outcome.json["runs"]}
    assert [one["seed"] for one in runs["lst"]["seeds"]] == [4]
    assert outcome.json["left_out"] == [kept]
    assert outcome.err.index(f"settings or data: {kept}") < outcome.err.index("begun")
    trained = len(fake_trainer.runs)
    lst(*words)
    assert len(fake_trainer.runs) == trained
    after = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert {**after, "left_out": []} == json.loads(before)
    assert len(after["left_out"]) == 1


def test_a_seed_of_another_time_that_is_unfinished_is_named_and_not_in_the_table(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    plan = Path(str(words[1]))
    plan.write_text(plan.read_text().replace("seeds = [0, 1]\n", ""))
    evaluation.fails["lst-seed3"] = LstError("no")
    lst(*words, "--seed", 3, "--only", "lst")
    (tmp_path / "runs" / "lst-seed99999999999").mkdir()  # is nobody's
    outcome = lst(*words, "--seed", 0, "--only", "lst", "--json")
    assert [[one["seed"] for one in run["seeds"]] for run in outcome.json["runs"]] == [[], [0], []]
    (name,) = outcome.json["left_out"]
    assert re.fullmatch("lst-seed3-[0-9a-f]{8}", name)
    told = f"Not in the table, as they are unfinished or of another plan, settings or data: {name}"
    assert told in outcome.err
    assert told in (tmp_path / "runs" / "sweep.md").read_text()
    assert told in lst(*words, "--seed", 0, "--dry-run").err


def test_twins_of_a_run_have_the_seeds_of_another_time_too(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    plan = Path(str(words[1]))
    text = plan.read_text().replace("seeds = [0, 1]\n", "")
    plan.write_text(text + '[[run]]\nname = "twin"\nkind = "lst"\n')
    for seed in (2, 0):
        lst(*words, "--seed", seed, "--only", "lst")
    runs = {run["name"]: run for run in lst(*words, "--only", "lst", "--json").json["runs"]}
    assert [one["seed"] for one in runs["twin"]["seeds"]] == [0, 2]
    assert runs["twin"]["numbers"] == runs["lst"]["numbers"]
    assert runs["twin"]["same_as"] == "lst"


@pytest.mark.parametrize(
    "change", [("--set", "step.lr=0.5"), ("--b", "4"), ("--weights", "w.pkl"), ("--phases", "1")]
)
def test_what_is_trained_on_something_else_is_another_workspace(
    lst: Lst, words: list[object], fake_trainer: Any, change: tuple[str, str]
) -> None:
    plans = [lst(*words, *more, "--dry-run", "--json").json for more in ((), change)]
    first, other = ({job["name"]: job["workspace"] for job in one["jobs"]} for one in plans)
    assert first["lst-seed0"] != other["lst-seed0"]
    if change[0] == "--weights":
        assert not set(first.values()) & set(other.values())


def test_other_annotations_make_another_workspace(
    lst: Lst, words: list[object], small_lvis: Any
) -> None:
    before = {job["workspace"] for job in lst(*words, "--dry-run", "--json").json["jobs"]}
    small_lvis.train["annotations"][0]["bbox"][2] -= 0.25
    small_lvis.save()
    after = {job["workspace"] for job in lst(*words, "--dry-run", "--json").json["jobs"]}
    assert len(before) == len(after)
    assert not before & after


def make_as_an_earlier_version_did(root: Path, digest: str = "") -> None:
    """Rename what a sweep trained: another digest of runs, or none, and of base phases."""
    for one in root.glob("*-seed*"):
        one.rename(root / f"{plain_name(one)}{digest}")
    for one in (root / "bases").iterdir():
        one.rename(root / "bases" / f"00000000-{one.name.rsplit('-', 1)[1]}")


@pytest.mark.parametrize("digest", ["", "-00000000"])
def test_directories_that_an_earlier_version_made_are_used(
    lst: Lst,
    words: list[object],
    tmp_path: Path,
    fake_trainer: Any,
    evaluation: FakeEvaluation,
    digest: str,
) -> None:
    evaluation.fails["mwg-seed0"] = KeyboardInterrupt()
    assert lst(*words).code == 130
    make_as_an_earlier_version_did(tmp_path / "runs", digest)
    outcome = lst(*words, "--json")
    assert outcome.code == 0, outcome.err
    # Joint training, one base phase for each seed, and two phases three times.
    assert len(fake_trainer.runs) == 1 + 2 + 6
    assert "joint-seed0: done before" in outcome.err
    assert [len(run["seeds"]) for run in outcome.json["runs"]] == [1, 2, 1]
    assert outcome.json["left_out"] == []
    evaluation.calls = []
    assert lst(*words, "--json").json == outcome.json
    assert evaluation.calls == []


def test_a_directory_of_an_earlier_version_and_other_settings_is_named_and_left_alone(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    words += ["--seed", "0", "--only", "lst"]
    lst(*words)
    make_as_an_earlier_version_did(tmp_path / "runs")
    files = {path: path.read_bytes() for path in (tmp_path / "runs" / "lst-seed0").rglob("*.json")}
    outcome = lst(*words, "--set", "base.lr=0.5", "--json")
    assert outcome.json["left_out"] == ["lst-seed0"]
    assert len(fake_trainer.runs) == 2 * 3
    assert files == {path: path.read_bytes() for path in files}


def test_a_base_phase_alone_does_not_make_a_directory_that_of_another_run(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    words += ["--seed", "0", "--only", "lst"]
    lst(*words)
    make_as_an_earlier_version_did(tmp_path / "runs")
    for phase in ("01", "02"):
        shutil.rmtree(tmp_path / "runs" / "lst-seed0" / "phases" / phase)
    assert lst(*words, "--set", "step.lr=0.5", "--json").json["left_out"] == ["lst-seed0"]


def test_settings_that_decide_nothing_may_change(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    lst(*words)
    trained = len(fake_trainer.runs)
    outcome = lst(*words, "--device", "cpu", "--set", "step.save_every=7")
    assert outcome.code == 0, outcome.err
    assert len(fake_trainer.runs) == trained


def test_another_test_setting_evaluates_again_and_trains_nothing(
    lst: Lst, words: list[object], fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    lst(*words)
    trained, evaluation.calls = len(fake_trainer.runs), []
    outcome = lst(*words, "--set", "eval.detections=7", "--only", "lst")
    assert outcome.code == 0, outcome.err
    assert evaluation.calls == [("lst-seed0", 2), ("lst-seed1", 2)]
    assert len(fake_trainer.runs) == trained


def test_a_shared_phase_is_not_judged_by_what_another_run_found_under_other_settings(
    lst: Lst,
    words: list[object],
    plan: Path,
    tmp_path: Path,
    fake_trainer: Any,
    evaluation: FakeEvaluation,
) -> None:
    plan.write_text('evaluate = "all"\n' + PLAN)
    lst(*words, "--seed", "0")
    assert lst(*words, "--seed", "0", "--set", "eval.detections=700").code == 0
    for run in ("lst-seed0", "mwg-seed0"):
        for phase in range(3):
            metrics = workspace_of(tmp_path / "runs", run).phase(phase).metrics
            assert json.loads(metrics.read_text())["segm"]["AP"] == pytest.approx(0.65)


@pytest.mark.parametrize(
    "word", ["eval.detections=7", "eval.bins==1, >=2", "eval.score_threshold=0.5"]
)
def test_what_was_evaluated_by_hand_in_another_way_is_evaluated_again(
    lst: Lst,
    words: list[object],
    tmp_path: Path,
    fake_trainer: Any,
    evaluation: FakeEvaluation,
    word: str,
) -> None:
    words += ["--only", "lst", "--seed", "0"]
    before = lst(*words, "--json")
    workspace = workspace_of(tmp_path / "runs", "lst-seed0")
    evaluation(workspace, 2, workspace.settings([word]), progress=None)
    again = lst(*words, "--dry-run", "--json").json
    assert [job["state"] for job in again["jobs"]] == ["done", "to be evaluated"]
    evaluation.calls = []
    after = lst(*words, "--json")
    assert evaluation.calls == [("lst-seed0", 2)]
    assert after.json == before.json


def test_settings_that_a_run_does_not_use_may_change(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    lst(*words)
    trained = len(fake_trainer.runs)
    for only, word in (
        ("joint", "step.lr=0.5"),
        ("joint", "mwg.bank_size=2"),
        ("lst", "mwg.bank_size=2"),
    ):
        outcome = lst(*words, "--only", only, "--set", word)
        assert outcome.code == 0, outcome.err
    assert len(fake_trainer.runs) == trained
    lst(*words, "--only", "mwg", "--set", "mwg.bank_size=2")
    assert len(fake_trainer.runs) == trained + 2


def test_a_run_that_is_the_same_as_another_is_found_whichever_was_made_first(
    lst: Lst, words: list[object], plan: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    plan.write_text(PLAN.replace("step.mwg = true", "mwg.bank_size = 2"))
    assert lst(*words, "--only", "mwg", "--seed", "0").code == 0
    trained = len(fake_trainer.runs)
    outcome = lst(*words, "--seed", "0", "--json")
    assert outcome.code == 0, outcome.err
    assert [len(run["seeds"]) for run in outcome.json["runs"]] == [1, 1, 1]
    assert len(fake_trainer.runs) == trained + 1  # joint training


def test_all_phases_can_be_evaluated_and_a_shared_one_is_once(
    lst: Lst,
    words: list[object],
    plan: Path,
    tmp_path: Path,
    fake_trainer: Any,
    evaluation: FakeEvaluation,
) -> None:
    plan.write_text('evaluate = "all"\n' + PLAN)
    outcome = lst(*words, "--seed", "0")
    assert outcome.code == 0, outcome.err
    assert [call for call in evaluation.calls if call[1] == 0] == [
        ("joint-seed0", 0), ("lst-seed0", 0),
    ]  # fmt: skip
    assert workspace_of(tmp_path / "runs", "mwg-seed0").phase(0).metrics.exists()


def test_finished_runs_need_no_base_phases(
    lst: Lst, words: list[object], tmp_path: Path, fake_trainer: Any, evaluation: FakeEvaluation
) -> None:
    lst(*words)
    trained = len(fake_trainer.runs)
    shutil.rmtree(tmp_path / "runs" / "bases")
    left = lst(*words, "--dry-run", "--json").json["jobs"]
    assert {(job["state"], job["seconds_left"]) for job in left} == {("done", 0.0)}
    assert lst(*words).code == 0
    assert len(fake_trainer.runs) == trained


def test_data_that_are_not_in_order_stop_a_sweep_before_it_begins(
    lst: Lst, words: list[object], small_lvis: Any, tmp_path: Path, fake_trainer: Any
) -> None:
    small_lvis.train["images"][0]["coco_url"] = "http://images.invalid/train/none.png"
    small_lvis.save()
    outcome = lst(*words)
    assert "not found" in outcome.error
    assert outcome.hint == "correct [data] in few.toml, or give --train, --val and --images"
    assert fake_trainer.runs == []


def test_annotations_that_cannot_be_used_are_left_out_of_all_runs(
    lst: Lst, words: list[object], small_lvis: Any, tmp_path: Path
) -> None:
    small_lvis.train["annotations"][0].pop("segmentation")
    small_lvis.save()
    outcome = lst(*words, "--dry-run")
    assert "1 annotation with no segmentation" in outcome.error
    assert "--skip-unusable" in outcome.hint
    assert lst(*words, "--dry-run", "--skip-unusable").code == 0


def test_plans_that_come_with_the_package_are_listed_and_found_by_name(
    lst: Lst, small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = lst("sweep", "--list")
    assert listed.code == 0
    assert "Table 1: " in listed.out
    assert set(lst("sweep", "--list", "--json").json) >= {"table1", "table2", "table3", "figures"}
    monkeypatch.chdir(tmp_path)
    data = ["--train", small_lvis.train_json, "--val", small_lvis.val_json]
    outcome = lst("sweep", "table1", *data, "--b", 3, "--phases", 2, "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["directory"] == "lst-sweep-table1"
    assert len(outcome.json["jobs"]) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "lst sweep needs a plan"),
        (["nothing"], "nothing: no such plan"),
        (["table1"], "table1 does not say what to learn"),
        (["table1", "--b", "x"], "'x' is no number"),
    ],
)
def test_a_slip_is_one_line(lst: Lst, words: list[str], message: str) -> None:
    assert message in lst("sweep", *words).err
