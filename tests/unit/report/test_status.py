from __future__ import annotations

import pytest

from lst_cli.report.status import next_command, read_status
from lst_cli.train.train import train_phase
from lst_cli.workspace.store import Workspace


def train(workspace: Workspace, phase: int, *words: str) -> None:
    train_phase(workspace, phase, workspace.settings(words))


def states(workspace: Workspace) -> list[str]:
    return [phase.state for phase in read_status(workspace).phases]


def test_a_fresh_split_waits_for_its_base(split_workspace):
    status = read_status(split_workspace)
    assert states(split_workspace) == ["next", "waiting", "waiting", "waiting"]
    assert status.next_command == "lst train-base"
    assert status.classes == 11
    assert [phase.instances for phase in status.phases] == [(5, 30), (3, 4), (2, 2), (1, 1)]
    assert [phase.entries for phase in status.phases] == [None, 26, 18, 11]


def test_a_phase_under_way_is_told_from_one_that_is_next(split_workspace, fake_trainer):
    train(split_workspace, 0)
    assert states(split_workspace) == ["done", "next", "waiting", "waiting"]
    fake_trainer.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        train(split_workspace, 1)
    assert states(split_workspace) == ["done", "under way", "waiting", "waiting"]
    assert next_command(split_workspace) == "lst step"
    done = [(one.iterations_done, one.iterations) for one in read_status(split_workspace).phases]
    assert done == [(30, 30), (2, 32), (0, 22), (0, 14)]


def test_after_the_last_phase_come_evaluation_and_report(split_workspace, fake_trainer):
    for phase in range(4):
        train(split_workspace, phase)
    assert next_command(split_workspace) == "lst eval --all-phases"
    for phase in range(3):
        split_workspace.phase(phase).metrics.touch()
    assert next_command(split_workspace) == "lst eval"
    for phase in range(3):  # who evaluates the last phase alone is not sent back to it
        split_workspace.phase(phase).metrics.unlink()
    split_workspace.phase(3).metrics.touch()
    assert next_command(split_workspace) == "lst report"


def test_phases_grown_from_a_model_that_is_gone_are_outdated(split_workspace, fake_trainer):
    for phase in range(3):
        train(split_workspace, phase)
    split_workspace.phase(1).manifest.unlink()
    assert states(split_workspace) == ["done", "next", "outdated", "waiting"]
    train(split_workspace, 1, "seed=6")
    assert states(split_workspace) == ["done", "done", "outdated", "waiting"]
    assert next_command(split_workspace) == "lst step --restart"
