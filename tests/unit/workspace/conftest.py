from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.workspace.manifest import ClassRecord, InputFile, PhaseManifest, PhasePlan, Split
from lst_cli.workspace.records import save_record
from lst_cli.workspace.store import Workspace


@pytest.fixture
def split() -> Split:
    """Five classes in groups of two, two and one."""
    file = InputFile(path="t.json", sha256="aa", layout="coco", images=4, instances=9)
    classes = tuple(
        ClassRecord(
            category_id=number, name=f"class {number}", instances=9 - number, images=1,
            frequency="r", val_instances=1,
        )
        for number in (4, 2, 5, 1, 3)
    )  # fmt: skip
    plan = {"new_entries": 2, "replay_entries": 1, "mean_new_instances": 1.0, "iterations": 9}
    return Split(
        train=file, val=file, image_dirs=("images",), federated=False, base_classes=2,
        classes=classes, groups=((4, 2), (5, 1), (3,)), excluded=(), left_out_instances=0,
        phases=(PhasePlan(phase=1, classes=2, **plan), PhasePlan(phase=2, classes=1, **plan)),
    )  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path, split: Split) -> Workspace:
    found = Workspace(tmp_path / "work")
    found.save_split(split)
    return found


@pytest.fixture
def begin(workspace: Workspace) -> Callable[..., PhaseManifest]:
    """Write the manifest of a phase by hand; its model is what `model` says."""

    def write(phase: int, *, done: bool = True, model: str = "", **others: Any) -> PhaseManifest:
        split = workspace.split
        fields: dict[str, Any] = {
            "phase": phase, "done": done, "seed": 0, "split_sha256": split.digest,
            "previous_sha256": f"model {phase - 1}" if phase else None,
            "model_sha256": (model or f"model {phase}") if done else None,
            "new_classes": len(split.groups[phase]), "seen_classes": split.seen_classes(phase),
            "new_entries": 3, "replay_entries": 1, "replay_counts": {"4": 1}, "iterations": 10,
            "settings": {"base": {"batch_size": 1}, "step": {"batch_size": 1}},
            "weights": None, "versions": {}, "device": "cpu", "started": "2026-01-01",
        }  # fmt: skip
        manifest = PhaseManifest(**{**fields, **others})
        save_record(manifest, workspace.phase(phase).manifest)
        return manifest

    return write
