from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.recipes import split
from lst_cli.workspace.store import Workspace


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    for plot in ("plot_class_counts", "plot_replay_balance"):
        monkeypatch.setattr(split, plot, lambda _: b"a plot")  # they take most of the time


@pytest.fixture
def workspace(tmp_path: Path, small_lvis: Any, lst: Callable[..., Any]) -> Workspace:
    """The small LVIS set, split by the command into a base of five and three phases of two."""
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work")
    assert outcome.code == 0, outcome.err
    return Workspace(tmp_path / "work")
