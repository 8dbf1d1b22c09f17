"""What a command needs is read and checked before its network runs for the first time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lst_cli.evaluate import evaluate
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]


@pytest.fixture
def trained(workspace: Workspace, lst: Lst, fake_trainer: Any) -> Workspace:
    """Phases 0 and 1 are done."""
    del fake_trainer  # it is in place
    assert lst("train-base", "-w", workspace.root).code == 0
    assert lst("step", "-w", workspace.root).code == 0
    return workspace


def other_size(path: Path) -> None:
    Image.new("RGB", (7, 5)).save(path)


def no_image(path: Path) -> None:
    path.write_text("not an image")


# What is done to the set and the workspace, the words behind `lst`, and what the error names.
LATE: dict[str, tuple[Callable[[Any, Workspace], object], tuple[str, ...], tuple[str, ...]]] = {
    "a validation image is gone": (
        lambda lvis, _: (lvis.images / "val" / "001008.png").unlink(), ("eval",), ("001008.png",)
    ),
    "a validation image has another size": (
        lambda lvis, _: other_size(lvis.images / "val" / "001008.png"), ("eval",), ("001008.png",)
    ),
    "a validation image is none": (
        lambda lvis, _: no_image(lvis.images / "val" / "001008.png"), ("eval",), ("001008.png",)
    ),
    "the validation file changed": (
        lambda lvis, _: lvis.val_json.write_text(json.dumps(lvis.val) + " "),
        ("eval",),
        ("val.json changed",),
    ),
    "metrics.json is a directory": (
        lambda _, work: work.phase(1).metrics.mkdir(), ("eval",), ("metrics.json", "directory")
    ),
    "detections.json is a directory": (
        lambda _, work: work.phase(1).detections.mkdir(), ("eval",), ("detections.json",)
    ),
    "the file of AP_fixed is a directory": (
        lambda _, work: work.phase(1).fixed_metrics.mkdir(), ("eval", "--fixed-ap"), ("metrics",)
    ),
    "bins that are none": (lambda *_: None, ("eval", "--bins", "5-"), ("5-",)),
    "the model of a later phase is cut": (
        lambda _, work: work.phase(1).model.write_text("cut"),
        ("eval", "--all-phases"),
        ("01", "model"),
    ),
    "the metrics of a later phase are a directory": (
        lambda _, work: work.phase(1).metrics.mkdir(),
        ("eval", "--all-phases"),
        ("metrics.json",),
    ),
    "a validation image is gone, of instant classes": (
        lambda lvis, _: (lvis.images / "val" / "001008.png").unlink(),
        ("eval", "--instant"),
        ("001008.png",),
    ),
    "a training image of instant classes is gone": (
        lambda lvis, _: [one.unlink() for one in (lvis.images / "train").iterdir()],
        ("eval", "--instant"),
        ("images not found",),
    ),
    "instant.json is a directory": (
        lambda _, work: work.phase(1).instant.mkdir(), ("eval", "--instant"), ("instant.json",)
    ),
    "a file is where errors go": (
        lambda _, work: work.phase(1).errors.write_text(""), ("eval", "--errors"), ("errors",)
    ),
    "lvis is not installed": (
        lambda *_: None, ("eval", "--reference"), ("lvis",)
    ),
    "a training image of the next phase is gone": (
        lambda lvis, _: [one.unlink() for one in (lvis.images / "train").iterdir()],
        ("step",),
        ("images not found",),
    ),
    "a training image of the next phase has another size": (
        lambda lvis, _: [other_size(one) for one in (lvis.images / "train").iterdir()],
        ("step",),
        ("of another size",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(LATE))
def test_what_would_fail_late_fails_first(
    lst, trained, small_lvis, fake_trainer, fake_detector, monkeypatch, name
):
    damage, words, named = LATE[name]
    damage(small_lvis, trained)
    if name == "lvis is not installed":
        from lst_cli.errors import LstError

        def missing() -> None:
            raise LstError("lvis is not installed", "pip install lvis")

        monkeypatch.setattr(evaluate, "load_lvis", missing)
    runs = len(fake_trainer.runs)
    outcome = lst(*words, "-w", trained.root)
    for part in named:
        assert part in outcome.error
    assert len(fake_trainer.runs) == runs
    assert fake_detector.opened == []
    assert not trained.phase(0).metrics.exists()


def test_a_base_that_goes_on_looks_for_its_images_again(lst, workspace, small_lvis, fake_trainer):
    fake_trainer.stop_after = 3
    assert lst("train-base", "-w", workspace.root).code != 0
    moved = small_lvis.images.rename(small_lvis.folder / "elsewhere")
    outcome = lst("train-base", "-w", workspace.root)
    assert "images not found" in outcome.error
    assert "--images DIR; what is trained stays" in outcome.hint
    assert len(fake_trainer.runs) == 1
    moved.rename(small_lvis.images)
    assert lst("train-base", "-w", workspace.root).code == 0


def test_odd_files_that_check_accepts_are_trained_on_and_scored(
    lst, small_lvis, tmp_path, fake_trainer, fake_detector
):
    for document in (small_lvis.train, small_lvis.val):
        document["annotations"][0]["segmentation"].append([1, 1, 5, 5])  # a scrap
        for image in document["images"][:2]:
            del image["neg_category_ids"]
        for annotation in document["annotations"]:
            del annotation["area"], annotation["bbox"]
        for category in document["categories"]:
            category["frequency"] = "often"
    small_lvis.save()
    files = ("--train", small_lvis.train_json, "--val", small_lvis.val_json)
    assert lst("check", *files, "--images", small_lvis.images).code == 0
    root = tmp_path / "work"
    for words in (small_lvis.split_words(), ["check"], ["train-base"], ["step"]):
        lst(*words, "-w", root).ok()
    outcome = lst("eval", "--all-phases", "--errors", "--reference", "--json", "-w", root).ok()
    assert len(outcome.json) == 2
