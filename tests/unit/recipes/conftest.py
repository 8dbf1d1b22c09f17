from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lst_cli.recipes import split
from lst_cli.workspace.store import Workspace


@pytest.fixture
def split_workspace(small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The small LVIS set split into a base of five classes and three phases of two."""
    for plot in ("plot_class_counts", "plot_replay_balance"):
        monkeypatch.setattr(split, plot, lambda _: b"a plot")  # they take most of the time
    workspace = Workspace(tmp_path / "work")
    split.split_dataset(
        workspace,
        train=small_lvis.train_json,
        val=small_lvis.val_json,
        image_dirs=[small_lvis.images],
        base=5,
        phases=3,
        settings=workspace.settings(),
    )
    return workspace
