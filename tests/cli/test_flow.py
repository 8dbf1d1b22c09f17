"""The commands one after the other, with a trainer that needs no torch."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lst_cli
from lst_cli.settings.models import Settings
from lst_cli.workspace.store import Workspace

ROOT = Path(lst_cli.__file__).parents[1]


# --- split and init ------------------------------------------------------------------------------


def test_split_prints_what_a_script_needs(lst, small_lvis, tmp_path):
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work", "--json").ok()
    found = outcome.json
    assert found["groups"] == [[7, 9, 4, 2, 5], [11, 6], [1, 10], [3, 8]]
    assert found["class_order"] == [one for group in found["groups"] for one in group]
    assert [one["replay_entries"] for one in found["phases"]] == [19, 14, 9]
    assert (found["excluded"], found["federated"]) == ([12], True)


def test_split_shows_phases_and_how_balanced_they_are(lst, small_lvis, tmp_path):
    for document in (small_lvis.train, small_lvis.val):
        for image in document["images"]:
            del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    small_lvis.save()
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work")
    assert "11 classes, 93 instances, 24 images (coco)" in outcome.out
    assert "old, before" in outcome.out
    assert outcome.out.endswith(f"next: lst train-base -w {tmp_path / 'work'}\n")
    assert "…" not in outcome.out
    assert "every image counts as exhaustively labelled" in outcome.err
    assert "left out, no training instance: class 12" in outcome.err


def test_split_writes_settings_once_and_says_that_it_leaves_them_alone(lst, small_lvis, tmp_path):
    words = (*small_lvis.split_words(), "-w", tmp_path / "work")
    lst(*words, "--preset", "lite", "--set", "step.lr=0.25")
    settings = Workspace(tmp_path / "work").settings()
    assert (settings.preset, settings.step.lr) == ("lite", 0.25)
    assert "lst.toml stays as it is" in lst(*words, "--preset", "lite-paper").err
    assert "stays" not in lst(*words).err
    assert Workspace(tmp_path / "work").settings() == settings


def test_init_writes_or_prints_every_setting(lst, tmp_path):
    at = ("-w", tmp_path / "work")
    printed = lst("init", *at, "--print", "--preset", "lite").ok()
    assert not (tmp_path / "work").exists()
    lst("init", *at, "--preset", "lite")
    assert (tmp_path / "work" / "lst.toml").read_text().strip() == printed.out.strip()
    assert "lst.toml exists already" in (again := lst("init", *at)).error
    assert "--force" in again.hint
    assert lst("init", *at, "--force").code == 0
    assert Workspace(tmp_path / "work").settings() == Settings()
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "a file is in the way" in lst("init", "-w", place).error


def test_check_leaves_out_what_the_split_left_out(lst, small_lvis, tmp_path):
    small_lvis.train["annotations"][3]["bbox"] = [1, 1, 0, 5]
    small_lvis.save()
    at = ("-w", tmp_path / "work")
    assert "--skip-unusable" in lst(*small_lvis.split_words(), *at).hint
    assert lst(*small_lvis.split_words(), *at, "--skip-unusable").code == 0
    assert lst("check", *at).code == 0


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "train-base", "train-joint", "step", "eval", "report", "status", "check",
        "train-base --dry-run",
    ],
)  # fmt: skip
def test_nothing_comes_before_the_split(lst, tmp_path, command):
    outcome = lst(*command.split(), "-w", tmp_path / "work")
    assert "has no split yet" in outcome.error
    assert outcome.hint.startswith(f"lst split -w {tmp_path / 'work'} --train TRAIN.json")
    assert not (tmp_path / "work").exists()


def test_commands_out_of_order_name_the_one_that_comes_first(here, workspace, files_below):
    before = files_below(workspace.root)
    for command, error, hint in (
        ("step", "the base phase must be trained first", "lst train-base"),
        ("step --all", "the base phase must be trained first", "lst train-base"),
        ("step --dry-run", "the base phase must be trained first", "lst train-base"),
        ("eval", "no phase of", "lst train-base"),
        ("eval --phase 0", "no phase of", "lst train-base"),
        ("report", "has been evaluated", "lst eval"),
    ):
        outcome = here(command)
        assert error in outcome.error
        assert outcome.hint == f"{hint} -w {workspace.root}"
    both = here("eval --phase 0 --all-phases")
    assert "--phase and --all-phases cannot be used together" in both.error
    assert files_below(workspace.root) == before


def test_phases_are_trained_one_by_one_to_the_last(here, workspace, fake_trainer):
    at = f"-w {workspace.root}"
    outcome = here("train-base")
    assert "base phase begun: 5 classes, 24 images, 30 iterations" in outcome.err
    assert "device: a fake device" in outcome.err
    assert outcome.out == f"next: lst step {at}\n"
    twice = here("train-base")
    assert "the base phase is done already" in twice.error
    assert twice.hint == f"lst step {at}"
    assert "phase 1 begun: 2 new classes, 7 new + 19 replayed samples" in here("step").err
    assert "phase 2 is not finished" in here("eval --phase 2").error
    assert "phase 9 does not exist" in here("eval --phase 9").error
    outcome = here("step --all")
    assert outcome.out == f"next: lst eval {at} --all-phases\n"
    assert [run[0] for run in fake_trainer.runs] == [0, 1, 2, 3]
    after = here("step")
    assert "all phases are done: lst extend adds classes" in after.error
    assert after.hint == f"lst eval {at} --all-phases"
    assert "has been evaluated" in here("report").error


def test_parts_of_the_method_can_be_left_out_by_an_option(here, fake_trainer):
    here("train-base")
    words = "--no-distill --freeze backbone --freeze roi_heads.mask_head --new-rows mean-feature"
    keys = ("distill_weight", "freeze", "new_rows", "mwg", "replay")
    freeze = ["backbone", "roi_heads.mask_head"]
    for line, expected, replayed in (
        (f"{words} --mwg --replay none", [0, freeze, "mean-feature", True, "none"], 0),
        ("--set step.freeze=[]", [1, [], "random", False, "balanced"], 14),
        ("--replay all", [1, ["backbone.bottom_up"], "random", False, "all"], 85),
    ):
        assert here(f"step {line} --dry-run --json").json["replay_entries"] == replayed
        (manifest,) = here(f"step {line} --json").json
        assert [manifest["settings"]["step"][key] for key in keys] == expected
        assert manifest["replay_entries"] == replayed


def test_an_interrupted_phase_is_shown_under_way_and_continued(here, fake_trainer):
    fake_trainer.stop_after = 4
    stopped = here("train-base")
    assert "interrupted" in stopped.error
    assert stopped.code == 130
    assert re.search(r"base +under way .* \d+ of 30 ", here("status").out)
    assert "seed was 0, is now 3" in here("train-base --set seed=3").error
    assert "base phase continued after iteration 4" in here("train-base").ok().err
    fake_trainer.stop_after = 3
    here("step")
    here("step --set seed=3 --restart").ok()
    assert [run[1] for run in fake_trainer.runs] == [0, 4, 0, 0]


def test_an_old_setting_in_lst_toml_is_noted_once(here, workspace):
    workspace.layout.settings.write_text("[step]\nprevious_share = 0.3\n")
    outcome = here("train-base --dry-run").ok()
    assert outcome.err.count("lst.toml: step.previous_share = 0.3 has no effect: ") == 1


# --- status --------------------------------------------------------------------------------------


def test_status_shows_what_is_done_and_what_is_next_and_writes_nothing(
    here, workspace, fake_trainer, files_below
):
    here("train-base")
    workspace.layout.lock.unlink()
    before = files_below(workspace.root)
    outcome = here("status")
    lines = [line.split()[:3] for line in outcome.out.splitlines()]
    assert ["base", "done", "5"] in lines
    assert ["1", "next", "2"] in lines
    assert "11 classes, 240 image passes so far" in outcome.out
    assert outcome.out.endswith(f"next: lst step -w {workspace.root}\n")
    assert files_below(workspace.root) == before


# --- what the machine may do ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (MemoryError(), "error: not enough memory (RAM)"),
        (OSError(errno.EIO, "Input/output error", "disk"), "error: disk: Input/output error"),
        (RuntimeError("a bug"), None),
    ],
)
def test_the_machines_limits_are_one_line_and_a_bug_keeps_its_traceback(
    here, fake_trainer, problem, error
):
    fake_trainer.fail_in_prepare = problem
    if error is None:
        with pytest.raises(RuntimeError, match="a bug"):
            here("train-base")
        return
    outcome = here("train-base")
    assert outcome.code == 1
    assert error in outcome.error


def status_into(output: Any, workspace: Workspace) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lst_cli", "status", "-w", str(workspace.root)],
        check=False, stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_one_line(workspace):
    with Path("/dev/full").open("w") as full:
        done = status_into(full, workspace)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "No space left" in done.stderr


def test_a_reader_that_has_seen_enough_hears_nothing_more(workspace):
    reader, writer = os.pipe()
    os.close(reader)
    done = status_into(writer, workspace)
    os.close(writer)
    assert done.stderr == ""


# --- hold-out ------------------------------------------------------------------------------------


@pytest.fixture
def hold_out(lst, small_lvis, tmp_path):
    words = ("hold-out", "--train", small_lvis.train_json, "--out", tmp_path / "a part")
    return lambda *more: lst(*words, "--rare", 3, *more)


def test_the_cut_is_shown_and_the_next_command_goes_on(lst, hold_out, small_lvis, tmp_path):
    out = tmp_path / "a part"
    outcome = hold_out().ok()
    assert f"Rare: in fewer than 3 images of {out / 'train.json'}" in outcome.out
    again = hold_out("--force", "--json")
    found = again.json
    for part in ("train", "val"):
        cells = [str(found[part][key]) for key in ("images", "instances", "classes", "rare")]
        (line,) = [row for row in outcome.out.splitlines() if row.startswith(found[part]["path"])]
        assert line.removeprefix(found[part]["path"]).split() == cells
    assert (
        f"{len(found['demoted'])} classes became rare; {found['val']['classes']} classes can be "
        f"evaluated, {found['val']['rare']} of them rare"
    ) in outcome.err
    last = outcome.out.splitlines()[-1]
    assert last.startswith("next: lst split ")
    command = shlex.split(last.removeprefix("next: lst ").replace("DIR", str(small_lvis.images)))
    assert command[command.index("-w") + 1] == str(out / "lst-workspace")
    lst(*command, "--json").ok()
    assert again.err == ""
    assert set(found) == {"format", "train", "val", "demoted", "skipped"}
    assert found["train"]["path"] == str(out / "train.json")
    assert found["train"]["images"] + found["val"]["images"] == 24
    assert found["val"]["images"] == len(json.loads((out / "val.json").read_text())["images"])


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_the_printed_split_fits_however_few_classes_are_left(lst, hold_out, small_lvis, classes):
    kept = (7, 9, 4, 2, 5)[:classes]
    found = small_lvis.train["annotations"]
    small_lvis.train["annotations"] = [one for one in found if one["category_id"] in kept]
    small_lvis.save()
    outcome = hold_out().ok()
    if classes == 1:
        assert "next:" not in outcome.out
        assert "it cannot be divided into phases" in outcome.err
        return
    command = shlex.split(outcome.out.splitlines()[-1].removeprefix("next: lst "))
    lst(*[str(small_lvis.images) if word == "DIR" else word for word in command]).ok()


def test_a_cut_that_makes_no_class_rare_is_warned_of(hold_out, small_lvis):
    for annotation in small_lvis.train["annotations"]:
        annotation["category_id"] = 7  # in all 24 images
    small_lvis.save()
    outcome = hold_out().ok()
    assert "0 classes became rare; 1 class can be evaluated" in outcome.err
    assert "warning: no rare class can be evaluated: give a larger --rare" in outcome.err
