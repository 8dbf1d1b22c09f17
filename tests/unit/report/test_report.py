from __future__ import annotations

import pytest

from lst_cli.report import report
from lst_cli.report.plots import _plan_plots, _replay_clause
from lst_cli.train.train import train_phase


def test_settings_of_the_base_are_those_it_was_trained_with(split_workspace, fake_trainer):
    train_phase(split_workspace, 0, split_workspace.settings(["base.epochs=12", "base.lr=0.123"]))
    assert not any(key.startswith("step.") for key in report._settings(split_workspace, 0))
    train_phase(split_workspace, 1, split_workspace.settings(["step.lr=0.5"]))
    shown = report._settings(split_workspace, 1)
    assert (shown["base.epochs"], shown["base.lr"], shown["step.lr"]) == ("12", "0.123", "0.5")


def test_what_each_phase_was_trained_on_goes_by_its_own_replay(split_workspace, fake_trainer):
    train_phase(split_workspace, 0, split_workspace.settings())
    for phase, replay in ((1, "balanced"), (2, "none"), (3, "all")):
        train_phase(split_workspace, phase, split_workspace.settings([f"step.replay={replay}"]))
    balances = report._balance(split_workspace)
    assert [(one.phase, one.replay) for one in balances] == [
        (1, "balanced"), (2, "none"), (3, "all"),
    ]  # fmt: skip
    assert sum(balances[1].after[: balances[1].old]) == 0
    assert balances[2].after[: balances[2].old] == balances[2].before[: balances[2].old]
    assert "as many instances" in _replay_clause(balances[:1])
    assert _replay_clause(balances) == (
        " (step.replay = all, step.replay = balanced, step.replay = none)."
    )


@pytest.mark.parametrize("other_objects", ["count", "background"])
def test_the_plot_of_the_balance_says_if_other_objects_count(make_data, balance, other_objects):
    data = make_data(replay=[balance], settings={"step.other_objects": other_objects})
    [caption] = [plot[1] for plot in _plan_plots(data) if plot[0] == "replay_balance"]
    assert ("other objects in an image of a sample count" in caption) == (other_objects == "count")


def test_the_replay_of_few_images_and_samplers_are_a_part_of_the_balance(
    split_workspace, fake_trainer
):
    train_phase(split_workspace, 0, split_workspace.settings(["base.paste_objects=2"]))
    for phase, words in ((1, "step.replay=few"), (2, "step.sampler=uniform")):
        train_phase(split_workspace, phase, split_workspace.settings([words]))
    balances = report._balance(split_workspace)
    assert [one.phase for one in balances] == [0, 1, 2]
    assert _replay_clause(balances) == " (step.replay = few, step.sampler = uniform)."
    assert _replay_clause(balances[:1]) == "."
    assert balances[2].after == balances[2].before
