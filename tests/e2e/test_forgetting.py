"""What may keep old classes from being forgotten, with real networks on the CPU."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


KEEPING = words(step__ema=0.9)


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
    outcome = run("step", "--mwg", *KEEPING, "-w", workspace.root)
    assert outcome.code == 0, outcome.err
    return workspace


def losses(workspace: Workspace) -> list[dict[str, float]]:
    lines = workspace.phase(2).log.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_last_phase_that_was_stopped_again_and_again_comes_to_the_same_weights(copy, whole, run):
    workspace = copy()
    step = ["step", "--mwg", *KEEPING, "-w", workspace.root]
    plan = run(*step, "--dry-run", "--json").json
    last = plan["iterations"]
    assert 4 < last == whole.require_done(2).iterations
    moments = [
        (BEFORE_ITERATION.format(iteration=3, signal="SIGKILL"), -signal.SIGKILL, 0),
        (BEFORE_ITERATION.format(iteration=last - 1, signal="SIGINT"), 1, 2),
        (WHILE_ROWS_ARE_WRITTEN, -signal.SIGKILL, last),
        (WHILE_WEIGHTS_ARE_WRITTEN, -signal.SIGKILL, last),
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


def test_every_other_option_works_together_and_is_kept_in_the_manifest(tiny, run, tmp_path):
    workspace = Workspace(tmp_path / "other")
    choices = (
        "model.class_agnostic_boxes=false",
        "base.ema=0.9",
        "base.future_classes=ignore",
        "step.ema=0.9",
        "step.future_classes=ignore",
        "step.other_objects=background",
        "step.distill_regions=sampled",
        "mwg.support=exact",
    )
    for line in (
        tiny.split_words(workspace.root, *choices),
        ["train-base", "-w", workspace.root],
        ["step", "--mwg", "-w", workspace.root],
        ["step", "--set", "step.other_objects=count", "--set", "step.distill_regions=seen",
         "-w", workspace.root],
        ["eval", "-w", workspace.root],
    ):  # fmt: skip
        outcome = run(*line)
        assert outcome.code == 0, outcome.err
    first = [json.loads(line) for line in workspace.phase(1).log.read_text().splitlines()]
    # A phase begins with the network that it is told to keep to.
    assert first[0]["loss_distill"] == 0
    assert first[-1]["loss_distill"] > 0
    settings = workspace.trained_settings(1)
    assert (settings.step.other_objects, settings.step.distill_regions) == ("background", "sampled")
    assert len(load_file(workspace.phase(2).model)[CLASSIFIER]) == 7
