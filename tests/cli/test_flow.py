"""The commands one after the other, with a trainer that needs no torch."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lst_cli
from lst_cli.cli import main
from lst_cli.settings.models import Settings
from lst_cli.workspace.records import load_json, save_json
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]
ROOT = Path(lst_cli.__file__).parents[1]


def files_below(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# --- split ---------------------------------------------------------------------------------------


def test_split_prints_what_a_script_needs(lst: Lst, small_lvis: Any, tmp_path: Path) -> None:
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work", "--json")
    assert outcome.code == 0
    found = outcome.json
    assert found["class_order"] == [7, 9, 4, 2, 5, 11, 6, 1, 10, 3, 8]
    assert found["groups"] == [[7, 9, 4, 2, 5], [11, 6], [1, 10], [3, 8]]
    assert [
        (one["phase"], one["new_entries"], one["replay_entries"], one["mean_new_instances"])
        for one in found["phases"]
    ] == [(1, 7, 19, 3.5), (2, 4, 14, 2.0), (3, 2, 9, 1.0)]
    assert found["excluded"] == [12]
    assert found["federated"] is True


def test_split_shows_phases_and_how_balanced_they_are(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work")
    assert "11 classes, 93 instances, 24 images (lvis-v1)" in outcome.out
    assert "old, before" in outcome.out
    assert outcome.out.endswith(f"next: lst train-base -w {tmp_path / 'work'}\n")
    assert "…" not in outcome.out


def test_split_says_when_every_image_is_taken_as_exhaustive(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    for document in (small_lvis.train, small_lvis.val):
        for image in document["images"]:
            del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    small_lvis.save()
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work")
    assert "every image counts as exhaustively labelled" in outcome.err


def test_split_writes_settings_that_later_commands_use(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    words = ["--preset", "lite", "--set", "step.lr=0.25"]
    lst(*small_lvis.split_words(), "-w", tmp_path / "work", *words)
    settings = Workspace(tmp_path / "work").settings()
    assert (settings.preset, settings.step.lr) == ("lite", 0.25)


def test_split_says_that_it_leaves_settings_alone(
    lst: Lst, workspace: Workspace, small_lvis: Any
) -> None:
    outcome = lst(*small_lvis.split_words(), "-w", workspace.root, "--preset", "lite")
    assert "lst.toml stays as it is" in outcome.err
    assert workspace.settings() == Settings()
    assert "stays" not in lst(*small_lvis.split_words(), "-w", workspace.root).err


# --- init ----------------------------------------------------------------------------------------


def test_init_writes_or_prints_every_setting(lst: Lst, tmp_path: Path) -> None:
    printed = lst("init", "-w", tmp_path / "work", "--print", "--preset", "lite")
    assert printed.code == 0
    assert not (tmp_path / "work").exists()
    lst("init", "-w", tmp_path / "work", "--preset", "lite")
    assert (tmp_path / "work" / "lst.toml").read_text().strip() == printed.out.strip()
    again = lst("init", "-w", tmp_path / "work")
    assert "lst.toml exists already" in again.error
    assert lst("init", "-w", tmp_path / "work", "--force").code == 0
    assert Workspace(tmp_path / "work").settings() == Settings()


# --- the workspace -------------------------------------------------------------------------------


def test_the_environment_names_the_workspace(
    lst: Lst, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LST_WORKSPACE", str(workspace.root))
    assert lst("status", "--json").json["workspace"] == str(workspace.root)
    outcome = lst("status", "-w", tmp_path / "other")
    assert "other holds no split yet" in outcome.error


def test_the_current_directory_is_the_workspace_if_it_is_one(
    lst: Lst, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    assert lst("status").code == 0
    monkeypatch.chdir(workspace.root.parent)
    assert "lst-workspace holds no split yet" in lst("status").error
    workspace.root.rename(workspace.root.parent / "lst-workspace")
    assert lst("status").code == 0


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "train-base", "train-joint", "step", "eval", "report", "status", "check",
        "train-base --dry-run",
    ],
)  # fmt: skip
def test_nothing_comes_before_the_split(lst: Lst, tmp_path: Path, command: str) -> None:
    outcome = lst(*command.split(), "-w", tmp_path / "work")
    assert "holds no split yet" in outcome.error
    assert outcome.hint.startswith(f"lst split -w {tmp_path / 'work'} --train TRAIN.json")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("command", "error", "hint"),
    [
        ("step", "the base phase comes first", "lst train-base"),
        ("step --all", "the base phase comes first", "lst train-base"),
        ("step --dry-run", "the base phase comes first", "lst train-base"),
        ("eval", "no phase of", "lst train-base"),
        ("eval --phase 0", "no phase of", "lst train-base"),
        ("report", "has been evaluated", "lst eval"),
    ],
)
def test_commands_out_of_order_name_the_one_that_comes_first(
    lst: Lst, workspace: Workspace, command: str, error: str, hint: str
) -> None:
    before = files_below(workspace.root)
    outcome = lst(*command.split(), "-w", workspace.root)
    assert error in outcome.error
    assert outcome.hint == f"{hint} -w {workspace.root}"
    assert files_below(workspace.root) == before


def test_phases_are_trained_one_by_one_to_the_last(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    outcome = lst("train-base", "-w", workspace.root)
    assert "base phase begun: 5 classes, 24 images, 30 iterations" in outcome.err
    assert outcome.out == f"next: lst step -w {workspace.root}\n"
    twice = lst("train-base", "-w", workspace.root)
    assert "the base phase is done already" in twice.error
    assert twice.hint == f"lst step -w {workspace.root}"
    outcome = lst("step", "-w", workspace.root)
    assert "phase 1 begun: 2 new classes, 7 new + 19 replayed entries" in outcome.err
    outcome = lst("eval", "-w", workspace.root, "--phase", "2")
    assert "phase 2 is not finished" in outcome.error
    assert "phase 9 does not exist" in lst("eval", "-w", workspace.root, "--phase", "9").error
    outcome = lst("step", "-w", workspace.root, "--all")
    assert outcome.out == f"next: lst eval -w {workspace.root} --all-phases\n"
    assert [run[0] for run in fake_trainer.runs] == [0, 1, 2, 3]
    after = lst("step", "-w", workspace.root)
    assert "all 4 phases are done" in after.error
    assert after.hint == f"lst eval -w {workspace.root} --all-phases"
    assert "has been evaluated" in lst("report", "-w", workspace.root).error


def test_parts_of_the_method_can_be_left_out_by_an_option(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    lst("train-base", "-w", workspace.root)
    words = ["--no-distill", "--freeze", "backbone", "--freeze", "roi_heads.mask_head"]
    (manifest,) = lst("step", "-w", workspace.root, *words, "--json").json
    assert manifest["settings"]["step"]["distill_weight"] == 0
    assert manifest["settings"]["step"]["freeze"] == ["backbone", "roi_heads.mask_head"]
    (manifest,) = lst("step", "-w", workspace.root, "--set", "step.freeze=[]", "--json").json
    assert manifest["settings"]["step"]["distill_weight"] == 1
    assert manifest["settings"]["step"]["freeze"] == []


@pytest.mark.parametrize(
    ("words", "replayed"), [(["--replay", "none"], 0), (["--replay", "all"], 74), ([], 19)]
)
def test_replay_is_an_option(
    lst: Lst, workspace: Workspace, fake_trainer: Any, words: list[str], replayed: int
) -> None:
    lst("train-base", "-w", workspace.root)
    plan = lst("step", "-w", workspace.root, *words, "--dry-run", "--json").json
    assert plan["replay_entries"] == replayed
    (manifest,) = lst("step", "-w", workspace.root, *words, "--json").json
    assert manifest["replay_entries"] == replayed
    assert manifest["done"]


def test_other_settings_on_the_way_are_refused_until_a_restart(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    lst("train-base", "-w", workspace.root)
    fake_trainer.stop_after = 3
    stopped = lst("step", "-w", workspace.root)
    assert "interrupted" in stopped.error
    assert stopped.code == 130
    refused = lst("step", "-w", workspace.root, "--new-rows", "mean-feature", "--set", "seed=3")
    assert "step.new_rows was 'random', is now 'mean-feature'" in refused.error
    assert "seed was 0, is now 3" in refused.error
    restarted = lst("step", "-w", workspace.root, "--set", "seed=3", "--restart")
    assert restarted.code == 0
    assert [run[1] for run in fake_trainer.runs] == [0, 0, 0]


def test_an_interrupted_phase_is_continued_by_the_same_command(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    fake_trainer.stop_after = 4
    lst("train-base", "-w", workspace.root)
    assert lst("status", "-w", workspace.root, "--json").json["phases"][0]["state"] == "under way"
    assert re.search(r"base +under way .* \d+ of 30 ", lst("status", "-w", workspace.root).out)
    outcome = lst("train-base", "-w", workspace.root)
    assert outcome.code == 0
    assert "base phase continued after iteration 4" in outcome.err


def test_settings_that_are_refused_stop_every_command(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    workspace.layout.settings.write_text("seed = -1\n[eval]\nbins = 3\n")
    for command in ("train-base", "step", "eval"):
        outcome = lst(command, "-w", workspace.root)
        assert "lst.toml: seed" in outcome.error
        assert "lst.toml: eval.bins" in outcome.error
    assert fake_trainer.runs == []


# --- damage --------------------------------------------------------------------------------------


def test_a_split_of_another_format_is_refused(lst: Lst, workspace: Workspace) -> None:
    record = json.loads(workspace.layout.split.read_text())
    workspace.layout.split.write_text(json.dumps({**record, "format": 3}))
    for command in ("train-base", "step", "eval", "report", "status"):
        assert "format version 3" in lst(command, "-w", workspace.root).error


def test_a_split_that_changed_after_training_is_refused(
    lst: Lst, workspace: Workspace, small_lvis: Any, fake_trainer: Any
) -> None:
    lst("train-base", "-w", workspace.root)
    again = lst(*small_lvis.split_words(base=4), "-w", workspace.root)
    assert "holds phases trained on another split" in again.error
    assert "--force" in again.hint
    record = load_json(workspace.layout.split, "")
    record["classes"][0]["name"] = "another"
    save_json(record, workspace.layout.split)
    for command in ("step", "eval", "report", "status"):
        assert "split.json changed after phase 0" in lst(command, "-w", workspace.root).error


def test_a_manifest_cut_short_is_named(lst: Lst, workspace: Workspace, fake_trainer: Any) -> None:
    lst("train-base", "-w", workspace.root)
    manifest = workspace.phase(0).manifest
    manifest.write_text(manifest.read_text()[:100])
    for command in ("step", "eval", "status"):
        outcome = lst(command, "-w", workspace.root)
        assert f"{manifest}: not valid JSON, perhaps cut short" in outcome.error
        assert str(manifest.parent) in outcome.hint


def test_weights_cut_short_are_named_before_torch_is_loaded(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    lst("train-base", "-w", workspace.root)
    model = workspace.phase(0).model
    model.write_bytes(model.read_bytes()[:4])
    for command in ("step", "eval"):
        assert f"{model}: cut short or changed" in lst(command, "-w", workspace.root).error


# --- status --------------------------------------------------------------------------------------


def test_status_shows_what_is_done_and_what_is_next(
    lst: Lst, workspace: Workspace, fake_trainer: Any
) -> None:
    lst("train-base", "-w", workspace.root)
    outcome = lst("status", "-w", workspace.root)
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["base", "done", "5"] in [line[:3] for line in lines]
    assert "11 classes, 240 image passes so far" in outcome.out
    assert ["1", "next", "2"] in [line[:3] for line in lines]
    assert outcome.out.endswith(f"next: lst step -w {workspace.root}\n")


def test_status_does_not_need_the_right_to_write(lst: Lst, workspace: Workspace) -> None:
    before = files_below(workspace.root)
    workspace.layout.lock.unlink(missing_ok=True)
    lst("status", "-w", workspace.root)
    assert files_below(workspace.root).keys() == before.keys() - {".lock"}


def test_a_file_where_the_workspace_should_be_is_told(lst: Lst, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (("init", "-w", tmp_path / "file"), ("init", "-w", tmp_path / "file" / "below")):
        assert "a file is in the way" in lst(*words).error


# --- what the machine may do ---------------------------------------------------------------------


def test_eval_takes_one_phase_or_all(lst: Lst, workspace: Workspace) -> None:
    outcome = lst("eval", "-w", workspace.root, "--phase", "0", "--all-phases")
    assert "--phase and --all-phases exclude each other" in outcome.error


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (MemoryError(), "error: not enough memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "error: not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "error: not enough memory"),
        (OSError(errno.EIO, "Input/output error", "disk"), "error: disk: Input/output error"),
    ],
)
def test_the_machines_limits_are_one_line(
    lst: Lst, workspace: Workspace, fake_trainer: Any, problem: Exception, error: str
) -> None:
    fake_trainer.fail_in_prepare = problem
    outcome = lst("train-base", "-w", workspace.root)
    assert outcome.code == 1
    assert error in outcome.err
    assert "Traceback" not in outcome.err


def test_a_bug_keeps_its_traceback(lst: Lst, workspace: Workspace, fake_trainer: Any) -> None:
    fake_trainer.fail_in_prepare = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        lst("train-base", "-w", workspace.root)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_one_line(workspace: Workspace) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lst_cli", "status", "-w", str(workspace.root)],
            check=False, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "No space left" in done.stderr


def test_a_reader_that_has_seen_enough_hears_nothing_more(workspace: Workspace) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "lst_cli", "status", "-w", str(workspace.root)],
        check=False, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == ""


def test_every_command_the_group_lists_has_its_module() -> None:
    assert set(main.COMMANDS) == {
        "init", "split", "check", "hold-out", "train-base", "train-joint", "step", "extend",
        "eval", "score", "predict", "report", "compare", "figure", "sweep", "status", "demo",
    }  # fmt: skip


def test_an_old_setting_in_lst_toml_is_noted_once(lst: Lst, workspace: Workspace) -> None:
    text = workspace.layout.settings.read_text()
    workspace.layout.settings.write_text(text.replace("[step]", "[step]\nprevious_share = 0.3\n#"))
    outcome = lst("train-base", "-w", workspace.root, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("lst.toml: step.previous_share = 0.3 has no effect: ") == 1
    refused = lst("train-base", "-w", workspace.root, "--set", "step.previous_share=0.3")
    assert "--set: step.previous_share: was removed" in refused.error
