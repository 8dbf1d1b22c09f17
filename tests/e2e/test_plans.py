"""Every shipped plan with real networks: the rows of Tables 1 to 3, and every figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from lst_cli.demo.draw import draw_demo
from lst_cli.figures import FIGURES
from lst_cli.sweep.read import shipped_plans

pytestmark = pytest.mark.engine
Run = Callable[..., Any]

# Two iterations a phase: enough to pass through everything once.
SHORT = ("base.image_passes=4", "step.image_passes=4", "step.decay_epochs=[]")
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
def dozen(shared: Path) -> Any:
    """A drawn set with as many classes as the seven phases of Table 3 need."""
    with FileLock(shared / "dozen.lock"):
        return draw_demo(
            shared / "dozen", classes=12, size=64, head=9, val_per_class=1, per_image=3.0
        )


@pytest.fixture
def sweep(dozen: Any, tiny: Any, run: Run, tmp_path: Path) -> Callable[[str], Any]:
    """Make a plan's runs; gives the record of the sweep, in `tmp_path / "sweep"`."""
    words = tiny.split_words(tmp_path, *SHORT)
    settings = words[words.index("--set") :]
    data = (
        "--train", dozen.train_json, "--val", dozen.val_json, "--images", dozen.images_dir,
        "--dir", tmp_path / "sweep", "--b", 3, "--phases", 2, "--seed", 0,
    )  # fmt: skip

    def make(plan: str) -> Any:
        outcome = run("sweep", plan, *data, *settings, "--json")
        assert outcome.code == 0, outcome.err
        return outcome.json

    return make


@pytest.mark.parametrize("plan", sorted(set(shipped_plans()) - {"figures"}))
def test_a_shipped_plan_ends_in_its_table(
    sweep: Callable[[str], Any], tmp_path: Path, plan: str
) -> None:
    record = sweep(plan)
    assert not record["failed"]
    names = [one["name"] for one in record["runs"]]
    assert len(names) >= 6
    assert all(len(one["seeds"]) == 1 for one in record["runs"])
    assert all(one["numbers"]["AP"]["mean"] is not None for one in record["runs"])
    table = (tmp_path / "sweep" / "sweep.md").read_text()
    assert all(one["label"] in table for one in record["runs"])


def test_every_figure_is_drawn_from_the_runs_of_its_plan(
    sweep: Callable[[str], Any], run: Run, tmp_path: Path
) -> None:
    assert set(DRAWN) == set(FIGURES)
    sweep("figures")
    for figure, (own, *beside) in DRAWN.items():
        root = tmp_path / "sweep"
        others = [word for name in beside for word in ("--with", root / f"{name}-seed0")]
        words = ("figure", figure, "-w", root / f"{own}-seed0", *others)
        outcome = run(*words, "-o", tmp_path / "paper")
        assert outcome.code == 0, f"{figure}: {outcome.err}"
        for suffix in ("png", "pdf", "csv"):
            drawn = tmp_path / "paper" / "figures" / f"{figure}.{suffix}"
            assert drawn.stat().st_size > 100, drawn
