"""Joint training with real networks: every sampler, classifier and mask, on the CPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine
Run = Callable[..., Any]


@pytest.fixture
def joint(tiny: Any, run: Run, tmp_path: Path) -> Workspace:
    """All six classes in one phase."""
    words = [str(word) for word in tiny.split_words(tmp_path / "joint")]
    for option in ("--b", "--phases"):
        place = words.index(option)
        del words[place : place + 2]
    outcome = run(*words, "--joint")
    assert outcome.code == 0, outcome.err
    return Workspace(tmp_path / "joint")


@pytest.mark.parametrize(
    ("sampler", "head", "mask"),
    [
        ("uniform", "softmax", "fcn"),
        ("uniform", "cosine", "transfer"),
        ("class-aware", "softmax", "transfer"),
        ("repeat-factor", "cosine", "fcn"),
    ],
)
def test_joint_training_ends_in_a_report(joint, run, tiny, sampler, head, mask):
    words = ["--sampler", sampler, "--head", head, "--mask", mask, "--image-passes", 8]
    outcome = run("train-joint", "-w", joint.root, *words, "--json")
    assert outcome.code == 0, outcome.err
    (manifest,) = outcome.json
    assert (manifest["iterations"], manifest["seen_classes"]) == (4, 6)
    logged = [json.loads(line) for line in joint.phase(0).log.read_text().splitlines()]
    assert len(logged) == 4
    assert all(
        entry[name] > 0 for entry in logged for name in ("loss_cls", "loss_box_reg", "loss_rpn_cls")
    )
    outcome = run("eval", "-w", joint.root, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["detections"] > 0
    assert outcome.json["segm"]["old"] is None
    outcome = run("report", "-w", joint.root)
    assert outcome.code == 0, outcome.err
    text = (joint.layout.report / "report.md").read_text()
    assert "6 classes after joint training" in text
    assert {one.stem for one in (joint.layout.report / "plots").iterdir()} == {
        "ap_by_bin", "class_ap", "class_counts",
    }  # fmt: skip
    assert "| joint | 6 |" in text
    assert "| base |" not in text
    assert "8 image passes in all" in text
    assert f"| base.sampler | {sampler} |" in text
    assert f"| model.head | {head} |" in text
    assert "step." not in text
    photo = next(tiny.images.rglob("*.jpg"))
    outcome = run("predict", "-w", joint.root, photo, "--json")
    assert outcome.code == 0, outcome.err


def test_a_sampler_goes_on_where_it_was_killed(joint, run, tmp_path):
    copy = Workspace(shutil.copytree(joint.root, tmp_path / "copy"))
    words = ["--row", "repeat-factor", "--set", "base.repeat_threshold=0.9", "--image-passes", 40]
    kill = """
import lst_cli.engine.loop as loop
seed_iteration = loop.seed_iteration
def seed_or_kill(seed, phase, iteration):
    if iteration == 15:
        kill()
    seed_iteration(seed, phase, iteration)
loop.seed_iteration = seed_or_kill
"""
    assert run("train-joint", "-w", joint.root, *words).code == 0
    assert run("train-joint", "-w", copy.root, *words, first=kill).code == -9
    outcome = run("train-joint", "-w", copy.root, *words)
    # The kill fell into a later epoch than the first, whose lengths differ.
    assert joint.require_done(0).new_entries < 28
    assert "joint training continued after iteration 14" in outcome.err
    assert copy.phase(0).model.read_bytes() == joint.phase(0).model.read_bytes()
