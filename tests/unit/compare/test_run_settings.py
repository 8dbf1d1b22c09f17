from __future__ import annotations

import shutil

from lst_cli.compare.run_settings import find_differences
from lst_cli.train.train import TrainingOptions, train_phase
from lst_cli.workspace.store import Workspace


def test_lengths_that_a_number_of_images_decided_are_compared_as_images(
    split_workspace, fake_trainer, tmp_path
):
    train_phase(split_workspace, 0, split_workspace.settings())
    copies = {
        name: Workspace(shutil.copytree(split_workspace.root, tmp_path / name))
        for name in ("all", "none", "short")
    }
    train_phase(split_workspace, 1, split_workspace.settings())
    shown = split_workspace.require_done(1).image_passes
    for name, passes in (("all", shown), ("none", shown), ("short", 8)):
        settings = split_workspace.settings([f"step.replay={name.replace('short', 'all')}"])
        train_phase(copies[name], 1, settings, TrainingOptions(image_passes=passes))
    for name in ("all", "none"):
        found = find_differences((split_workspace, 1), (copies[name], 1))
        assert [(one.key, one.this) for one in found] == [("step.replay", name)]
    before = split_workspace.require_done(0).image_passes
    found = find_differences((split_workspace, 1), (copies["short"], 1))
    assert [(one.key, one.first, one.this) for one in found] == [
        ("step.replay", "balanced", "all"),
        ("image passes", f"{before} + {shown}", f"{before} + 8"),
    ]
