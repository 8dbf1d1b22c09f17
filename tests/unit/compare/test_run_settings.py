from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lst_cli.ap.calibration import Correction, read_correction
from lst_cli.ap.metrics import Metrics
from lst_cli.compare import run_settings
from lst_cli.compare.run_settings import find_differences
from lst_cli.train.train import train_phase
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
    split_workspace: Workspace, fake_trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    one: Any, other: Any, told: Any,
) -> None:  # fmt: skip
    kept = {}
    train_phase(split_workspace, 0, split_workspace.settings())
    second = Workspace(shutil.copytree(split_workspace.root, tmp_path / "second"))
    for workspace, calibration in ((split_workspace, one), (second, other)):
        correction = read_correction(calibration)
        kept[workspace.root] = Metrics.model_construct(
            calibration=correction and Correction(**correction),
            made_with={"eval.detections": 300},
        )
    monkeypatch.setattr(run_settings, "stored_metrics", lambda of, phase: kept[of.root])
    found = find_differences((split_workspace, 0), (second, 0))
    assert [(each.key, each.first, each.this) for each in found] == (
        [("eval.calibration", *told)] if told else []
    )


def test_lengths_that_a_number_of_images_decided_are_compared_as_images(
    split_workspace: Workspace, fake_trainer: Any, tmp_path: Path
) -> None:
    train_phase(split_workspace, 0, split_workspace.settings())
    copies = {
        name: Workspace(shutil.copytree(split_workspace.root, tmp_path / name))
        for name in ("all", "none", "short")
    }
    train_phase(split_workspace, 1, split_workspace.settings())
    shown = split_workspace.require_done(1).image_passes
    for name, passes in (("all", shown), ("none", shown), ("short", 8)):
        settings = split_workspace.settings([f"step.replay={name.replace('short', 'all')}"])
        train_phase(copies[name], 1, settings, image_passes=passes)
    for name in ("all", "none"):
        found = find_differences((split_workspace, 1), (copies[name], 1))
        assert [(one.key, one.this) for one in found] == [("step.replay", name)]
    before = split_workspace.require_done(0).image_passes
    found = find_differences((split_workspace, 1), (copies["short"], 1))
    assert [(one.key, one.first, one.this) for one in found] == [
        ("step.replay", "balanced", "all"),
        ("image passes", f"{before} + {shown}", f"{before} + 8"),
    ]
