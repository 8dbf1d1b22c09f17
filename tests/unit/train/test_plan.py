from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.inputs import read_training_input
from lst_cli.train.plan import phase_data, plan_training
from lst_cli.train.train import dry_run, train_phase
from lst_cli.workspace.store import Workspace


def train(workspace: Workspace, phase: int, *words: str) -> Any:
    return train_phase(workspace, phase, workspace.settings(words))


def files_below(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_dry_run_counts_and_writes_nothing(split_workspace: Workspace) -> None:
    before = files_below(split_workspace.root)
    plan = dry_run(split_workspace, 0, split_workspace.settings())
    assert (plan.new_classes, plan.new_entries, plan.replay_entries) == (5, 24, 0)
    assert (plan.iterations, plan.batch_size) == (30, 8)
    assert plan.seconds > 0
    assert files_below(split_workspace.root) == before


def test_a_dry_run_of_a_phase_that_is_not_next_is_refused(split_workspace: Workspace) -> None:
    with pytest.raises(LstError, match="phase 2 needs phase 0 first"):
        dry_run(split_workspace, 2, split_workspace.settings())


def test_a_plan_rests_on_the_rate_of_phases_already_trained(
    split_workspace: Workspace, fake_trainer: Any
) -> None:
    train(split_workspace, 0)
    plan = dry_run(split_workspace, 1, split_workspace.settings())
    # the fake trainer takes a quarter of a second for an iteration
    assert plan.seconds == plan.iterations / 4
    assert plan.seconds_from == "the rate of the base phase"
    train(split_workspace, 1)
    assert "phase 1" in dry_run(split_workspace, 2, split_workspace.settings()).seconds_from


def test_plan_and_split_count_the_same(split_workspace: Workspace) -> None:
    inputs = read_training_input(split_workspace)
    settings = split_workspace.settings()
    for counted in split_workspace.split.phases:
        data = phase_data(split_workspace, inputs, counted.phase, settings)
        plan = plan_training(split_workspace, counted.phase, settings, data)
        assert (plan.new_entries, plan.replay_entries, plan.iterations, plan.new_classes) == (
            counted.new_entries, counted.replay_entries, counted.iterations, counted.classes,
        )  # fmt: skip


def plans(workspace: Workspace, *words: str) -> list[Any]:
    inputs = read_training_input(workspace)
    settings = workspace.settings(words)
    return [
        plan_training(workspace, phase, settings, phase_data(workspace, inputs, phase, settings))
        for phase in range(4)
    ]
