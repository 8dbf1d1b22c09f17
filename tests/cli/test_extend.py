"""`lst extend` as a user meets it: what it prints, and what it refuses in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from lst_cli.workspace.manifest import NewClassCheck


@pytest.fixture
def trained(here, workspace, fake_trainer, fake_instant):
    """The base and the first of three phases."""
    for command in ("train-base", "step"):
        assert here(command).code == 0
    return workspace


@pytest.fixture
def extend(here, few):
    """`lst extend` with the few images and more words."""
    return lambda *more: here(*few.words(*more))


def test_new_classes_are_shown_with_what_is_known_of_them(trained, extend):
    outcome = extend().ok()
    assert "phase 2: 3 new classes" in outcome.out
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["zebra", "41", "2", "2", "0"] in rows
    assert ["class", "12", "12", "3", "2", "2"] in rows
    assert outcome.out.endswith(f"next: lst eval -w {trained.root}\n")
    assert 'category ids that differ from few.json: "class 12" 7 -> 12' in outcome.err
    assert "without training, rows made by the generator" in outcome.err


def test_a_script_gets_the_classes_and_the_manifest(trained, extend, fake_instant):
    fake_instant.new_rows = "mean-feature"
    outcome = extend("--json")
    found = outcome.json
    assert found["phase"] == 2
    assert [one["category_id"] for one in found["classes"]] == [12, 41, 40]
    assert found["new_rows"] == found["manifest"]["new_rows"] == "mean-feature"
    assert found["seconds"] >= 0
    assert "no trained generator in the workspace" in outcome.err


def test_boxes_that_show_the_network_too_little_or_too_much_are_named(
    trained, extend, few, fake_instant
):
    zero = (0.0, 0.0)
    fake_instant.checks = tuple(
        NewClassCheck(boxes=2, own_score=(1.0, score), alarms_before=zero, alarms_after=zero)
        for score in (0.6, 0.4, 0.59)
    )
    tiny, whole, *_ = few.document["annotations"]  # of zebra, which is the second of the phase
    tiny["bbox"] = [5, 5, 0.1, 0.1]
    whole["bbox"] = [0, 0, 500, 500]
    few.save()
    outcome = extend().ok()
    said = " ".join(outcome.err.split())
    assert '1 of 2 boxes of "zebra" are smaller than 4 x 4 pixels' in said
    assert '1 of 2 boxes of "zebra" cover the whole image' in said
    assert 'objects of "zebra", "yak" get low scores: to find more of them, use a lower ' in said
    assert said.endswith(f"threshold, such as lst predict -w {trained.root} --score 0.20")
    checks = trained.require_done(2).checks
    assert [(one.tiny, one.whole_image) for one in checks] == [(0, 0), (1, 1), (0, 0)]


@pytest.mark.parametrize(("words", "passes"), [(["--budget", "40"], 40), (["--full"], 192)])
def test_a_budget_is_settable(trained, extend, words, passes):
    extend("--finetune", *words, "--json").ok()
    assert trained.require_done(2).image_passes == passes


def test_status_and_further_steps_know_the_added_phase(here, trained, extend):
    extend()
    lines = [line.split() for line in here("status").out.splitlines()]
    assert ["2", "added", "done", "3"] in [line[:4] for line in lines]
    outcome = here("step --all").ok()
    assert outcome.out == f"next: lst eval -w {trained.root} --all-phases\n"
    assert trained.done_phases() == [0, 1, 2, 3, 4]


def test_finetuning_shows_a_training(trained, extend):
    outcome = extend("--finetune", "--mwg").ok()
    assert "phase 2 begun: 3 new classes, 6 new + " in outcome.err
    assert "62 iterations, 496 image passes, about 1 min 30 s" in outcome.err
    assert "trained for 62 iterations in " in outcome.err
    assert trained.require_done(2).settings["step"]["mwg"] is True


def test_an_added_phase_is_evaluated_and_reported(here, trained, extend, small_lvis, fake_detector):
    val = small_lvis.val
    val["images"].pop()
    val["annotations"] = [one for one in val["annotations"] if one["image_id"] != 1008]
    val["categories"].append({"id": 77, "name": "zebra", "frequency": "r"})
    val["annotations"][0]["category_id"] = 77
    new_val = small_lvis.folder / "new-val.json"
    new_val.write_text(json.dumps(val))
    extend("--val", new_val)
    outcome = here("eval --all-phases --json").ok()
    assert [one["images"] for one in outcome.json] == [8, 8, 7]
    group = outcome.json[2]["segm"]["groups"][2]
    assert (group["phase"], group["classes"], group["with_ground_truth"]) == (2, 3, 2)
    assert "77" in outcome.json[2]["segm"]["per_class"]
    assert here("report").code == 0
    page = (trained.layout.report / "report.md").read_text()
    assert "added instantly: no training, rows generated" in page
    assert "Phases were evaluated on different validation files" in page
    assert "left out" not in page  # class 12 had no instance, and has some now


def test_the_last_extension_is_undone(here, trained, extend, files_below):
    before = files_below(trained.root)
    extend()
    outcome = here("extend --undo").ok()
    assert "phase 2 removed, and its 3 classes: class 12, zebra, yak" in outcome.err
    kept = trained.root / "replaced" / "02-1"
    assert f"files of the finished phase are in {kept}" in " ".join(outcome.err.split())
    assert outcome.out == f"next: lst status -w {trained.root}\n"
    after = files_below(trained.root)
    assert {path: after[path] for path in after if "replaced" not in path} == before
    extend("--finetune")
    found = here("extend --undo --json").json
    assert (found["phase"], [one["category_id"] for one in found["classes"]]) == (2, [12, 41, 40])
    assert found["kept_in"] == [str(kept), str(kept.with_name("02-2"))]
    outcome = here("extend --undo")
    assert "has no classes that were added with lst extend" in outcome.error
    assert outcome.hint == f"lst status -w {trained.root}"


# --- refused -------------------------------------------------------------------------------------


def test_nothing_is_added_before_the_base(lst, workspace, extend, few, tmp_path):
    outcome = extend()
    assert "the base phase must be trained first" in outcome.error
    assert outcome.hint == f"lst train-base -w {workspace.root}"
    assert "has no split yet" in lst(*few.words("-w", tmp_path / "none")).error
    assert not (tmp_path / "none").exists()


def rename(document: dict[str, Any], **names: str) -> None:
    for category in document["categories"]:
        category["name"] = names.get(category["name"], category["name"])


# what is done to the file, and what the error has to name
BAD_FILES: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = {
    "no annotations": (lambda d: d["annotations"].clear(), ("no annotations",)),
    "an old class": (
        lambda d: rename(d, zebra="class 7", yak="class 8"),
        ('2 classes are in the workspace already: "class 7" (base phase), "class 8" (phase 3)',),
    ),
    "no usable box": (
        lambda d: d["annotations"][2].update(iscrowd=1),
        ('class "yak" has 1 annotation but no usable box', "set iscrowd to 0"),
    ),
    "two ids": (lambda d: rename(d, yak="zebra"), ('"zebra" has more than one', "3, 40")),
    "no image": (
        lambda d: d["images"][0].update(file_name="gone.png"),
        ("1 image not found", "gone.png"),
    ),
    "another size": (lambda d: d["images"][1].update(width=100), ("of another size", "few-2.png")),
    "box outside": (
        lambda d: d["annotations"][0].update(bbox=[500, 1, 5, 5]),
        ("no area inside the image", "annotation 1"),
    ),
    "no mask": (
        lambda d: d["annotations"][0].pop("segmentation"),
        ("with no segmentation", "annotation 1", "--skip-unusable"),
    ),
    "not an annotation file": (lambda d: d.pop("annotations"), ()),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line_and_nothing_is_written(trained, extend, few, files_below, kind):
    damage, named = BAD_FILES[kind]
    damage(few.document)
    few.save()
    before = files_below(trained.root)
    outcome = extend()
    for word in ("few.json", *named):
        assert word in f"{outcome.error} {outcome.hint}"
    assert files_below(trained.root) == before
    few.train_json.unlink()
    assert "few.json" in extend("--finetune").error
    assert files_below(trained.root) == before


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["--class", "zebu"], '"zebu": ', 'choose one of "class 12", "yak", "zebra"'),
        (["--class", "class 7"], '"class 7": in the workspace already (base phase)', "lst status"),
        (["--mwg"], "--mwg trains a generator", "--finetune"),
        (["--undo"], "--undo goes with -w and --json only", "leave out"),
        (["--set", "step.lr=1"], "--set step.lr=1: without --finetune", "--finetune"),
        (["--budget", "9"], "--budget: without --finetune", "--finetune"),
        (["--full"], "--full: without --finetune", "--finetune"),
        (["--finetune", "--full", "--budget", "9"], "--budget and --full", "leave one"),
        (["--finetune", "--set", "step.lr=1"], "takes this from extend.lr", "--set extend.lr, or"),
    ],
)
def test_words_that_do_not_fit_are_refused(trained, extend, files_below, words, error, hint):
    before = files_below(trained.root)
    outcome = extend(*words)
    assert error in outcome.error
    assert hint in outcome.hint
    assert files_below(trained.root) == before


def test_a_validation_file_of_other_classes_is_refused(trained, extend, few):
    outcome = extend("--val", few.train_json)
    assert '7 "class 7" (there "class 12")' in outcome.error
    assert "all classes of the workspace" in outcome.hint


def test_what_cannot_be_used_is_left_out_of_new_classes(trained, extend, few):
    few.document["annotations"][0].pop("segmentation")
    few.save()
    outcome = extend("--class", "zebra", "--skip-unusable").ok()
    assert "few.json: 1 annotation left out: 1 with no segmentation" in outcome.err
    extension = trained.split.extensions[-1]
    assert extension.train.skipped == {"no-segmentation": 1}
    assert extension.train.instances == 5
    (zebra,) = (one for one in trained.split.classes if one.name == "zebra")
    assert zebra.instances == 1


# --- the bank of cut-out objects -----------------------------------------------------------------


def test_a_bank_is_shown_and_refused_before_there_is_any(here, workspace, fake_trainer):
    assert "no phase of " in here("bank").error
    here("train-base").ok()
    outcome = here("bank").ok()
    assert ["0", "5", "0", "0", "to", "0", "none"] in [
        line.split() for line in outcome.out.splitlines()
    ]
    assert "--rebuild makes the banks that are missing" in outcome.err
    assert "--set: nothing is made" in here("bank --set extend.bank_objects=3").error


@pytest.mark.engine
def test_a_bank_is_made_again(here, trained):
    here("bank --rebuild --set extend.bank_objects=3").ok()
    outcome = here("bank").ok()
    rows = [line.split()[:6] for line in outcome.out.splitlines()]
    assert ["0", "5", "15", "3", "to", "3"] in rows
    assert [sum(one["objects"].values()) for one in here("bank --json").json] == [15, 6]


@pytest.mark.engine
def test_without_old_images_objects_of_the_bank_are_pasted(here, trained, extend, small_lvis):
    here("bank --rebuild").ok()
    shutil.rmtree(small_lvis.images / "train")
    outcome = extend("--finetune", "--json").ok()
    assert "images of old classes not found, such as " in outcome.err
    assert "objects from the bank are pasted into the new images instead" in outcome.err
    manifest = trained.require_done(2)
    assert manifest.settings["step"]["replay"] == "bank"
    assert manifest.replay_entries == 0


@pytest.mark.engine
def test_a_phase_continues_with_the_banks_that_it_was_begun_with(
    here, trained, extend, fake_trainer
):
    here("bank --rebuild").ok()
    fake_trainer.stop_after = 2
    bank = ("--finetune", "--set", "extend.replay=bank")
    assert extend(*bank).code == 130
    here("bank --rebuild --set extend.bank_objects=1").ok()
    outcome = extend(*bank)
    assert outcome.error == "error: phase 2 was begun with another bank of phase 0"
    assert "--restart" in outcome.hint
    here("bank --rebuild").ok()
    assert extend(*bank).ok()


def test_without_old_images_and_bank_the_images_are_missed(trained, extend, small_lvis):
    shutil.rmtree(small_lvis.images / "train")
    assert "not found" in extend("--finetune").error
