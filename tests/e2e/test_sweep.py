"""Sweeps with real networks: what is shared, every shipped plan, and every figure."""

from __future__ import annotations

import re
from importlib import resources

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from lst_cli.demo.draw import Parameters, draw_demo
from lst_cli.figures import FIGURES
from lst_cli.sweep.plan import read_plan
from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import losses

pytestmark = pytest.mark.engine


def test_a_base_phase_does_not_depend_on_later_phases(tiny, run, base_folder, tmp_path):
    # What makes it right to share one between splits that differ after it.
    split = [str(word) for word in tiny.split_words(tmp_path)]
    split[split.index("--phases") + 1] = "3"
    for words in (split, ["train-base", "-w", tmp_path]):
        run(*words).ok()
    models = [Workspace(root).phase(0).model.read_bytes() for root in (base_folder, tmp_path)]
    assert models[0] == models[1]


# --- every shipped plan ---------------------------------------------------------------------------


# One iteration a phase: enough to pass through everything once.
SHORT = ("base.image_passes=2", "step.image_passes=2", "step.decay_epochs=[]")
# Runs that stand for those of all plans, which tests/cli looks at without training: what figures
# are drawn of, and methods of several stages, with pasting and without.
WHOLE: dict[str, tuple[str, ...]] = {"figures": (), "successors": ("step-wise-paste", "simltd")}
# Figure, the run it is drawn of, and the runs beside it.
DRAWN = {
    "balance": ("lst",),
    "tail": ("lst", "joint-cosine"),
    "attention": ("lst-mwg",),
    "distill": ("lst", "no-distillation"),
    "replay": ("lst", "replay-none", "replay-all"),
    "mwg": ("lst-mwg", "lst"),
}


@pytest.fixture(scope="session")
def dozen(shared):
    """A drawn set with as many classes as the seven phases of Table 3 need."""
    with FileLock(shared / "dozen.lock"):
        return draw_demo(
            shared / "dozen",
            Parameters(classes=12, size=64, head=9, val_per_class=1, per_image=3.0),
        )


def test_shipped_plans_end_in_their_tables_and_every_figure_is_drawn(
    dozen, tiny, run, base_folder, tmp_path
):
    root = tmp_path / "sweep"  # one for all plans: what two of them have in common is trained once
    words = tiny.split_words(tmp_path, *SHORT)
    data = (
        "--train", dozen.train_json, "--val", dozen.val_json, "--images", dozen.images_dir,
        "--dir", root, "--b", 3, "--phases", 1, "--seed", 0, *words[words.index("--set") :],
    )  # fmt: skip
    for plan, only in WHOLE.items():
        chosen = [word for one in only for word in ("--only", one)]
        if plan == "successors":  # from a detector of other classes
            chosen += ["--weights", base_folder]
        outcome = run("sweep", plan, *data, *chosen, "--json")
        assert outcome.code == 0, f"{plan}: {outcome.err}"
        record = outcome.json
        assert not record["failed"]
        assert len(record["runs"]) >= 6
        made = [one for one in record["runs"] if not only or one["name"] in only]
        assert all(len(one["seeds"]) == 1 for one in made)
        assert all(one["numbers"]["AP"]["mean"] is not None for one in made)
        table = (root / "sweep.md").read_text()
        assert all(one["label"] in table for one in record["runs"])
    assert len(list((root / "bases").iterdir())) == 2, "one of them from other weights"

    def workspace(name: str) -> Workspace:
        return Workspace(next(root.glob(f"{name}-seed0-*")))

    models = [workspace(name).phase(0).model.read_bytes() for name in ("lst", "lst-mwg")]
    assert models[0] == models[1]
    assert workspace("lst-mwg").require_done(0).shared_from is not None

    # Class-specific parts are dropped of other classes' weights, and kept from stage to stage.
    dropped = {
        name: len((workspace(name).require_done(0).weights or {})["dropped"])
        for name in ("step-wise-1-paste", "step-wise-2-paste", "step-wise-paste", "simltd")
    }
    assert list(dropped.values()) == [4, 0, 0, 0]
    assert all("loss_distill" in one for one in losses(workspace("step-wise-paste"), 0))
    assert not any("loss_distill" in one for one in losses(workspace("simltd"), 0))
    tail = workspace("simltd-2")
    rows = [
        load_file(tail.phase(phase).model)["roi_heads.box_predictor.cls_score.weight"]
        for phase in (0, 1)
    ]
    torch.testing.assert_close(rows[0], torch.cat([rows[1][:3], rows[1][-1:]]))

    assert set(DRAWN) == set(FIGURES)
    for figure, runs in DRAWN.items():
        own, *beside = (next(root.glob(f"{name}-seed0-*")) for name in runs)
        others = [word for one in beside for word in ("--with", one)]
        outcome = run("figure", figure, "-w", own, *others, "-o", tmp_path / "paper")
        assert outcome.code == 0, f"{figure}: {outcome.err}"
        for suffix in ("png", "pdf", "csv"):
            drawn = tmp_path / "paper" / "figures" / f"{figure}.{suffix}"
            assert drawn.stat().st_size > 100, drawn


def test_classes_are_added_in_every_way_of_the_shipped_plan(dozen, tiny, run, tmp_path):
    text = resources.files("lst_cli").joinpath("plans/extend.toml").read_text()
    draws = re.compile(r"draws = 5\nclasses = 3\ninstances = .*\nboxes = .*\n")
    smaller, count = draws.subn("draws = 1\nclasses = 1\ninstances = [1, 99]\nboxes = [1]\n", text)
    assert count == 1
    plan = tmp_path / "extend.toml"
    plan.write_text(smaller)
    words = tiny.split_words(tmp_path, *SHORT, "extend.image_passes=2")
    outcome = run(
        "sweep", plan, "--train", dozen.train_json, "--val", dozen.val_json, "--images",
        dozen.images_dir, "--dir", tmp_path / "added", "--b", 3, "--phases", 1, "--json",
        *words[words.index("--set") :],
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = {row["run"]: row for row in outcome.json["rows"]}
    assert len(rows) == len(read_plan("extend").runs) - 1
    assert all(len(row["draws"]) == 1 for row in rows.values())
    numbers = {run: row["numbers"] for run, row in rows.items()}
    assert all(one["new"]["mean"] is not None for one in numbers.values())
    assert numbers["mean-feature"]["images"]["mean"] > 1
    assert numbers["rows-imtfa"]["images"]["mean"] == 1, "no image of the base is shown"
    assert list((tmp_path / "added" / "cells").glob("*/")) == []
