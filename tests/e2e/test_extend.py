"""`lst extend` with the real network."""

from __future__ import annotations

import json
import operator
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import before_iteration, differing

pytestmark = pytest.mark.engine

Run = Callable[..., Any]
SHORT = ("--budget", "4")


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def extend(run: Run, workspace: Workspace, tiny: Any, file: Path, *more: str) -> Any:
    # The new classes are old ones under other names: nothing can tell them apart.
    more = ("--anyway", *more)
    words = ["extend", "--train", file, "--images", tiny.images, "-w", workspace.root, *more]
    return run(*words).ok()


def test_classes_are_added_instantly_trained_and_evaluated(run, based, tiny, few_json):
    instant = extend(run, based, tiny, few_json(zebra=1), "--json").json
    assert (instant["phase"], instant["new_rows"]) == (1, "mean-feature")
    [check] = instant["manifest"]["checks"]
    assert check["boxes"] > 0
    # Images of the new class are training images: they are not among those without it.
    base, ours = (
        Workspace(based.root).split.groups[0],
        json.loads(few_json(zebra=1).read_text())["images"],
    )
    annotations = json.loads(tiny.train_json.read_text())["annotations"]
    old = {one["image_id"] for one in annotations if one["category_id"] in base}
    assert instant["manifest"]["known_images"] == len(old - {one["id"] for one in ours}) < len(old)
    assert min(check["alarms_before"]) > 100  # the base has hardly been trained
    limits = instant["manifest"]["old_alarms"]
    assert all(map(operator.le, check["alarms_after"], limits))
    before, after = (load_file(based.phase(phase).model) for phase in (0, 1))
    row = "roi_heads.box_predictor.cls_score.weight"
    assert after[row].shape[0] == before[row].shape[0] + 1
    assert (after[row][:3] == before[row][:3]).all()
    assert (after[row][-1] == before[row][-1]).all()
    tuned = extend(run, based, tiny, few_json(yak=2), "--finetune", *SHORT, "--json").json
    assert (tuned["phase"], tuned["manifest"]["iterations"] > 0) == (2, True)
    for words in (["step"], ["eval", "--phase", 1]):
        run(*words, "-w", based.root).ok()
    assert based.done_phases() == [0, 1, 2, 3]
    # No validation image has a zebra; a stray one is all that may be found.
    [zebra] = instant["classes"]
    detections = json.loads(based.phase(1).detections.read_text())
    found = Counter(
        one["image_id"]
        for one in detections
        if one["category_id"] == zebra["category_id"] and one["score"] > 0.3
    )
    assert max(found.values(), default=0) <= 1


def test_a_speck_and_whole_images_are_named_and_lose_their_false_alarms(
    run, based, tiny, few_json, tmp_path
):
    document = json.loads(few_json(zebra=4, yak=3).read_text())
    sizes = {one["id"]: (one["width"], one["height"]) for one in document["images"]}
    speck, *others = (one for one in document["annotations"] if one["category_id"] == 4)
    document["annotations"] = [one for one in document["annotations"] if one not in others]
    for one in document["annotations"]:
        x, y, w, h = (3, 4, 2, 2.5) if one is speck else (0, 0, *sizes[one["image_id"]])
        one["bbox"], one["segmentation"] = [x, y, w, h], [[x, y, x + w, y, x + w, y + h, x, y + h]]
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(document))
    outcome = extend(run, based, tiny, file, "--json")
    said = unwrapped(outcome.err)
    assert '1 of 1 boxes of "zebra" are smaller than 8 x 8 pixels' in said
    assert '2 of 2 boxes of "yak" cover the whole image' in said
    manifest = outcome.json["manifest"]
    assert [check["boxes"] for check in manifest["checks"]] == [2, 1]
    for check in manifest["checks"]:
        before, after = check["alarms_before"], check["alarms_after"]
        assert all(most > 10 * now for most, now in zip(before, after, strict=True))


def test_classes_that_do_not_compete_are_learned_in_phases_and_added(run, tiny, few_json, tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    words = ["model.class_loss=gumbel", "model.federated_classes=2"]
    run(*tiny.split_words(workspace.root, *words)).ok()
    run("train-base", "-w", workspace.root).ok()
    another = run("step", "-w", workspace.root, "--set", "model.class_loss=softmax")
    assert another.code == 1
    assert "model.class_loss was 'gumbel', is now 'softmax'" in unwrapped(another.err)
    instant = extend(run, workspace, tiny, few_json(zebra=1), "--json").json["manifest"]
    [check] = instant["checks"]
    assert all(map(operator.le, check["alarms_after"], instant["old_alarms"]))
    # The file of the yaks has no federated lists, and does not know the old classes.
    extend(run, workspace, tiny, few_json(yak=2), "--finetune", "--set", "extend.image_passes=8")
    run("step", "-w", workspace.root).ok()
    assert run("eval", "-w", workspace.root, "--json").ok().json["detections"] > 0
    name = "roi_heads.box_predictor.cls_score.bias"
    biases = [load_file(workspace.phase(phase).model)[name] for phase in range(4)]
    assert biases[0] == biases[1] != biases[2]
    assert all(bias.shape == () for bias in biases)


def test_after_a_phase_without_a_generator_rows_are_mean_features_and_training_starts_afresh(
    run, based, tiny, few_json, tmp_path
):
    for words in (["step", "--mwg"], ["step"]):
        outcome = run(*words, "-w", based.root).ok()
        assert "left no generator" not in outcome.err
    assert not based.phase(2).generator.exists()
    older = load_file(based.phase(1).generator)
    gain = older["feature_gain"] + np.float32(1)  # to be known by
    save_file({**older, "feature_gain": gain}, based.phase(1).generator)
    tuned = Workspace(shutil.copytree(based.root, tmp_path / "tuned"))
    why = "phase 2 left no generator, and that of phase 1 is of another box head: "

    instant = extend(run, based, tiny, few_json(zebra=1), "--json")
    assert instant.json["new_rows"] == "mean-feature"
    assert why + "the rows of the new classes are their mean features" in unwrapped(instant.err)
    assert not based.phase(3).generator.exists()

    trained = extend(run, tuned, tiny, few_json(zebra=1), "--finetune", "--mwg", *SHORT, "--json")
    assert trained.json["new_rows"] == "generated"
    assert why + "a new one is trained" in unwrapped(trained.err)
    gain = load_file(tuned.phase(3).generator)["feature_gain"]
    np.testing.assert_allclose(gain, 1, atol=0.1)  # a fresh one's; phase 1's has 2


def test_a_kill_before_the_manifest_is_made_good_by_the_same_command(
    run, based, tiny, few_json, tmp_path
):
    file = few_json(zebra=1)
    whole = Workspace(shutil.copytree(based.root, tmp_path / "whole"))
    extend(run, whole, tiny, file)
    killed = run(
        *["extend", "--train", file, "--images", tiny.images, "-w", based.root, "--anyway"],
        first="from lst_cli.workspace.store import Workspace; Workspace.save_manifest = kill",
    )
    assert killed.code < 0
    assert run("status", "-w", based.root).code == 0
    extend(run, based, tiny, file)
    ours, theirs = Workspace(based.root), Workspace(whole.root)
    assert ours.done_phases() == [0, 1]
    assert ours.split == theirs.split
    assert ours.require_model(1).model_sha256 == theirs.require_model(1).model_sha256


def test_finetuning_that_was_killed_is_undone_by_a_command_that_was_killed(
    run, based, tiny, few_json
):
    def files() -> dict[str, bytes]:
        found = (path for path in based.root.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path): path.read_bytes() for path in found}

    before = files()
    words = ["extend", "--train", few_json(zebra=1), "--images", tiny.images, "-w", based.root,
             "--anyway"]  # fmt: skip
    assert run(*words, "--finetune", first=before_iteration(1)).code < 0
    assert based.phase(1).manifest.exists()
    undo = ["extend", "--undo", "-w", based.root]
    assert run(*undo, first="from lst_cli.extend import undo; undo.drop = kill").code < 0
    assert run(*undo, "--json").ok().json["phase"] == 1
    assert files() == before


@pytest.mark.parametrize("rows", ["mean-feature", "generated"])
def test_two_files_one_after_the_other_give_the_rows_of_one_file_with_both(
    run, based, tiny, few_json, tmp_path, rows
):
    if rows == "generated":
        assert run("step", "--mwg", "-w", based.root).code == 0
    other = Workspace(shutil.copytree(based.root, tmp_path / "other"))
    zebra, yak = few_json(zebra=1), few_json(yak=2)
    both = few_json(zebra=1, yak=2)
    for workspace, file in ((based, zebra), (based, yak), (other, both)):
        assert extend(run, workspace, tiny, file, "--json").json["new_rows"] == rows
    last = based.phase(based.newest_phase())
    ours, theirs = load_file(last.model), load_file(other.phase(other.newest_phase()).model)
    assert ours.keys() == theirs.keys()
    classifier = "roi_heads.box_predictor.cls_score.weight"
    # Fitted one after the other, the second class also sees the first: nearly the same rows.
    pairs = zip(ours.pop(classifier), theirs.pop(classifier), strict=True)
    assert all(one @ other > 0.98 * (one @ one * (other @ other)) ** 0.5 for one, other in pairs)
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor, theirs[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert [one.name for one in based.split.classes] == [one.name for one in other.split.classes]
    if rows == "generated":
        assert last.generator.read_bytes() == based.phase(1).generator.read_bytes()


@pytest.mark.parametrize("replay", ["few", "bank"])
def test_finetuning_that_is_killed_ends_with_the_same_weights(
    run, based, tiny, few_json, tmp_path, replay
):
    twin = Workspace(shutil.copytree(based.root, tmp_path / "twin"))
    words = ("--finetune", "--budget", "12", "--set", f"extend.replay={replay}")
    outcome = extend(run, based, tiny, few_json(zebra=2), *words)
    assert "6 iterations, 12 image passes, about " in outcome.err
    file = few_json(zebra=2)
    for iteration in (0, 3):
        killed = run(
            "extend", "--train", file, "--images", tiny.images, "-w", twin.root, *words,
            first=before_iteration(iteration),
        )  # fmt: skip
        assert killed.code < 0
    extend(run, twin, tiny, file, *words)
    assert differing(twin, based, 1) == []
    assert twin.require_done(1).settings["step"]["replay"] == replay
    for phase in (0, 1):
        digest = twin.require_done(phase).bank_sha256
        assert digest == based.require_done(phase).bank_sha256
        assert twin.phase(phase).bank(digest or "").exists()
