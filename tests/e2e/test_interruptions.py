"""A run that is killed at any moment ends with the very weights and numbers of one that is not."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.train.plan import plan_job
from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import before_iteration, differing, losses

pytestmark = pytest.mark.engine

DURING_CHECKS = "import lst_cli.train.train as t; t.check_before_training = kill"
WHILE_BUILDING = "import lst_cli.engine.optim as o; o.build_optimizer = kill"
WHILE_WRITING = """
import lst_cli.engine.checkpoint as c
from pathlib import Path
save, write_bytes = c.save, Path.write_bytes
def write_half(path, data):
    write_bytes(path, data[: len(data) // 2])
    kill()
def save_then_write_half(tensors, metadata):
    if bool(metadata) == {state}:  # weights have no metadata, states have
        Path.write_bytes = write_half
    return save(tensors, metadata)
c.save = save_then_write_half
"""
BEFORE_THE_MANIFEST = "import lst_cli.train.train as t; t.sha256_of = kill"

MOMENTS = {
    "during the checks": DURING_CHECKS,
    "while the network is built": WHILE_BUILDING,
    "before the first iteration": before_iteration(0),
    "before the first state": before_iteration(1),
    "while a state is written": WHILE_WRITING.format(state=True),
    "after a state": before_iteration(3),
    "while weights are written": WHILE_WRITING.format(state=False),
    "between the last iteration and the manifest": BEFORE_THE_MANIFEST,
}


def assert_same(workspace: Workspace, other: Workspace, phase: int) -> None:
    """The same weights to the last bit, and the same losses on the way."""
    ours = workspace.phase(phase)
    assert differing(workspace, other, phase) == []
    assert losses(workspace, phase) == losses(other, phase)
    assert workspace.is_done(phase)
    assert not ours.training_state.exists()
    assert not list(ours.root.glob(".*")), "something half-written was left behind"


def test_a_base_killed_again_and_again_ends_with_the_same_weights(fresh, based, run):
    for moment, first in MOMENTS.items():
        killed = run("train-base", "-w", fresh.root, first=first)
        assert killed.code == -signal.SIGKILL, f"{moment}: {killed.err}"
        assert not fresh.is_done(0), moment
    outcome = run("train-base", "-w", fresh.root).ok()
    assert "base phase continued after iteration" in outcome.err
    assert_same(fresh, based, 0)


def test_a_later_phase_killed_again_and_again_ends_with_the_same_weights(based, finished, run):
    for moment in ("before the first state", "after a state", "while weights are written"):
        killed = run("step", "-w", based.root, first=MOMENTS[moment])
        assert killed.code == -signal.SIGKILL, killed.err
        assert based.next_phase() == 1
    run("step", "-w", based.root).ok()
    assert_same(based, finished, 1)


def test_a_run_that_is_asked_to_stop_saves_and_continues(based, finished, run):
    last = based.split.phases[0].iterations
    for iteration, name in ((2, "SIGINT"), (4, "SIGTERM")):
        stopped = run("step", "-w", based.root, first=before_iteration(iteration, name))
        assert stopped.code == 1
        done = f"iteration {iteration + 1}"
        assert f"error: interrupted after {done} of {last} of phase 1" in stopped.err
        assert "try: run the same command again" in stopped.err
    outcome = run("step", "-w", based.root)
    assert "phase 1 continued after iteration 5" in outcome.err
    assert_same(based, finished, 1)


LOST = """
import lst_cli.inputs as i
from lst_cli.errors import LstError
find = i.ImagePaths.__call__
def lose(self, row):
    if row in {rows}:
        raise LstError("no such image: lost.png")
    return find(self, row)
i.ImagePaths.__call__ = lose
"""


def test_a_phase_that_continues_pastes_what_it_pasted_before(based, tmp_path, run):
    twin = Workspace(shutil.copytree(based.root, tmp_path / "twin"))
    how = ("step.paste_objects=9", "step.replay=none", "step.image_passes=10")
    job = plan_job(based, 1, based.settings(how))
    old = np.concatenate(job.inputs.occurrences.images[:3])
    rows = np.setdiff1d(old, job.data.images())  # pasted from, but not trained on
    words = ("step", *(word for one in how for word in ("--set", one)), "-w")
    lost = LOST.format(rows=rows.tolist())
    run(*words, twin.root, first=lost).ok()
    assert twin.require_done(1).left_out
    killed = run(*words, based.root, first=lost + before_iteration(3))
    assert killed.code == -signal.SIGKILL, killed.err
    run(*words, based.root).ok()  # the images are there again
    assert_same(based, twin, 1)


def test_ctrl_c_before_training_is_one_line(fresh, run):
    # A shell starts what it puts into the background deaf to Ctrl-C, and this may be there.
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    interrupt = DURING_CHECKS.replace("kill", "lambda *_: os.kill(os.getpid(), signal.SIGINT)")
    outcome = run("train-base", "-w", fresh.root, first=listen + interrupt)
    assert outcome.code == 130
    assert "interrupted" in outcome.error
    assert fresh.manifest(0) is None


def test_a_state_cut_short_is_named_with_the_command_that_helps(based, run):
    run("step", "-w", based.root, first=MOMENTS["after a state"])
    state = based.phase(1).training_state
    state.write_bytes(state.read_bytes()[:1000])
    outcome = run("step", "-w", based.root)
    assert "training-state.safetensors: not a whole checkpoint" in outcome.error
    assert f"lst step -w {based.root} --restart" in outcome.err
    assert run("step", "-w", based.root, "--restart").code == 0


# --- evaluation -----------------------------------------------------------------------------------


AT_IMAGE = """
import lst_cli.evaluate.detector as p
encode = p.encode_box_masks
images = []
def encode_or_kill(*arguments):
    images.append(arguments)
    if len(images) == {image}:
        kill()
    return encode(*arguments)
p.encode_box_masks = encode_or_kill
"""


def without_seconds(path: Path) -> Any:
    """A record but for what no two runs share."""
    record = json.loads(path.read_text())
    for one in (record, *record.get("rows", {}).values()):
        one.pop("seconds", None)
        one.pop("checksum", None)
    return record


@pytest.mark.parametrize("instant", [False, True])
def test_an_evaluation_that_was_killed_gives_the_same_numbers(instant, finished, run):
    directory = finished.phase(1)
    images = len(json.loads(Path(finished.split.val.path).read_text())["images"])
    assert images > 2
    words = ["eval", "-w", finished.root, "--phase", 1]
    if instant:
        words.append("--instant")
        assert run(*words).code == 0
    result = directory.instant if instant else directory.metrics
    whole = without_seconds(result), directory.detections.read_bytes()
    result.unlink()
    if not instant:
        directory.detections.unlink()
    # The second of the two ways to make rows: that of the first one is whole.
    killed = run(*words, first=AT_IMAGE.format(image=3 + instant * images))
    assert killed.code == -signal.SIGKILL, killed.err
    assert not result.exists()
    part = directory.instant_part("mean-feature") if instant else directory.detections_part
    # The header and the first image; whether the second is in time depends on the threads.
    assert len(part.read_bytes().splitlines()) in (2, 3)
    # If it looked at every image again, it would die again.
    run(*words, first=AT_IMAGE.format(image=images)).ok()
    assert (without_seconds(result), directory.detections.read_bytes()) == whole
    assert not part.exists()
