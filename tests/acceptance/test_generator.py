"""What the meta weight generator gains, on two long-tailed sets: hours on two cores.

`make acceptance ARGS='-k generator'`; results are kept in docs/benchmarks/generator.md.
Finished runs are kept in `.acceptance`, or where `LST_KEEP` says, and not made again; `LST_SEEDS`,
`LST_SETS` and `LST_ARMS` choose some of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lst_cli.sweep.tables import ap_text, spread_of
from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.acceptance

SEEDS = [int(seed) for seed in os.environ.get("LST_SEEDS", "0,1,2").split(",")]
SPLITS = {"cutouts": (16, 3), "emblems": (44, 4)}
SETS = os.environ.get("LST_SETS", "cutouts,emblems").split(",")
EVAL = (
    "--set", "eval.detections=100", "--set", "eval.bins==1, <5, <10, 10-39, 40-149, >=150",
)  # fmt: skip
ARMS = {
    "random": "random rows",
    "mean": "mean features",
    "mwg": "MWG, Eq. (3)",
    "bg5": "MWG, background share 0.5",
    "off": "MWG, the same and offsets",
}
CHOSEN = os.environ.get("LST_ARMS", ",".join(ARMS)).split(",")
PLAN = """
title = "Phases with and without the generator"
evaluate = "all"
[[run]]
name = "random"
kind = "lst"
step.new_rows = "random"
[[run]]
name = "mean"
kind = "lst"
step.new_rows = "mean-feature"
[[run]]
name = "mwg"
kind = "lst"
step.mwg = true
mwg = { background_share = 0, learn_offsets = false }
[[run]]
name = "bg5"
kind = "lst"
step.mwg = true
mwg = { background_share = 0.5, learn_offsets = false }
[[run]]
name = "off"
kind = "lst"
step.mwg = true
mwg = { background_share = 0.5, learn_offsets = true }
"""


@pytest.fixture
def sweep(lst, shared_data, kept):
    """Make some arms on a set; gives the workspaces of each arm, a seed after the other."""

    def make(name: str, arms: list[str]) -> dict[str, list[Workspace]]:
        files, (classes, phases) = shared_data / name, SPLITS[name]
        plan, root = kept / "generator.toml", kept / f"generator-{name}"
        kept.mkdir(parents=True, exist_ok=True)
        plan.write_text(PLAN)
        lst(
            "sweep", plan, "--dir", root, "--preset", "lite-paper", "--b", classes,
            "--phases", phases, "--images", files,
            "--train", files / "train.json", "--val", files / "val.json", *EVAL,
            *(word for seed in SEEDS for word in ("--seed", seed)),
            *(word for arm in arms for word in ("--only", arm)),
        )  # fmt: skip
        places = {arm: [next(root.glob(f"{arm}-seed{seed}-*")) for seed in SEEDS] for arm in arms}
        return {arm: list(map(Workspace, found)) for arm, found in places.items()}

    return make


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def mean_row(name: object, *columns: list[float | None]) -> None:
    """The mean of each column over the seeds, and the standard deviation."""
    row(name, *(ap_text(spread_of(column)) or "-" for column in columns))


@pytest.mark.parametrize("name", SETS)
def test_phases_with_and_without_the_generator(sweep, kept, name):
    made = sweep(name, CHOSEN)
    print((kept / f"generator-{name}" / "sweep.md").read_text(encoding="utf-8"))
    columns = [(t, which) for t in range(1, SPLITS[name][1] + 1) for which in ("new", "old")]
    print(f"\n{name}: new and old classes after each phase")
    row("first rows", *(f"{which}, phase {t}" for t, which in columns))
    row(*["---"] * (1 + len(columns)))
    for arm, workspaces in made.items():
        found = [{t: read(one.phase(t).metrics)["segm"] for t, _ in columns} for one in workspaces]
        mean_row(ARMS[arm], *([of_seed[t][which] for of_seed in found] for t, which in columns))
        assert all(of_seed[columns[-1][0]]["AP"] > 0.05 for of_seed in found)


@pytest.mark.parametrize("name", SETS)
def test_classes_before_any_training_of_the_generator_phase(sweep, lst, name):
    workspaces, phases = sweep(name, ["off"])["off"], range(1, SPLITS[name][1] + 1)
    for workspace in workspaces:
        for phase in phases:
            if not workspace.phase(phase).instant.exists():
                lst("eval", "--instant", "-w", workspace.root, "--phase", phase, *EVAL)
    ways = ("random", "mean-feature", "generated")
    print(f"\n{name}, seeds {SEEDS}: new classes at iteration 0 of a phase, and at its end")
    row("phase", *ways, "end of the phase", "old, generated")
    row(*["---"] * 6)
    for phase in phases:
        rows = [read(one.phase(phase).instant)["rows"] for one in workspaces]
        ends = [read(one.phase(phase).metrics)["segm"]["new"] for one in workspaces]
        at_first = [[one[way]["segm"]["new"] for one in rows if way in one] for way in ways]
        old = [one["generated"]["segm"]["old"] for one in rows if "generated" in one]
        mean_row(phase, *at_first, ends, old)
