"""Joint training with real networks: every sampler, classifier and mask, on the CPU."""

from __future__ import annotations

import shutil

import pytest

from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import before_iteration, differing, losses

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def joint_folder(tiny, run, tmp_path_factory):
    """All six classes in one phase."""
    folder = tmp_path_factory.mktemp("joint") / "workspace"
    run(*tiny.joint_words(folder)).ok()
    return folder


@pytest.fixture
def joint(joint_folder, tmp_path):
    return Workspace(shutil.copytree(joint_folder, tmp_path / "joint"))


def train(joint, run, sampler, head, mask):
    words = ["--sampler", sampler, "--head", head, "--mask", mask, "--image-passes", 8]
    outcome = run("train-joint", "-w", joint.root, *words, "--json").ok()
    (manifest,) = outcome.json
    assert (manifest["iterations"], manifest["seen_classes"]) == (4, 6)
    logged = losses(joint, 0)
    assert len(logged) == 4
    assert all(
        entry[name] > 0 for entry in logged for name in ("loss_cls", "loss_box_reg", "loss_rpn_cls")
    )
    outcome = run("eval", "-w", joint.root, "--json").ok()
    assert outcome.json["detections"] > 0
    assert outcome.json["segm"]["old"] is None


@pytest.mark.parametrize(
    ("sampler", "head", "mask"),
    [("uniform", "cosine", "transfer"), ("class-aware", "softmax", "transfer"),
     ("repeat-factor", "cosine", "fcn")],
)  # fmt: skip
def test_joint_training_ends_in_metrics(joint, run, sampler, head, mask):
    train(joint, run, sampler, head, mask)


def test_joint_training_ends_in_a_report(joint, run, tiny):
    train(joint, run, "uniform", "softmax", "fcn")
    run("report", "-w", joint.root).ok()
    text = (joint.layout.report / "report.md").read_text()
    plots = {one.stem for one in (joint.layout.report / "plots").iterdir()}
    assert plots == {"ap_by_bin", "class_ap", "class_counts"}
    for part in ("6 classes after joint training", "| joint | 6 |", "8 image passes in all",
                 "| base.sampler | uniform |", "| model.head | softmax |"):  # fmt: skip
        assert part in text
    assert "| base |" not in text
    assert "step." not in text
    photo = next(tiny.images.rglob("*.jpg"))
    run("predict", "-w", joint.root, photo, "--json").ok()


def test_a_sampler_and_another_loss_go_on_where_they_were_killed(joint, run, tmp_path):
    copy = Workspace(shutil.copytree(joint.root, tmp_path / "copy"))
    words = ["--row", "repeat-factor", "--set", "base.repeat_threshold=0.9", "--image-passes", 32]
    words += ["--set", "model.class_loss=gumbel"]
    assert run("train-joint", "-w", joint.root, *words).code == 0
    assert run("train-joint", "-w", copy.root, *words, first=before_iteration(15)).code == -9
    outcome = run("train-joint", "-w", copy.root, *words)
    # The kill fell into a later epoch than the first, whose lengths differ.
    assert joint.require_done(0).new_entries < 28
    assert "joint training continued after iteration 14" in outcome.err
    assert differing(joint, copy, 0) == []
