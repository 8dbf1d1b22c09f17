from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.workspace.records import load_json, save_json
from lst_cli.workspace.store import Workspace
from tests.fixtures.reports import made_up_metrics


@pytest.fixture(autouse=True)
def _no_plots(no_plots):
    """No test here draws them."""


@pytest.fixture
def workspace(split_workspace):
    """The small LVIS set in a base of five classes and three phases of two."""
    return split_workspace


@pytest.fixture
def here(workspace, lst):
    """`lst` in the workspace: `here("step --all")`, and more words one by one."""

    def call(words: str, *more: object) -> Any:
        command, *rest = words.split()
        return lst(command, "-w", workspace.root, *rest, *more)

    return call


class TrainedRuns:
    """Runs that share a base phase and have phases 1 and 2 after it.

    Class order: 7, 9, 4, 2, 5 are the base, 11 and 6 phase 1, 1 and 10 phase 2. The validation
    images hold two objects of each but 8 and 10.
    """

    _JUDGED = (7, 9, 4, 2, 5, 11, 6, 1)
    record = staticmethod(made_up_metrics)

    def __init__(self, base: Workspace, lst: Callable[..., Any], folder: Path) -> None:
        self._base, self._lst, self._folder = base, lst, folder

    def train(self, name: str, *words: str) -> Workspace:
        """Make a run: a copy of the base phase, and phases with such words for `lst step`."""
        root = self._folder / name
        shutil.copytree(self._base.root, root)
        for _ in range(2):
            self._lst("step", *words, "-w", root).ok()
        return Workspace(root)

    def change_split(
        self, workspace: Workspace, change: Callable[[dict[str, Any]], object]
    ) -> None:
        """Change a split, and what its phases know of it."""
        split = load_json(workspace.layout.split, "")
        change(split)
        save_json(split, workspace.layout.split)
        for phase in workspace.done_phases():
            manifest = load_json(workspace.phase(phase).manifest, "")
            manifest["split_sha256"] = Workspace(workspace.root).split.digest_at(phase)
            save_json(manifest, workspace.phase(phase).manifest)

    def evaluate(
        self, workspace: Workspace, ap: float, phases: tuple[int, ...] = (0, 1, 2)
    ) -> None:
        """Leave numbers behind phases: every class with ground truth has the same AP."""
        for phase in phases:
            found = made_up_metrics(workspace, phase, dict.fromkeys(self._JUDGED, ap))
            workspace.phase(phase).metrics.write_text(json.dumps(found))


@pytest.fixture
def runs(workspace, lst, fake_trainer, tmp_path):
    """A trained base phase, and what makes runs of it."""
    del fake_trainer  # it is in place
    assert lst("train-base", "-w", workspace.root).code == 0
    return TrainedRuns(workspace, lst, tmp_path)
