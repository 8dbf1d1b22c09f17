"""What may keep old classes from being forgotten, with real networks on the CPU."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from safetensors.numpy import load_file

from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import WHILE_ROWS_ARE_WRITTEN, before_iteration, differing, losses

pytestmark = pytest.mark.engine

CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
WHILE_WEIGHTS_ARE_WRITTEN = "import lst_cli.train.phase_run as p; p.save_model = kill"


KEEPING = ["--set", "step.ema=0.9", "--set", "mwg.boxes=jittered"]


@pytest.fixture(scope="module")
def before_folder(base_folder, run, tmp_path_factory):
    """A workspace whose last phase is the next."""
    folder = tmp_path_factory.mktemp("before") / "workspace"
    shutil.copytree(base_folder, folder)
    run("step", "-w", folder).ok()
    return folder


@pytest.fixture
def before(before_folder, tmp_path):
    return Workspace(shutil.copytree(before_folder, tmp_path / "copy"))


def test_a_last_phase_that_was_stopped_again_and_again_ends_with_the_same_weights(
    before, before_folder, run
):
    workspace, whole = before, Workspace(before_folder)
    run("step", "--mwg", *KEEPING, "-w", whole.root).ok()  # never interrupted
    step = ["step", "--mwg", *KEEPING, "-w", workspace.root]
    last = run(*step, "--dry-run", "--json").json["iterations"]
    assert 4 < last == whole.require_done(2).iterations
    moments = [
        (before_iteration(3), -signal.SIGKILL, 0),
        (before_iteration(last - 1, "SIGINT"), 1, 2),
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
    run(*step).ok()
    assert whole.phase(2).generator.exists()
    assert differing(whole, workspace, 2) == []
    assert losses(workspace, 2) == losses(whole, 2)
    assert len(losses(whole, 2)) == last
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
        run(*line).ok()
    first = [json.loads(line) for line in workspace.phase(1).log.read_text().splitlines()]
    # A phase begins with the network that it is told to keep to.
    assert first[0]["loss_distill"] == 0
    assert first[-1]["loss_distill"] > 0
    settings = workspace.trained_settings(1)
    assert (settings.step.other_objects, settings.step.distill_regions) == ("background", "sampled")
    assert len(load_file(workspace.phase(2).model)[CLASSIFIER]) == 7
