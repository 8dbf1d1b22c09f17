"""Commands that need no network start and finish without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lst_cli

ROOT = Path(lst_cli.__file__).parents[1]

# Several calls in one process: what takes time is to load the other libraries.
WITHOUT_TORCH = """
import json, sys
from lst_cli.cli.main import main

for words in json.loads(sys.argv[1]):
    sys.argv = ["lst", *words]
    code = 0
    try:
        main()
    except BaseException as stop:
        code = getattr(stop, "code", str(stop))
    if "torch" in sys.modules:
        sys.exit(f"{words}: torch was imported")
    if code:
        sys.exit(f"{words}: exit {code}")
"""


def without_torch(*calls: list[Any]) -> subprocess.CompletedProcess[str]:
    words = json.dumps([list(map(str, call)) for call in calls])
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, words],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["train-base", "step"])
def test_a_dry_run_loads_no_torch_and_writes_nothing(
    here, workspace, fake_trainer, files_below, command
):
    if command == "step":
        here("train-base")
    before = files_below(workspace.root)
    words = [command, "-w", workspace.root, "--dry-run"]
    done = without_torch([*words, "--json"], words)
    assert done.returncode == 0, done.stderr
    assert files_below(workspace.root) == before
    plan, end = json.JSONDecoder().raw_decode(done.stdout)
    assert plan["iterations"] == (30 if command == "train-base" else 32)
    assert plan["replay_counts"] == (
        {} if command == "train-base" else {"7": 3, "9": 4, "4": 4, "2": 4, "5": 4}
    )
    assert "iterations" in done.stdout[end:]


def test_other_commands_without_a_network_load_no_torch(workspace, small_lvis, tmp_path):
    at, out = ["-w", workspace.root], tmp_path / "out"
    done = without_torch(
        ["status", *at], ["check", *at], ["init", "--print", *at],
        [*small_lvis.split_words(), "-w", tmp_path / "new"],
        ["hold-out", "--train", small_lvis.train_json, "--out", out, "--rare", 3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.engine
def test_the_check_for_torch_bites(workspace, tmp_path, monkeypatch):
    (tmp_path / "torch.py").touch()  # the real one takes seconds
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = without_torch(["train-base", "-w", workspace.root, "--set", "model.config=none"])
    assert "torch was imported" in done.stderr
