from __future__ import annotations

from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Settings
from lst_cli.train.budget import count_iterations, image_passes_of, scheduled, spend
from lst_cli.train.train import dry_run, train_phase
from lst_cli.workspace.store import Workspace


def test_a_budget_is_turned_into_epochs_and_keeps_the_places_of_decay() -> None:
    settings = build_settings({"base": {"epochs": 10.0, "decay_epochs": [6.0, 8.0]}})
    spent = spend(settings, 0, entries=200, image_passes=1000)
    assert spent.base.epochs == 5.0
    assert spent.base.decay_epochs == (3.0, 4.0)
    assert spent.step == settings.step
    assert Settings.model_validate(spent.model_dump()) == spent


def test_a_later_phase_spends_by_its_own_schedule() -> None:
    spent = spend(Settings(), 2, entries=50, image_passes=25)
    assert (spent.step.epochs, spent.step.decay_epochs) == (0.5, (0.3,))
    assert spent.base == Settings().base


@pytest.mark.parametrize(("passes", "iterations"), [(1, 1), (8, 1), (19, 2), (21, 3), (800, 100)])
def test_image_passes_are_rounded_to_whole_batches(
    split_workspace: Workspace, passes: int, iterations: int
) -> None:
    plan = dry_run(split_workspace, 0, split_workspace.settings(), image_passes=passes)
    assert (plan.iterations, plan.image_passes) == (iterations, 8 * iterations)


def test_the_passes_of_a_workspace_are_those_of_all_its_phases(
    split_workspace: Workspace, fake_trainer: Any
) -> None:
    for phase in range(4):
        size = 4 if phase == 2 else 8
        train_phase(split_workspace, phase, split_workspace.settings([f"step.batch_size={size}"]))
    iterations = [split_workspace.require_done(phase).iterations for phase in range(4)]
    assert iterations == [30, 32, 45, 14]
    assert image_passes_of(split_workspace) == 8 * (30 + 32 + 14) + 4 * 45


def test_passes_of_an_unfinished_workspace_are_not_known(
    split_workspace: Workspace, fake_trainer: Any
) -> None:
    with pytest.raises(LstError, match="phase 0 is not finished") as caught:
        image_passes_of(split_workspace)
    assert caught.value.hint == f"lst train-base -w {split_workspace.root}"
    train_phase(split_workspace, 0, split_workspace.settings())
    with pytest.raises(LstError, match="phase 1 is not finished") as caught:
        image_passes_of(split_workspace)
    assert caught.value.hint == f"lst step -w {split_workspace.root}"


def test_settings_may_say_how_many_images_a_phase_shows() -> None:
    table = {"step": {"image_passes": 300, "epochs": 10.0, "decay_epochs": [6.0]}}
    settings = build_settings(table)
    step = scheduled(settings, 1, entries=50).step
    assert (step.epochs, *step.decay_epochs) == pytest.approx((6.0, 3.6))
    # A budget of the command line counts more, and other phases' settings do not count.
    assert scheduled(settings, 1, entries=50, image_passes=100).step.epochs == 2.0
    assert scheduled(settings, 0, entries=50) == settings


@pytest.mark.parametrize("phase", [0, 1])
def test_iterations_that_nobody_could_train_are_refused_by_their_setting(phase: int) -> None:
    key = "base" if phase == 0 else "step"
    settings = build_settings({key: {"epochs": 1e9, "batch_size": 1}})
    with pytest.raises(LstError, match=rf"{key}\.epochs = 1e\+09 over 10 entries") as caught:
        count_iterations(settings, phase, 10)
    assert key in (caught.value.hint or "")
    assert count_iterations(settings, phase, 2) == 2_000_000_000
