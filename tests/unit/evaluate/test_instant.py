from __future__ import annotations

import pytest

from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import evaluate_instant
from lst_cli.train.train import train_phase
from lst_cli.workspace.store import Workspace


def gone(workspace: Workspace) -> None:
    workspace.phase(1).manifest.unlink()
    train_phase(workspace, 1, workspace.settings(["seed=6"]))


def cut_short(workspace: Workspace) -> None:
    model = workspace.phase(1).model
    model.write_text(model.read_text()[:5])


@pytest.mark.parametrize(
    ("phase", "damage", "message", "hint"),
    [
        (0, None, "the base phase has no classes to add instantly", "lst step"),
        (3, None, "phase 3 is not finished", "lst step"),
        (2, gone, "phase 2 was built on a model that no longer exists", "lst status"),
        (2, cut_short, "01/model.safetensors: cut short or changed", "put the file"),
    ],
)
def test_a_phase_that_cannot_be_grown_again_is_refused(
    split_workspace, fake_trainer, phase, damage, message, hint
):
    for done in range(3):
        train_phase(split_workspace, done, split_workspace.settings())
    if damage is not None:
        damage(split_workspace)
    with pytest.raises(LstError) as caught:
        evaluate_instant(split_workspace, phase, split_workspace.settings())
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert not split_workspace.phase(phase).instant.exists()
