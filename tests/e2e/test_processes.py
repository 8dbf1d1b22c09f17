"""Several processes do what one does: the same weights but for rounding, the same detections."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import before_iteration

pytestmark = [pytest.mark.engine, pytest.mark.processes]

# Batches that one, two and three processes can share.
SIX = (
    "base.batch_size=6", "base.epochs=4", "base.decay_epochs=[2]", "base.save_every=2",
    "step.batch_size=6", "step.epochs=4", "step.save_every=2", "step.ema=0.5",
)  # fmt: skip
COMMANDS = (["train-base"], ["step"], ["step", "--mwg", "--set", "mwg.boxes=jittered"])


@pytest.fixture(scope="module")
def split_folder(tiny, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes") / "split"
    run(*tiny.split_words(folder, *SIX)).ok()
    return folder


@pytest.fixture(scope="module")
def alone(split_folder, run_together):
    """A workspace with all phases trained and evaluated by one process of torchrun."""
    folder = shutil.copytree(split_folder, split_folder.with_name("alone"))
    for words in (*COMMANDS, ["eval", "--all-phases"]):
        [outcome] = run_together(1, *words, "-w", folder)
        outcome.ok()
    return Workspace(folder)


@pytest.fixture
def workspace(split_folder, tmp_path):
    return Workspace(shutil.copytree(split_folder, tmp_path / "workspace"))


def copy_phases(source: Workspace, target: Workspace, phases: int) -> None:
    for phase in range(phases):
        shutil.copytree(source.phase(phase).root, target.phase(phase).root)


def assert_equal_weights(one: Path, other: Path) -> None:
    found, expected = load_file(one), load_file(other)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=5e-4, msg=name)
        difference = (found[name].double() - tensor.double()).norm()
        assert difference <= 1e-4 * tensor.double().norm() + 1e-9, name


def test_two_processes_train_and_find_what_one_does(alone, workspace, run_together):
    for words in (*COMMANDS, ["eval", "--all-phases"]):
        first, second = run_together(2, *words, "-w", workspace.root)
        first.ok()
        second.ok()
        assert (second.out, second.err) == ("", "")
        assert first.err.count("done: ") + first.err.count("wrote ") == 1, "one process prints"
    for phase in range(3):
        ours, theirs = workspace.phase(phase), alone.phase(phase)
        for name in ("model", "generator"):
            if getattr(theirs, name).exists():
                assert_equal_weights(getattr(ours, name), getattr(theirs, name))
        found, expected = (
            json.loads(one.metrics.read_text())["segm"]["per_class"] for one in (ours, theirs)
        )
        assert found == pytest.approx(expected, abs=1e-3)
        assert workspace.require_done(phase).by_image
        assert not list(ours.root.glob("*.part*"))
        logged = [json.loads(line) for line in ours.log.read_text().splitlines()]
        totals = [json.loads(line)["total"] for line in theirs.log.read_text().splitlines()]
        assert [one["total"] for one in logged] == pytest.approx(totals, rel=1e-4)


def test_a_phase_killed_and_continued_by_other_numbers_of_processes_ends_the_same(
    alone, workspace, run_together
):
    copy_phases(alone, workspace, 2)
    words = [*COMMANDS[2], "-w", workspace.root]
    kill = before_iteration
    for count, first in (
        (3, ["", kill(1), ""]),  # before the first state
        (2, [kill(2), ""]),
        (3, ["", "", kill(3)]),
    ):
        outcomes = run_together(count, *words, first=first)
        assert [one.code for one in outcomes].count(-9) == 1
        assert all(one.code for one in outcomes)
        errors = [line for one in outcomes for line in one.err.splitlines() if "error: " in line]
        assert len(errors) == 1
        assert "another process of this training has ended" in errors[0]
        assert not any("Traceback" in one.err for one in outcomes)
    [last] = run_together(1, *words)
    assert "phase 2 continued after iteration 3" in last.ok().err
    for name in ("model", "generator"):
        ours, theirs = workspace.phase(2), alone.phase(2)
        assert_equal_weights(getattr(ours, name), getattr(theirs, name))
