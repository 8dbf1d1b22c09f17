from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lst_cli.recipes.run_settings import find_differences
from lst_cli.recipes.train import train_phase
from lst_cli.workspace.store import Workspace


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (None, {"way": "phases", "strength": 0.5}, ("none", "phases, strength 0.5")),
        (0.5, {"way": "phases", "strength": 0.5}, ("norcal, strength 0.5", "phases, strength 0.5")),
        (0, {"way": "norcal", "strength": 0.25}, ("norcal, strength 0", "norcal, strength 0.25")),
        (0.5, {"way": "norcal", "strength": 0.5}, None),
        (None, None, None),
    ],
)
def test_runs_whose_scores_were_corrected_otherwise_differ(
    split_workspace: Workspace, fake_trainer: Any, tmp_path: Path, one: Any, other: Any, told: Any
) -> None:
    train_phase(split_workspace, 0, split_workspace.settings())
    second = Workspace(shutil.copytree(split_workspace.root, tmp_path / "second"))
    for workspace, calibration in ((split_workspace, one), (second, other)):
        record = {"calibration": calibration, "made_with": {"eval.detections": 300}}
        workspace.phase(0).metrics.write_text(json.dumps(record))
    found = find_differences((split_workspace, 0), (second, 0))
    assert [(each.key, each.first, each.this) for each in found] == (
        [("eval.calibration", *told)] if told else []
    )
