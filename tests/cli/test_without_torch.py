"""Commands that need no network start and finish without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lst_cli
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]
ROOT = Path(lst_cli.__file__).parents[1]


def files_below(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


WITHOUT_TORCH = """
import sys
from lst_cli.cli.main import main

try:
    main()
finally:
    if "torch" in sys.modules:
        print("torch was imported", file=sys.stderr)
        sys.exit(77)
"""


def without_torch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("json_words", [[], ["--json"]])
@pytest.mark.parametrize("command", ["train-base", "step"])
def test_a_dry_run_loads_no_torch_and_writes_nothing(
    lst: Lst, workspace: Workspace, fake_trainer: Any, command: str, json_words: list[str]
) -> None:
    if command == "step":
        lst("train-base", "-w", workspace.root)
    before = files_below(workspace.root)
    done = without_torch(command, "-w", str(workspace.root), "--dry-run", *json_words)
    assert done.returncode == 0, done.stderr
    assert files_below(workspace.root) == before
    if json_words:
        plan = json.loads(done.stdout)
        assert plan["iterations"] == (30 if command == "train-base" else 32)
        assert plan["replay_counts"] == (
            {} if command == "train-base" else {"7": 3, "9": 4, "4": 4, "2": 4, "5": 4}
        )
    else:
        assert "iterations" in done.stdout


def test_other_commands_without_a_network_load_no_torch(workspace: Workspace) -> None:
    for words in (("status",), ("check",), ("init", "--print")):
        done = without_torch(*words, "-w", str(workspace.root))
        assert done.returncode == 0, done.stderr


@pytest.mark.engine
def test_the_check_for_torch_bites(workspace: Workspace) -> None:
    done = without_torch("train-base", "-w", str(workspace.root), "--set", "model.config=none")
    assert done.returncode == 77
    assert "torch was imported" in done.stderr


def test_split_leaves_torch_alone(small_lvis: Any, tmp_path: Path) -> None:
    done = without_torch(*small_lvis.split_words(), "-w", str(tmp_path / "work"))
    assert done.returncode == 0, done.stderr
