"""Annotation files and images that nobody can train on: one line each, and nothing is made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def first_annotation(document: dict[str, Any], **changed: Any) -> None:
    document["annotations"][0].update(changed)


def name_as_in_2014(document: dict[str, Any]) -> None:
    for image in document["images"]:
        image["file_name"] = f"COCO_train2014_{image['id']:012d}.jpg"


# The file, what is done to its content or its bytes, and what the error has to name beside it.
BAD_FILES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "no images": ("train", lambda d: d.pop("images"), 'no list "images"'),
    "no annotations": ("val", lambda d: d["annotations"].clear(), '"annotations" is empty'),
    "unknown class": (
        "val", lambda d: first_annotation(d, category_id=777), "annotation 5001 names category 777",
    ),
    "two releases": ("train", name_as_in_2014, "layout lvis-v0.5, the validation file lvis-v1"),
    "other classes": (
        "val",
        lambda d: d["categories"][3].update(name="zebra"),
        'category 4: "class 4" in training, "zebra" in validation',
    ),
    "cut": ("val bytes", lambda data: data[: len(data) // 2], 'in the middle of "annotations"'),
    "latin-1": ("val bytes", lambda data: data.replace(b"class 1", b"cl\xe4ss 1"), "not UTF-8"),
    "missing": ("val bytes", lambda data: None, "no such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_split_refuses_a_bad_file_by_name_and_makes_nothing(lst, small_lvis, tmp_path, name):
    file, damage, named = BAD_FILES[name]
    role = file.split()[0]
    path = getattr(small_lvis, f"{role}_json")
    if file == role:
        damage(getattr(small_lvis, role))
        small_lvis.save()
    elif (content := damage(path.read_bytes())) is None:
        path.unlink()
    else:
        path.write_bytes(content)
    outcome = lst(*small_lvis.split_words(), "-w", tmp_path / "work")
    assert named in outcome.error
    assert str(path) in outcome.error
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("base", "phases", "error", "hint"),
    [
        (11, 1, "--b 11: the base needs", "--b between 1 and 10"),
        (0, 1, "--b 0: the base needs", "--b between 1 and 10"),
        (5, 7, "--phases 7: 6 class(es) are left", "--phases between 1 and 6"),
        (5, 0, "--phases 0: 6 class(es) are left", "--phases between 1 and 6"),
    ],
)
def test_groups_that_cannot_be_cut_are_refused(
    lst, small_lvis, tmp_path, base, phases, error, hint
):
    outcome = lst(*small_lvis.split_words(base, phases), "-w", tmp_path / "work")
    assert error in outcome.error
    assert outcome.hint == f"choose {hint}"
    assert not (tmp_path / "work").exists()


# --- lst check -----------------------------------------------------------------------------------


@pytest.fixture
def check(lst, small_lvis):
    """`lst check` of a file or both, with the images and more words."""

    def call(roles="train val", *more):
        files = [(f"--{role}", getattr(small_lvis, f"{role}_json")) for role in roles.split()]
        return lst("check", *chain(*files), "--images", small_lvis.images, *more)

    return call


def test_check_shows_all_problems_of_all_files_at_once(check, small_lvis):
    first_annotation(small_lvis.train, bbox=[1, 1, 0, 5])
    first_annotation(small_lvis.val, segmentation=[[1, 1, 2, 2]])
    small_lvis.save()
    (small_lvis.images / "val" / "001002.png").unlink()
    outcome = check()
    assert "3 kinds of error found in" in outcome.error
    for part in (
        "train.json: 1 annotation with a box of no area",
        "annotation 1 of image 1",
        "no polygon of three points or more",
        "val.json: 1 image not found",
    ):
        assert part in outcome.out
    for role in ("train", "val"):
        of_role = check(role, "--json")
        assert not of_role.json["ok"]
        assert of_role.error.endswith(f" found in {getattr(small_lvis, f'{role}_json')}")


def test_check_looks_at_the_files_of_the_split(here, small_lvis):
    here("check").ok()
    (small_lvis.images / "train" / "000007.png").unlink()
    assert here("check").code == 1


# --- before training -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda path: path.unlink(), "1 image not found"),
        (lambda path: path.write_text("not an image"), "1 image unreadable"),
        (lambda path: path.write_bytes(b""), "1 image unreadable"),
        (lambda path: Image.new("RGB", (81, 60)).save(path), "is 81 wide and 60 high, but the"),
        (lambda path: Image.new("RGB", (60, 80)).save(path), "is 60 wide and 80 high"),
    ],
)
@pytest.mark.parametrize("name", ["train/000005.png", "val/001004.png"])
def test_training_does_not_begin_with_a_bad_image(
    lst, workspace, small_lvis, fake_trainer, damage, part, name
):
    damage(small_lvis.images / name)
    outcome = lst("train-base", "-w", workspace.root)
    assert part in outcome.error
    assert name.split("/")[1] in outcome.error or "image 5" in outcome.error
    assert ("make the same split again" in outcome.err) == ("not found" in part)
    assert fake_trainer.runs == []
    assert not workspace.layout.phases.exists()


def test_an_image_of_another_colour_mode_that_exif_turns_is_welcome(
    lst, workspace, small_lvis, fake_trainer
):
    path = small_lvis.images / "train" / "000005.png"
    exif = Image.Exif()
    exif[0x112] = 6  # turned a quarter; the annotations are of the picture as it is stored
    Image.new("CMYK", (80, 60)).save(path, format="JPEG", exif=exif)
    assert lst("train-base", "-w", workspace.root).code == 0


def test_a_dry_run_refuses_a_file_that_changed_after_the_split(here, small_lvis):
    small_lvis.train_json.write_text(json.dumps(small_lvis.train) + " ")
    error = here("train-base --dry-run").error
    assert "train.json changed after the split was made" in error


ODD_IMAGES = {
    "long name": {"file_name": "x" * 300 + ".png"},
    "long directory": {"file_name": "x" * 300 + "/a.png"},
    "null byte": {"file_name": "a\0b.png"},
    "no name": {"file_name": "."},
    "bad URL": {"coco_url": "http://["},
    "device": {"file_name": "/dev/zero"},
    "file elsewhere": {"file_name": "/etc/passwd"},
    "way out": {"file_name": "../" * 30 + "etc/passwd"},
    "pipe": {"file_name": "pipe.png"},
    "directory": {"file_name": "folder.png"},
}


@pytest.mark.parametrize("odd", ODD_IMAGES.values(), ids=list(ODD_IMAGES))
def test_an_image_that_cannot_be_opened_is_one_finding_beside_the_others(check, small_lvis, odd):
    os.mkfifo(small_lvis.images / "pipe.png")
    (small_lvis.images / "folder.png").mkdir()
    (small_lvis.images / "train/000009.png").unlink()
    image = small_lvis.train["images"][2]
    del image["coco_url"]
    image.update(odd)
    small_lvis.save()
    outcome = check()
    assert outcome.error
    assert "image 3" in outcome.out or odd["file_name"] in outcome.out
    assert "image 9 not found" in outcome.out
    assert "has no training instance" in outcome.out


def test_split_and_dry_runs_say_that_images_are_not_found(lst, small_lvis, tmp_path):
    (small_lvis.images / "train/000009.png").unlink()
    words = [*small_lvis.split_words(), "-w", tmp_path / "work"]
    outcome = lst(*words).ok()
    warning = f"warning: {small_lvis.train_json}: 1 of 24 images not found, for instance image 9"
    assert warning in outcome.err
    outcome = lst("train-base", "--dry-run", "-w", tmp_path / "work").ok()
    assert warning in outcome.err
    assert "make the same split again" in outcome.err
    plan = tmp_path / "plan.toml"
    plan.write_text('[settings]\nb = 5\nphases = 2\n[[run]]\nname = "lst"\nkind = "lst"\n')
    data = ["--train", small_lvis.train_json, "--val", small_lvis.val_json]
    data += ["--images", small_lvis.images / "val"]
    outcome = lst("sweep", plan, *data, "--dir", tmp_path / "runs", "--dry-run").ok()
    assert "24 of 24 images not found" in outcome.err
    assert str(small_lvis.val_json) not in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        "check --train {odd} --val {odd}",
        "split --train {odd} --val {odd}",
        "hold-out --train {odd} --out {new}",
        "sweep {odd}",
        "score {odd} --annotations {odd}",
        "figure mwg --with {odd}",
        "split --train {odd} --val {odd} -w {new}/{odd}",
    ],
)
@pytest.mark.parametrize("odd", ["pipe", "/dev/zero", "/proc/kmsg", "x" * 300, "y/" * 2500])
def test_no_command_waits_for_what_is_no_file_or_ends_in_a_traceback(
    lst, tmp_path, monkeypatch, words, odd
):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("lst-workspace").mkdir()
    Path("lst-workspace/lst.toml").touch()
    assert lst(*words.format(odd=odd, new=tmp_path / "new").split()).error


@pytest.mark.parametrize("name", ["lst.toml", "split.json"])
@pytest.mark.parametrize("command", ["status", "train-base --dry-run", "report", "eval"])
def test_no_command_waits_for_a_pipe_in_a_workspace(lst, tmp_path, name, command):
    os.mkfifo(tmp_path / name)
    if name == "lst.toml":
        (tmp_path / "split.json").write_text("{}")
    assert lst(*command.split(), "-w", tmp_path).error
