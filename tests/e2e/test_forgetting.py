"""What may keep old classes from being forgotten, with real networks on the CPU."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine
Run = Callable[..., Any]

CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
BEFORE_ITERATION = """
import lst_cli.engine.loop as loop
seed_iteration = loop.seed_iteration
def seed_or_kill(seed, phase, iteration):
    if iteration == {iteration}:
        os.kill(os.getpid(), signal.{signal})
    seed_iteration(seed, phase, iteration)
loop.seed_iteration = seed_or_kill
"""
WHILE_ROWS_ARE_WRITTEN = "import lst_cli.train.phase_run as p; p.save_attention = kill"
WHILE_WEIGHTS_ARE_WRITTEN = "import lst_cli.train.phase_run as p; p.save_model = kill"


def words(**settings: float | str) -> list[str]:
    return [
        word
        for key, value in settings.items()
        for word in ("--set", f"{key.replace('__', '.')}={value}")
    ]


KEEPING = words(step__ema=0.9, step__previous_share=0.3)
REBALANCING = words(step__rebalance_epochs=2.5)


@pytest.fixture(scope="module")
def before_folder(base_folder: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose last phase is the next."""
    folder = tmp_path_factory.mktemp("before") / "workspace"
    shutil.copytree(base_folder, folder)
    outcome = run("step", "-w", folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture(scope="module")
def copy(before_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workspace]:
    def make() -> Workspace:
        folder = tmp_path_factory.mktemp("copy") / "workspace"
        return Workspace(shutil.copytree(before_folder, folder))

    return make


@pytest.fixture(scope="module")
def whole(copy: Callable[[], Workspace], run: Run) -> Workspace:
    """Everything together, never interrupted."""
    workspace = copy()
    outcome = run("step", "--mwg", *KEEPING, *REBALANCING, "-w", workspace.root)
    assert outcome.code == 0, outcome.err
    return workspace


def losses(workspace: Workspace) -> list[dict[str, float]]:
    lines = workspace.phase(2).log.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_last_phase_that_was_stopped_again_and_again_comes_to_the_same_weights(
    copy: Callable[[], Workspace], whole: Workspace, run: Run
) -> None:
    workspace = copy()
    step = ["step", "--mwg", *KEEPING, *REBALANCING, "-w", workspace.root]
    plan = run(*step, "--dry-run", "--json").json
    own, last = plan["rebalance_from"], plan["iterations"]
    assert 4 < own < own + 3 < last == whole.require_done(2).iterations
    moments = [
        (BEFORE_ITERATION.format(iteration=3, signal="SIGKILL"), -signal.SIGKILL, 0),
        # Asked in the last iteration before rebalancing: that one is finished, and no other.
        (BEFORE_ITERATION.format(iteration=own - 1, signal="SIGINT"), 1, 2),
        (WHILE_ROWS_ARE_WRITTEN, -signal.SIGKILL, own),
        (BEFORE_ITERATION.format(iteration=own, signal="SIGKILL"), -signal.SIGKILL, own),
        (BEFORE_ITERATION.format(iteration=own + 1, signal="SIGINT"), 1, own),
        (BEFORE_ITERATION.format(iteration=own + 3, signal="SIGINT"), 1, own + 2),
        (WHILE_WEIGHTS_ARE_WRITTEN, -signal.SIGKILL, own + 4),
    ]
    for first, code, begun in moments:
        stopped = run(*step, first=first)
        assert stopped.code == code, stopped.err
        if begun:
            assert f"phase 2 continued after iteration {begun}:" in stopped.err
        if code == 1:
            assert f"of {last} of phase 2; the state is saved" in stopped.err
        assert not workspace.is_done(2)
    outcome = run(*step)
    assert outcome.code == 0, outcome.err
    for name in ("model", "generator", "attention"):
        ours, theirs = (getattr(one.phase(2), name).read_bytes() for one in (workspace, whole))
        assert ours == theirs, name
    assert losses(workspace) == losses(whole)
    assert len(losses(whole)) == last
    assert not workspace.phase(2).training_state.exists()


def test_rebalancing_trains_the_classifier_alone(
    copy: Callable[[], Workspace], whole: Workspace, run: Run
) -> None:
    plain = copy()
    outcome = run("step", "--mwg", *KEEPING, "-w", plain.root)
    assert outcome.code == 0, outcome.err
    own = plain.require_done(2).iterations
    assert losses(whole)[:own] == losses(plain)
    ours, theirs = (load_file(one.phase(2).model) for one in (whole, plain))
    assert ours.keys() == theirs.keys()
    assert {k for k in ours if not np.array_equal(ours[k], theirs[k])} == {CLASSIFIER}
    moved = np.abs(ours[CLASSIFIER] - theirs[CLASSIFIER]).max(axis=1)
    assert (moved > 0).all()
    # The rows of new classes began as the generator wrote them.
    for name in ("generator", "attention"):
        assert getattr(whole.phase(2), name).read_bytes() == (
            getattr(plain.phase(2), name).read_bytes()
        )
    rates = [one["lr"] for one in losses(whole)[own:]]
    assert rates[0] == pytest.approx(10 * rates[-1])
    assert all("loss_distill" not in one for one in losses(whole)[own:])
    assert all("loss_distill" in one for one in losses(plain))


def test_a_share_of_the_previous_phase_is_in_the_weights(
    copy: Callable[[], Workspace], run: Run
) -> None:
    models = []
    for more in ([], words(step__previous_share=0.3)):
        workspace = copy()
        outcome = run("step", *more, "-w", workspace.root)
        assert outcome.code == 0, outcome.err
        models.append(load_file(workspace.phase(2).model))
    before = load_file(workspace.phase(1).model)
    trained, mixed = models
    assert {len(one[CLASSIFIER]) for one in models} == {7}
    for name, old in before.items():
        if name == CLASSIFIER:
            # Five old classes and the background; the new class lies between them.
            rows = np.delete(trained[name], 5, axis=0)
            np.testing.assert_array_equal(mixed[name][5], trained[name][5])
            np.testing.assert_allclose(
                np.delete(mixed[name], 5, axis=0), 0.7 * rows + 0.3 * old, rtol=1e-4, atol=1e-6
            )
        else:
            expected = 0.7 * trained[name] + 0.3 * old
            np.testing.assert_allclose(mixed[name], expected, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(mixed[CLASSIFIER], trained[CLASSIFIER])


def test_every_other_option_works_together_and_is_kept_in_the_manifest(
    tiny: Any, run: Run, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "other")
    choices = (
        "model.class_agnostic_boxes=false",
        "base.ema=0.9",
        "base.future=ignore",
        "step.ema=0.9",
        "step.future=ignore",
        "step.others=background",
        "step.distill_regions=sampled",
        "step.distill_boxes=0.5",
        "step.previous_share=0.2",
        "mwg.support=exact",
    )
    for line in (
        tiny.split_words(workspace.root, *choices),
        ["train-base", "-w", workspace.root],
        ["step", "--mwg", "-w", workspace.root],
        ["step", "--set", "step.others=count", "--set", "step.distill_regions=seen",
         "--set", "step.rebalance_epochs=0.1", "-w", workspace.root],
        ["eval", "-w", workspace.root],
    ):  # fmt: skip
        outcome = run(*line)
        assert outcome.code == 0, outcome.err
    first = [json.loads(line) for line in workspace.phase(1).log.read_text().splitlines()]
    # A phase begins with the network that it is told to keep to.
    assert first[0]["loss_distill"] == first[0]["loss_distill_box"] == 0
    assert first[-1]["loss_distill"] > 0
    assert first[-1]["loss_distill_box"] > 0
    settings = workspace.trained_settings(1)
    assert (settings.step.others, settings.step.distill_regions) == ("background", "sampled")
    assert workspace.trained_settings(2).step.rebalance_epochs == 0.1
    assert "loss_distill_box" not in losses(workspace)[-1]
    assert len(load_file(workspace.phase(2).model)[CLASSIFIER]) == 7
