from __future__ import annotations

from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.evaluate.instant import evaluate_instant
from lst_cli.train.train import train_phase
from lst_cli.workspace.store import Workspace


@pytest.fixture
def trained(split_workspace: Workspace, fake_trainer: Any) -> Workspace:
    """Phases 0 to 2 are done."""
    for phase in range(3):
        train_phase(split_workspace, phase, split_workspace.settings())
    return split_workspace


def refusal(workspace: Workspace, phase: int) -> LstError:
    with pytest.raises(LstError) as caught:
        evaluate_instant(workspace, phase, workspace.settings())
    assert not workspace.phase(phase).instant.exists()
    return caught.value


def test_the_base_has_no_classes_to_add(trained):
    assert refusal(trained, 0).message == "the base phase has no classes to add instantly"


def test_a_phase_that_is_not_finished_is_refused(trained):
    error = refusal(trained, 3)
    assert (error.message, error.hint) == ("phase 3 is not finished", "lst step")


def test_a_phase_grown_from_a_model_that_is_gone_is_refused(trained):
    trained.phase(1).manifest.unlink()
    train_phase(trained, 1, trained.settings(["seed=6"]))
    error = refusal(trained, 2)
    assert error.message == "phase 2 was grown from a model that is gone"
    assert error.hint == "lst status"


def test_a_model_before_that_was_cut_short_is_refused(trained):
    model = trained.phase(1).model
    model.write_text(model.read_text()[:5])
    assert "01/model.safetensors: cut short or changed" in refusal(trained, 2).message
