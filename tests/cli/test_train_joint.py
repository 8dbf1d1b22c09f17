"""Joint training from the command line, with a trainer that needs no torch."""

from __future__ import annotations

import shlex
import shutil

import pytest

from lst_cli.settings.presets import JOINT_ROWS
from lst_cli.workspace.store import Workspace


@pytest.fixture
def joint(tmp_path, small_lvis, lst):
    """The small LVIS set with all eleven classes in one phase."""
    lst(*small_lvis.joint_words(), "-w", tmp_path / "joint").ok()
    return Workspace(tmp_path / "joint")


# --- split ---------------------------------------------------------------------------------------


def test_a_joint_split_has_one_phase_and_cannot_be_cut(lst, small_lvis, tmp_path):
    for option in ("--b", "--phases"):
        outcome = lst(*small_lvis.joint_words(), option, "5", "-w", tmp_path / "joint")
        assert f"{option} divides them" in outcome.error
        assert not (tmp_path / "joint").exists()
    outcome = lst(*small_lvis.joint_words(), "-w", tmp_path / "joint")
    assert ["joint", "11", "30"] in [line.split()[:3] for line in outcome.out.splitlines()]
    assert "old, before" not in outcome.out
    assert "and a plot beside it" in outcome.err
    assert outcome.out.endswith(f"next: lst train-joint -w {tmp_path / 'joint'}\n")
    split = Workspace(tmp_path / "joint").split
    assert split.joint
    assert split.groups == (tuple(split.class_order),)
    assert (split.base_classes, split.phases) == (11, ())


def test_a_joint_split_leaves_no_plot_of_an_earlier_one_and_all_of_its_phases(
    lst, workspace, small_lvis, fake_trainer
):
    words = (*small_lvis.joint_words(), "-w", workspace.root)
    before = workspace.layout.split.read_bytes()
    assert workspace.layout.balance_plot.exists()
    lst(*words)
    assert not workspace.layout.balance_plot.exists()
    workspace.layout.split.write_bytes(before)
    lst("train-base", "-w", workspace.root)
    assert "holds phases trained on another split" in lst(*words).error


# --- training ------------------------------------------------------------------------------------


def test_joint_training_learns_all_classes_and_evaluation_comes_next(lst, joint, fake_trainer):
    outcome = lst("train-joint", "-w", joint.root)
    assert "joint training begun: 11 classes, 24 images, 30 iterations" in outcome.err
    assert "joint training done: 30 iterations, 240 image passes" in outcome.err
    assert outcome.out == f"next: lst eval -w {joint.root}\n"
    again = lst("train-joint", "-w", joint.root)
    assert "joint training of" in again.error
    assert again.hint == f"lst status -w {joint.root}"
    status = lst("status", "-w", joint.root)
    assert ["joint", "done", "11"] in [line.split()[:3] for line in status.out.splitlines()]
    assert lst("step", "--all", "-w", joint.root).hint == f"lst eval -w {joint.root}"


def test_joint_training_that_was_interrupted_is_continued_by_the_next_command_in_its_budget(
    lst, joint, fake_trainer
):
    words = ("train-joint", "-w", joint.root, "--image-passes", 80)
    fake_trainer.stop_after = 4
    assert lst(*words).code == 130
    found = lst("status", "-w", joint.root, "--json").json["next_command"]
    assert found == " ".join(map(str, ("lst", *words)))
    outcome = lst(*shlex.split(found)[1:]).ok()
    assert "joint training continued after iteration 4" in outcome.err
    assert joint.require_done(0).image_passes == 80


@pytest.mark.parametrize("row", [*JOINT_ROWS, "options"])
def test_a_row_of_the_table_is_short_for_its_settings_and_options_count_more(
    lst, joint, fake_trainer, row
):
    words, expected = ["--row", row], JOINT_ROWS.get(row, {})
    if row == "options":
        words = ["--row", "class-aware", "--head", "softmax", "--mask", "fcn"]
        expected = {"base.sampler": "class-aware", "model.head": "softmax", "model.mask": "fcn"}
    (manifest,) = lst("train-joint", "-w", joint.root, *words, "--json").json
    for key, value in expected.items():
        section, name = key.split(".")
        assert manifest["settings"][section][name] == value


def test_repeated_images_make_an_epoch_longer_and_a_budget_does_not(lst, joint):
    words = ["--sampler", "repeat-factor", "--set", "base.repeat_threshold=0.5", "--dry-run"]
    plan = lst("train-joint", "-w", joint.root, *words, "--json").json
    assert plan["images"] == 24
    assert plan["new_entries"] > 30
    assert plan["image_passes"] == 8 * plan["iterations"] > 300
    plan = lst("train-joint", "-w", joint.root, *words, "--image-passes", 80, "--json").json
    assert (plan["iterations"], plan["image_passes"]) == (10, 80)


def test_the_budget_of_another_workspace_on_the_same_data_is_met(
    lst, small_lvis, workspace, joint, fake_trainer
):
    words = ["train-joint", "-w", joint.root, "--budget-of", workspace.root]
    outcome = lst(*words)
    assert f"the image passes of {workspace.root} are not known yet" in outcome.error
    lst("train-base", "-w", workspace.root)
    lst("step", "--all", "-w", workspace.root)
    total = lst("status", "-w", workspace.root, "--json").json["image_passes"]
    outcome = lst(*words, "--image-passes", 80)
    assert "--image-passes and --budget-of both set the budget" in outcome.error
    differing = ["data.min_size=[320]", "base.lr=0.1"]
    other = lst(*words, "--dry-run", *(word for one in differing for word in ("--set", one)))
    [line] = [line for line in other.err.splitlines() if line.startswith("warning: ")]
    assert "other data or network settings: data.min_size" in line
    assert "lr" not in line
    outcome = lst(*words, "--json")
    assert "warning" not in outcome.err
    assert 8 * outcome.json[0]["iterations"] == total == 784
    small_lvis.train["annotations"].pop()
    small_lvis.save()
    lst(*small_lvis.joint_words(), "-w", f"{joint.root}-2")
    refused = lst(*words[:1], "-w", f"{joint.root}-2", *words[3:])
    assert f"--budget-of {workspace.root}: it was trained on" in refused.error
    assert "--image-passes " in refused.hint


# --- what goes with which workspace --------------------------------------------------------------


def test_each_kind_of_workspace_names_its_own_command(lst, workspace, joint):
    outcome = lst("train-joint", "-w", workspace.root)
    assert "has phases" in outcome.error
    assert outcome.hint.startswith("lst train-base")
    for words in (["train-base"], ["train-base", "--dry-run"]):
        outcome = lst(*words, "-w", joint.root)
        assert "all its classes are in one phase" in outcome.error
        assert outcome.hint == f"lst train-joint -w {joint.root}"
    assert lst("eval", "-w", joint.root).hint == f"lst train-joint -w {joint.root}"
    outcome = lst("step", "-w", joint.root)
    assert "learns all classes at once" in outcome.error
    assert outcome.hint == f"lst train-joint -w {joint.root}"


@pytest.mark.parametrize("setting", ["model.head=softmax", "model.mask=fcn"])
def test_phases_do_not_begin_with_a_network_that_cannot_grow(lst, workspace, fake_trainer, setting):
    key, value = setting.split("=")
    for words in (["train-base"], ["train-base", "--dry-run"]):
        outcome = lst(*words, "-w", workspace.root, "--set", setting)
        assert f"{key} = {value}: new classes need" in outcome.error
        assert "lst split --joint" in outcome.hint
    lst("train-base", "-w", workspace.root)
    assert f"{key} = {value}" in lst("step", "-w", workspace.root, "--set", setting).error
    assert [run[0] for run in fake_trainer.runs] == [0]


def test_classes_are_added_to_joint_training_only_with_rows_that_grow(
    lst, joint, few, fake_trainer, fake_instant
):
    other = Workspace(shutil.copytree(joint.root, joint.root.with_name("other")))
    lst("train-joint", "-w", other.root, "--row", "joint-softmax")
    before = other.layout.split.read_bytes()
    for more in ([], ["--finetune"]):
        outcome = lst(*few.words("--class", "zebra", *more), "-w", other.root)
        assert "model.head = softmax: new classes need model.head = cosine" in outcome.error
        assert other.layout.split.read_bytes() == before
    lst("train-joint", "-w", joint.root)
    lst(*few.words("--class", "zebra"), "-w", joint.root).ok()
    split = Workspace(joint.root).split
    assert split.joint
    assert [len(group) for group in split.groups] == [11, 1]


@pytest.mark.parametrize(
    ("given", "words", "hint"),
    [
        ("gone", "not a workspace", "give the directory of a finished workspace"),
        (".", "not a workspace", "give the directory of a finished workspace"),
        ("https://example.org/w", "is a URL", "download it"),
        ("{workspace}", "is not finished", "lst train-base -w {workspace}"),
        ("{damaged}", "split.json", "use the lst that wrote"),
    ],
)
def test_a_budget_that_is_not_known_gives_hints_about_the_workspace_it_is_of(
    lst, workspace, joint, tmp_path, given, words, hint
):
    damaged = Workspace(tmp_path / "damaged")
    damaged.layout.split.parent.mkdir()
    damaged.layout.split.write_text("{}")
    places = {"workspace": workspace.root, "damaged": damaged.root}
    outcome = lst("train-joint", "-w", joint.root, "--budget-of", given.format(**places))
    assert words in outcome.error
    assert hint.format(**places) in outcome.hint
    assert str(joint.root) not in outcome.hint
