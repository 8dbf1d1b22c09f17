"""`lst eval` with a network that finds the same in every image; what fails late fails first."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image

from lst_cli.errors import LstError
from lst_cli.evaluate import evaluate
from lst_cli.inputs import read_validation
from lst_cli.report import report


@pytest.fixture
def evaluated(here, workspace, fake_trainer, fake_detector):
    """The base is trained and evaluated."""
    for command in ("train-base", "eval"):
        here(command).ok()
    return workspace


def test_a_closer_look_takes_stored_detections_only_if_they_would_come_out_alike(
    lst, evaluated, fake_detector
):
    words, directory = ("eval", "-w", evaluated.root), evaluated.phase(0)
    looked = lst(*words, "--errors", "--reference", "--json").ok()
    assert looked.json["largest_difference"] == {"segm": 0.0, "bbox": 0.0}
    assert looked.json["errors"]["segm"]["all"]["counts"].keys() == {
        "classification", "localisation", "both", "duplicate", "background", "missed",
    }  # fmt: skip
    assert (directory.errors / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert "localisation" in lst(*words, "--errors").out
    stored = json.loads(directory.metrics.read_text())
    assert looked.json["made_with"] == stored["made_with"]
    assert looked.json["segm"] == stored["segm"]
    assert len(fake_detector.opened) == 1
    # Another cap: what is stored would be a wrong answer.
    fewer = lst(*words, "--errors", "--json", "--set", "eval.detections=2").ok()
    assert fewer.json["detections"] == 2 * fewer.json["images"]
    assert len(fake_detector.opened) == 2


def test_ap_fixed_has_files_of_its_own(lst, evaluated, fake_detector):
    directory = evaluated.phase(0)
    before = directory.metrics.read_bytes(), directory.detections.read_bytes()
    outcome = lst("eval", "-w", evaluated.root, "--fixed-ap", "--errors", "--json").ok()
    assert outcome.json["fixed_ap"] is True
    assert (directory.metrics.read_bytes(), directory.detections.read_bytes()) == before
    assert json.loads(directory.fixed_metrics.read_text())["made_with"]["eval.detections"] == 1000
    assert fake_detector.opened[-1][2].eval.detections == 1000
    assert (directory.fixed_errors / "errors.json").exists()
    assert not directory.fixed_detections_part.exists()


def test_another_writer_is_named_before_the_validation_file_is_read(lst, evaluated, small_lvis):
    small_lvis.val_json.write_text("{")
    with evaluated.locked():
        outcome = lst("eval", "-w", evaluated.root)
    assert "another lst is writing" in outcome.err


# --- before the network runs for the first time --------------------------------------------------


@pytest.fixture
def trained(here, workspace, fake_trainer):
    """Phases 0 and 1 are done."""
    for command in ("train-base", "step"):
        here(command).ok()
    return workspace


def other_size(path):
    Image.new("RGB", (7, 5)).save(path)


# What is done to the set, the workspace and Python.


def last_image(change):
    return lambda lvis, *_: change(lvis.images / "val" / "001008.png")


def training_images(change):
    return lambda lvis, *_: [change(one) for one in [*(lvis.images / "train").iterdir()]]


def directory(name):
    return lambda _, work, __: getattr(work.phase(1), name).mkdir()


def text_file(name, text=""):
    return lambda _, work, __: getattr(work.phase(1), name).write_text(text)


def do_not_load(lvis, work, patch):
    patch.setattr(
        evaluate,
        "load_lvis",
        Mock(side_effect=LstError("lvis is not installed", "pip install lvis")),
    )


# Each with the command, and what the error names.
LATE = {
    "validation image gone": (last_image(Path.unlink), "eval", "001008.png"),
    "of another size": (last_image(other_size), "eval", "001008.png"),
    "no image": (last_image(lambda path: path.write_text("text")), "eval", "001008.png"),
    "validation file changed": (
        lambda lvis, *_: lvis.val_json.write_text(json.dumps(lvis.val) + " "),
        "eval",
        "val.json changed",
    ),
    "metrics are a directory": (directory("metrics"), "eval", "metrics.json, directory"),
    "detections are a directory": (directory("detections"), "eval", "detections.json"),
    "AP_fixed is a directory": (directory("fixed_metrics"), "eval --fixed-ap", "metrics"),
    "bins that are none": (lambda *_: None, "eval --bins 5-", "5-"),
    "a later model is cut": (text_file("model", "cut"), "eval --all-phases", "01, model"),
    "later metrics are a directory": (directory("metrics"), "eval --all-phases", "metrics.json"),
    "image of instant classes gone": (last_image(Path.unlink), "eval --instant", "001008.png"),
    "images to learn instantly from gone": (
        training_images(Path.unlink), "eval --instant", "images not found",
    ),
    "instant.json is a directory": (directory("instant"), "eval --instant", "instant.json"),
    "a file is where errors go": (text_file("errors"), "eval --errors", "errors"),
    "lvis does not load": (do_not_load, "eval --reference", "lvis"),
    "images of the next phase gone": (training_images(Path.unlink), "step", "not found"),
    "training images of another size": (training_images(other_size), "step", "of another size"),
}  # fmt: skip


@pytest.mark.parametrize("name", LATE)
def test_what_would_fail_late_fails_before_the_network_runs(
    here, trained, small_lvis, fake_trainer, fake_detector, monkeypatch, name
):
    damage, words, named = LATE[name]
    damage(small_lvis, trained, monkeypatch)
    runs = len(fake_trainer.runs)
    outcome = here(words)
    for part in named.split(", "):
        assert part in outcome.error
    assert len(fake_trainer.runs) == runs
    assert fake_detector.opened == []
    assert not trained.phase(0).metrics.exists()


def test_a_base_that_goes_on_looks_for_its_images_again(here, small_lvis, fake_trainer):
    fake_trainer.stop_after = 3
    assert here("train-base").code != 0
    moved = small_lvis.images.rename(small_lvis.folder / "elsewhere")
    outcome = here("train-base")
    assert "images not found" in outcome.error
    assert "--images DIR; what is trained stays" in outcome.hint
    assert len(fake_trainer.runs) == 1
    moved.rename(small_lvis.images)
    here("train-base").ok()


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


# --- lst report where validation images cannot be shown ------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_an_image_that_cannot_be_shown_costs_one_picture(lst, runs, damage, no_report_plots):
    workspace = runs.train("run")
    runs.evaluate(workspace, 0.3)
    workspace.phase(2).detections.write_text("[]")
    val, find = read_validation(workspace, 2)
    rows = report._choose_images(
        val, workspace.split.class_order[: workspace.split.seen_classes(2)]
    )
    assert len(rows) > 1
    image = find(rows[0])
    whole = image.read_bytes()
    image.unlink()
    if damage == "cut":
        image.write_bytes(whole[: len(whole) // 2])
    outcome = lst("report", "-w", workspace.root)
    assert "error: 1 validation image is not shown: " in outcome.error
    assert image.name in outcome.error
    folder = workspace.layout.report
    assert len(list((folder / "panels").iterdir())) == len(rows) - 1
    for page in ("report.html", "report.md"):
        assert image.name not in (folder / page).read_text()
    image.write_bytes(whole)
    lst("report", "-w", workspace.root).ok()
    assert len(list((folder / "panels").iterdir())) == len(rows)
