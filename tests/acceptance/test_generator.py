"""What the meta weight generator gains, on two long-tailed sets: hours on two cores.

`make acceptance ARGS='-k generator'`; results are kept in docs/benchmarks/generator.md.
Finished runs are kept in `.acceptance`, or where `LST_KEEP` says, and not made again; `LST_SEEDS`,
`LST_SETS` and `LST_ARMS` choose some of them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.acceptance

Run = Callable[..., tuple[float, float]]

SEEDS = [int(seed) for seed in os.environ.get("LST_SEEDS", "0,1,2").split(",")]
SPLITS = {"cutouts": (16, 3), "emblems": (44, 4)}
SETS = os.environ.get("LST_SETS", "cutouts,emblems").split(",")
CHOSEN = os.environ.get("LST_ARMS", "random,mean,mwg,bg5,off").split(",")
EVAL = (
    "--set", "eval.detections=100", "--set", "eval.bins==1, <5, <10, 10-39, 40-149, >=150",
)  # fmt: skip
ARMS = {
    "random": ("--new-rows", "random"),
    "mean": ("--new-rows", "mean-feature"),
    "mwg": ("--mwg", "--set", "mwg.background_share=0", "--set", "mwg.learn_offsets=false"),
    "bg5": ("--mwg", "--set", "mwg.background_share=0.5", "--set", "mwg.learn_offsets=false"),
    "off": ("--mwg", "--set", "mwg.background_share=0.5", "--set", "mwg.learn_offsets=true"),
}
NAMES = {
    "random": "random rows",
    "mean": "mean features",
    "mwg": "MWG, Eq. (3)",
    "bg5": "MWG, background share 0.5",
    "off": "MWG, the same and offsets",
}
# Ranks of the classes that `lst extend` adds: 34, 22 and 14 training instances.
HELD_OUT = (40, 47, 54)


@dataclass
class Runs:
    """Workspaces below one directory, each made once."""

    root: Path
    data: Path
    lst: Run

    def base(self, name: str, seed: int, *, train: Path | None = None, tag: str = "") -> Path:
        """A workspace whose base phase is trained."""
        workspace = self.root / f"{name}-{seed}{tag}"
        files = self.data / name
        classes, phases = SPLITS[name]
        if not (workspace / "split.json").exists():
            self.lst(
                "split", "-w", workspace, "--preset", "lite-paper", "--set", f"seed={seed}",
                "--b", classes, "--phases", phases, "--images", files,
                "--train", train or files / "train.json", "--val", files / "val.json",
            )  # fmt: skip
        if Workspace(workspace).next_phase() == 0:
            self.lst("train-base", "-w", workspace)
        return workspace

    def arm(self, name: str, seed: int, arm: str) -> Path:
        """A copy of it with all phases trained in one way, each evaluated."""
        workspace = self.root / f"{name}-{seed}-{arm}"
        if not workspace.exists():
            copied = workspace.with_name(f".{workspace.name}")
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(self.base(name, seed), copied)
            copied.rename(workspace)
        if Workspace(workspace).next_phase() is not None:
            self.lst("step", "--all", "-w", workspace, *ARMS[arm])
        for phase in range(1, SPLITS[name][1] + 1):
            self.evaluate(workspace, phase)
        return workspace

    def evaluate(self, workspace: Path, phase: int) -> Any:
        """Metrics of a phase."""
        file = Workspace(workspace).phase(phase).metrics
        if not file.exists():
            self.lst("eval", "-w", workspace, "--phase", phase, *EVAL)
        return json.loads(file.read_text())["segm"]

    def instant(self, workspace: Path, phase: int) -> Any:
        """Metrics of a phase's classes before its first iteration."""
        file = Workspace(workspace).phase(phase).instant
        if not file.exists():
            self.lst("eval", "--instant", "-w", workspace, "--phase", phase, *EVAL)
        return {way: one["segm"] for way, one in json.loads(file.read_text())["rows"].items()}


@pytest.fixture
def runs(lst, shared_data, kept):
    return Runs(kept, shared_data, lst)


def percent(values: Sequence[float | None]) -> str:
    """Mean over the seeds, and the standard deviation."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.1f}{spread}"


def table(*headings: str) -> None:
    print("\n| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


@pytest.mark.parametrize("name", SETS)
def test_phases_with_and_without_the_generator(runs, name):
    last = SPLITS[name][1]
    found: dict[str, list[list[Any]]] = {arm: [] for arm in CHOSEN}
    for seed in SEEDS:
        for arm, of_seed in found.items():
            workspace = runs.arm(name, seed, arm)
            of_seed.append([runs.evaluate(workspace, phase) for phase in range(1, last + 1)])
    bins = found[CHOSEN[0]][0][-1]["bins"]
    print(f"\n{name}, seeds {SEEDS}: after the last phase, mask AP by training instances")
    table("first rows", *(f"{one['bin']} ({one['with_ground_truth']})" for one in bins), "AP")
    for arm, by_seed in found.items():
        ends = [phases[-1] for phases in by_seed]
        cells = [percent([end["bins"][place]["AP"] for end in ends]) for place in range(len(bins))]
        row(NAMES[arm], *cells, percent([end["AP"] for end in ends]))
    print(f"\n{name}: new and old classes after each phase")
    table(
        "first rows", *(f"{which}, phase {t + 1}" for t in range(last) for which in ("new", "old"))
    )
    for arm, by_seed in found.items():
        cells = [
            percent([phases[t][which] for phases in by_seed])
            for t in range(last)
            for which in ("new", "old")
        ]
        row(NAMES[arm], *cells)
    assert all(end["AP"] > 0.05 for by_seed in found.values() for *_, end in by_seed)


@pytest.mark.parametrize("name", SETS)
def test_classes_before_any_training_of_the_generator_phase(runs, name):
    last = SPLITS[name][1]
    print(f"\n{name}, seeds {SEEDS}: new classes at iteration 0 of a phase, and at its end")
    table("phase", "random", "mean feature", "generated", "end of the phase", "old, generated")
    for phase in range(1, last + 1):
        instants, ends = [], []
        for seed in SEEDS:
            workspace = runs.arm(name, seed, "off")
            instants.append(runs.instant(workspace, phase))
            ends.append(runs.evaluate(workspace, phase)["new"])
        ways = ("random", "mean-feature", "generated")
        cells = [
            percent([one[way]["new"] if way in one else None for one in instants]) for way in ways
        ]
        old = percent([one["generated"]["old"] if "generated" in one else None for one in instants])
        row(phase, *cells, percent(ends), old)


def test_classes_that_extend_adds(runs, tmp_path):
    if "cutouts" not in SETS:
        pytest.skip("LST_SETS leaves cutouts out")
    files = runs.data / "cutouts"
    names, held = _held_out(files / "train.json")
    file = runs.root / "cutouts-without-three.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(held))
    # One seed: nine extensions of one workspace, each with an evaluation.
    plain = runs.base("cutouts", SEEDS[0], train=file, tag="-held")
    if Workspace(plain).next_phase() is not None:
        runs.lst("step", "--all", "-w", plain, *ARMS["bg5"])
    before = runs.evaluate(plain, 3)["AP"]
    print(f"\ncutouts without {', '.join(map(repr, names))}: these added by lst extend")
    table("way", "boxes a class", "new", "old, before", "old, after", "s")
    for way in ("generated", "mean feature", "finetuned"):
        for shots in (1, 3, 5):
            new, old, seconds = _extend(runs, plain, files, names, way, shots)
            row(way, shots, *(percent([ap]) for ap in (new, before, old)), f"{seconds:.1f}")


def _extend(
    runs: Runs, plain: Path, files: Path, names: Sequence[str], way: str, shots: int
) -> tuple[float, float, float]:
    """AP of the added classes, AP of the others, and the seconds of the command."""
    workspace = plain.with_name(f"{plain.name}-{way.replace(' ', '-')}-{shots}")
    seconds = workspace / "seconds"
    if not seconds.exists():
        shutil.rmtree(workspace, ignore_errors=True)
        shutil.copytree(plain, workspace)
        if way == "mean feature":
            Workspace(workspace).phase(3).generator.unlink()
        few = workspace / "few.json"
        few.write_text(json.dumps(_few(files / "train.json", names, shots)))
        chosen = [word for name in names for word in ("--class", name)]
        more = ("--finetune", *ARMS["bg5"]) if way == "finetuned" else ()
        spent, _ = runs.lst("extend", "-w", workspace, "--train", few, *chosen, *more)
        seconds.write_text(str(spent))
    metrics = runs.evaluate(workspace, 4)
    return metrics["new"], metrics["old"], float(seconds.read_text())


def _held_out(train: Path) -> tuple[list[str], dict[str, Any]]:
    """Names of the held-out classes, and the training file without their annotations."""
    content = json.loads(train.read_text())
    counts: dict[int, int] = {}
    for annotation in content["annotations"]:
        counts[annotation["category_id"]] = counts.get(annotation["category_id"], 0) + 1
    order = sorted(counts, key=lambda category_id: (-counts[category_id], category_id))
    held = {order[rank] for rank in HELD_OUT}
    names = [one["name"] for one in content["categories"] if one["id"] in held]
    kept = [one for one in content["annotations"] if one["category_id"] not in held]
    return names, {**content, "annotations": kept}


def _few(train: Path, names: Sequence[str], shots: int) -> dict[str, Any]:
    """For each class the first images that show it once and no other held-out class.

    Everything annotated in these images is kept.
    """
    content = json.loads(train.read_text())
    wanted = {one["id"] for one in content["categories"] if one["name"] in names}
    shown: dict[int, list[int]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] in wanted:
            shown.setdefault(annotation["image_id"], []).append(annotation["category_id"])
    images: set[int] = set()
    for category_id in sorted(wanted):
        alone = [image for image, of_image in shown.items() if of_image == [category_id]]
        assert len(alone) >= shots
        images |= set(alone[:shots])
    return {
        **content,
        "images": [one for one in content["images"] if one["id"] in images],
        "annotations": [one for one in content["annotations"] if one["image_id"] in images],
    }
