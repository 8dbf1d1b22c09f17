from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.errors import LstError
from lst_cli.inputs import read_training_input
from lst_cli.phases.replay import ALL_CLASSES, instances_per_class
from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Settings
from lst_cli.split.split import plan_phases
from lst_cli.train.plan import (
    classes_with_more,
    image_passes_of,
    plan_job,
    scheduled,
    shown_per_epoch,
)
from lst_cli.train.train import dry_run, train_phase
from lst_cli.workspace.store import Workspace


def train(workspace: Workspace, phase: int, *words: str) -> Any:
    return train_phase(workspace, phase, workspace.settings(words))


def test_a_dry_run_counts_and_writes_nothing(split_workspace, files_below):
    before = files_below(split_workspace.root)
    plan = dry_run(split_workspace, 0, split_workspace.settings())
    assert (plan.new_classes, plan.new_entries, plan.replay_entries) == (5, 24, 0)
    assert (plan.iterations, plan.batch_size) == (30, 8)
    assert plan.seconds > 0
    assert files_below(split_workspace.root) == before
    with pytest.raises(LstError, match="phase 2 needs phase 0 first"):
        dry_run(split_workspace, 2, split_workspace.settings())


def test_a_plan_rests_on_the_rate_of_phases_already_trained(split_workspace, fake_trainer):
    train(split_workspace, 0)
    plan = dry_run(split_workspace, 1, split_workspace.settings())
    # the fake trainer takes a quarter of a second for an iteration
    assert plan.seconds == plan.iterations / 4
    assert plan.seconds_from == "the rate of the base phase"
    train(split_workspace, 1)
    assert "phase 1" in dry_run(split_workspace, 2, split_workspace.settings()).seconds_from


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["step.sampler=uniform"],
        ["step.sampler=repeat-factor", "step.repeat_threshold=0.5"],
        ["step.replay=few", "step.replay_instances=2"],
    ],
)
def test_plan_and_split_count_the_same(split_workspace, words):
    settings = split_workspace.settings(words)
    occurrences = read_training_input(split_workspace).occurrences
    for counted in plan_phases(split_workspace.split, occurrences, settings):
        plan = plan_job(split_workspace, counted.phase, settings).plan
        assert (plan.new_entries, plan.replay_entries, plan.iterations, plan.new_classes) == (
            counted.new_entries, counted.replay_entries, counted.iterations, counted.classes,
        )  # fmt: skip


def test_objects_that_count_in_an_epoch_are_those_of_its_samples_and_those_pasted(split_workspace):
    def shown(phase: int, *words: str) -> Any:
        return shown_per_epoch(plan_job(split_workspace, phase, split_workspace.settings(words)))

    instances = [record.instances for record in split_workspace.split.classes]
    assert shown(0).tolist() == instances[:5]
    once = shown(1)
    assert once[5:].tolist() == instances[5:7]
    assert (shown(1, "step.other_objects=count") >= once).all()
    assert shown(1, "step.other_objects=count").sum() > once.sum()
    assert shown(1, "step.paste_objects=4").sum() > once.sum()


def test_classes_with_more_instances_are_the_first_seen_ones(split_workspace):
    job = plan_job(split_workspace, 0, split_workspace.settings())
    *more, least = [record.instances for record in split_workspace.split.classes[:5]]
    assert [classes_with_more(job, one) for one in (0, least, more[-1], more[0])] == [5, 4, 3, 0]


def test_a_phase_can_be_trained_on_all_images_of_seen_classes(split_workspace, fake_trainer):
    for phase in (0, 1):
        train(split_workspace, phase)
    settings = split_workspace.settings(["step.sampler=repeat-factor", "step.repeat_threshold=0.5"])
    job = plan_job(split_workspace, 2, settings)
    assert (job.data.phase, job.plan.replay_entries, len(job.data.replayed)) == (2, 0, 0)
    occurrences = job.inputs.occurrences
    every = np.unique(np.concatenate(occurrences.images[: job.plan.seen_classes]))
    drawn = job.data.epoch_entries(0)
    assert job.data.images().tolist() == np.unique(drawn.images).tolist() == every.tolist()
    assert set(drawn.labels.tolist()) == {ALL_CLASSES}
    assert job.plan.new_entries == len(job.data) > len(every)
    uniform = plan_job(split_workspace, 2, split_workspace.settings(["step.sampler=uniform"]))
    assert len(uniform.data) == len(every)


def test_a_phase_can_replay_few_images_that_show_every_old_class(split_workspace, fake_trainer):
    for phase in (0, 1):
        train(split_workspace, phase)
    words = ["step.replay=few", "step.replay_instances=2"]
    job = plan_job(split_workspace, 2, split_workspace.settings(words))
    shown = instances_per_class(job.data.few, job.inputs.occurrences, 7)
    assert (shown >= np.minimum(job.inputs.occurrences.instance_counts()[:7], 2)).all()
    assert 0 < len(job.data.few) < len(np.unique(np.concatenate(job.inputs.occurrences.images[:7])))
    # Phases before have banks, but a whole phase is not replayed from them.
    for image in Path(split_workspace.split.image_dirs[0]).iterdir():
        image.rename(image.with_name(f"x{image.name}"))
    assert plan_job(split_workspace, 2, split_workspace.settings(words)).settings == job.settings
    with pytest.raises(LstError, match=r"step\.replay = bank: a whole phase has too many"):
        plan_job(split_workspace, 2, split_workspace.settings(["step.replay=bank"]))


# --- budgets -------------------------------------------------------------------------------------


def test_a_budget_is_turned_into_epochs_and_keeps_the_places_of_decay():
    settings = build_settings({"base": {"epochs": 10.0, "decay_epochs": [6.0, 8.0]}})
    spent, iterations = scheduled(settings, 0, entries=200, image_passes=1000)
    assert iterations == 125
    assert (spent.base.epochs, *spent.base.decay_epochs) == (5.0, 3.0, 4.0)
    assert spent.step == settings.step
    assert Settings.model_validate(spent.model_dump()) == spent
    later, _ = scheduled(Settings(), 2, entries=50, image_passes=25)  # by its own schedule
    assert (later.step.epochs, later.step.decay_epochs) == (0.5, (0.3,))
    assert later.base == Settings().base


@pytest.mark.parametrize(("passes", "iterations"), [(1, 1), (8, 1), (19, 2), (21, 3), (800, 100)])
def test_image_passes_are_rounded_to_whole_batches(split_workspace, passes, iterations):
    plan = dry_run(split_workspace, 0, split_workspace.settings(), image_passes=passes)
    assert (plan.iterations, plan.image_passes) == (iterations, 8 * iterations)


def test_the_passes_of_a_workspace_are_those_of_all_its_phases_once_they_are_finished(
    split_workspace, fake_trainer
):
    for phase, command in ((0, "train-base"), (1, "step"), (2, "step"), (3, "step")):
        with pytest.raises(LstError, match=f"phase {phase} is not finished") as caught:
            image_passes_of(split_workspace)
        assert caught.value.hint == f"lst {command} -w {split_workspace.root}"
        train(split_workspace, phase, f"step.batch_size={4 if phase == 2 else 8}")
    iterations = [split_workspace.require_done(phase).iterations for phase in range(4)]
    assert iterations == [30, 32, 45, 14]
    assert image_passes_of(split_workspace) == 8 * (30 + 32 + 14) + 4 * 45


def test_settings_may_say_how_many_images_a_phase_shows():
    table = {"step": {"image_passes": 300, "epochs": 10.0, "decay_epochs": [6.0]}}
    settings = build_settings(table)
    step = scheduled(settings, 1, entries=50)[0].step
    assert (step.epochs, *step.decay_epochs) == pytest.approx((6.0, 3.6))
    # A budget of the command line counts more, and other phases' settings do not count.
    assert scheduled(settings, 1, entries=50, image_passes=100)[0].step.epochs == 2.0
    assert scheduled(settings, 0, entries=50)[0] == settings


@pytest.mark.parametrize("phase", [0, 1])
def test_iterations_that_nobody_could_train_are_refused_by_their_setting(phase):
    key = "base" if phase == 0 else "step"
    settings = build_settings({key: {"epochs": 1e9, "batch_size": 1}})
    with pytest.raises(LstError, match=rf"{key}\.epochs = 1e\+09 over 10 samples") as caught:
        scheduled(settings, phase, 10)
    assert key in (caught.value.hint or "")
    assert scheduled(settings, phase, 2)[1] == 2_000_000_000
