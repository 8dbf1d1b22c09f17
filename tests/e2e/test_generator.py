"""Phases with the meta weight generator, with real networks on the CPU."""

from __future__ import annotations

import shutil
import signal
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lst_cli.files import sha256_of
from lst_cli.workspace.records import load_json
from lst_cli.workspace.store import Workspace
from tests.fixtures.kills import before_iteration, differing

pytestmark = pytest.mark.engine

CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
BOXES = "roi_heads.box_predictor.bbox_pred.weight"
# They are no part of what a phase leaves.
KEEP_OFFSETS = """
import numpy as np
from lst_cli.train.phase_run import PhaseRun
detach = PhaseRun._detach
def keep(run, episodes):
    np.save({path!r}, episodes.offsets.detach().numpy())
    detach(run, episodes)
PhaseRun._detach = keep
"""


@pytest.fixture(scope="module")
def generated_folder(base_folder, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated") / "workspace"
    shutil.copytree(base_folder, folder)
    plain = ["--set", "mwg.learn_offsets=false"]  # rows are the averages and nothing else
    for words in (["step", "--all", "--mwg", *plain], ["eval"]):
        run(*words, "-w", folder).ok()
    return folder


@pytest.fixture
def generated(generated_folder, tmp_path):
    return Workspace(shutil.copytree(generated_folder, tmp_path / "generated"))


def test_a_finished_phase_is_an_ordinary_model_with_the_generator_beside_it(generated, finished):
    for phase, classes in ((1, 2), (2, 1)):
        directory = generated.phase(phase)
        model = load_file(directory.model)
        ordinary = load_file(finished.phase(phase).model)
        assert {k: v.shape for k, v in model.items()} == {k: v.shape for k, v in ordinary.items()}
        assert "keys" in load_file(directory.generator)
        attention = np.load(directory.attention, allow_pickle=False)
        assert attention.shape == (classes, 3)
        np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
        assert generated.require_done(phase).new_rows == "generated"
        assert finished.require_done(phase).new_rows == "mean-feature"
        assert not directory.training_state.exists()


def test_the_generator_goes_on_from_phase_to_phase(generated, run):
    shutil.rmtree(generated.phase(2).root)
    first = load_file(generated.phase(1).generator)
    np.testing.assert_allclose(first["feature_gain"], 1, atol=0.1)
    # A fresh one would begin with 1, and hardly get away from it.
    marked = {**first, "feature_gain": first["feature_gain"] + np.float32(1)}
    save_file(marked, generated.phase(1).generator)
    refused = run("step", "--mwg", "-w", generated.root)
    assert "01/generator.safetensors: cut short or changed" in refused.err
    digest = {"generator_sha256": sha256_of(generated.phase(1).generator)}
    generated.save_manifest(generated.require_done(1).model_copy(update=digest))
    outcome = run("step", "--mwg", "-w", generated.root).ok()
    assert "no trained generator" not in outcome.err
    assert "left no generator" not in outcome.err
    second = load_file(generated.phase(2).generator)
    np.testing.assert_allclose(second["feature_gain"], marked["feature_gain"], atol=0.1)
    assert not np.array_equal(second["feature_gain"], marked["feature_gain"])  # trained further


def test_predictions_do_not_depend_on_the_generator_being_there(generated, run):
    before = generated.phase(2).detections.read_bytes()
    for phase in (1, 2):
        generated.phase(phase).generator.unlink()
        generated.phase(phase).attention.unlink()
    run("eval", "-w", generated.root).ok()
    assert generated.phase(2).detections.read_bytes() == before


def averages(workspace: Workspace) -> dict[int, Any]:
    """Average of the rows of all boxes of each class of phase 1, from its files."""
    from lst_cli.engine.checkpoint import load_model
    from lst_cli.inputs import read_training_input
    from lst_cli.modeling.build import build_model, input_format
    from lst_cli.samples.mapper import Mapper
    from lst_cli.samples.phase_dataset import PhaseDataset
    from lst_cli.train.network import load_generator
    from lst_cli.train.plan import phase_data

    settings = workspace.trained_settings(1)
    inputs = read_training_input(workspace)
    new = workspace.split.labels_of(1)
    dataset = PhaseDataset(
        inputs.dataset,
        inputs.labels,
        new.stop,
        phase_data(workspace.split, inputs.occurrences, 1, settings),
    )
    mapper = Mapper(inputs.paths, settings.data, channels=input_format(settings), seed=0)
    model = build_model(settings, new.stop)
    model.load_state_dict(load_model(workspace.phase(1).model, ""))
    model.eval()
    generator = load_generator(workspace.phase(1).generator, settings.mwg, (32, 3))
    weight = model.roi_heads.box_predictor.cls_score.weight.detach()
    found = {}
    for label in new:
        rows = []
        for image in inputs.occurrences.images[label].tolist():
            item = mapper(dataset.sample(image, label), augment=False)
            targets = item["instances"]
            boxes = targets.gt_boxes[targets.gt_classes == label]
            with torch.no_grad():
                maps = model.backbone(model.preprocess_image([item]).tensor)
                features = model.roi_heads.box_features(maps, [boxes])
                rows += list(generator(features, weight[:3], weight[-1]))
        assert len(rows) == workspace.split.classes[label].instances
        found[label] = torch.stack(rows).mean(dim=0)
    return found


def test_delivered_rows_are_the_averages_over_all_boxes_of_a_class(generated):
    delivered = torch.from_numpy(load_file(generated.phase(1).model)[CLASSIFIER])
    expected = averages(generated)
    assert expected.keys() == {3, 4}
    for label, row in expected.items():
        torch.testing.assert_close(delivered[label], row)


def test_every_other_choice_of_the_generator_works_together(tiny, run, few_json, tmp_path):
    workspace = Workspace(tmp_path / "other")
    choices = (
        "model.class_agnostic_boxes=false",
        'step.freeze=["backbone.bottom_up"]',  # the pyramid is trained
        "mwg.form=matrices",
        "mwg.background_share=0.5",
        "mwg.learn_offsets=true",
        "mwg.boxes=proposals",
        "mwg.shots=2",
    )
    keep = KEEP_OFFSETS.format(path=str(tmp_path / "offsets.npy"))
    run(*tiny.split_words(workspace.root, *choices)).ok()
    for command in (["train-base"], ["step", "--mwg"], ["eval"]):
        run(*command, "-w", workspace.root, first=keep).ok()
    before, after = (load_file(workspace.phase(phase).model) for phase in (0, 1))
    pyramid = "backbone.fpn_output3.weight"
    assert not np.array_equal(before[pyramid], after[pyramid])
    generator = load_file(workspace.phase(1).generator)
    assert generator["feature_gain"].shape == (32, 32)
    assert 0 < abs(generator["background_share"] - 0.5) < 0.1

    offsets = torch.from_numpy(np.load(tmp_path / "offsets.npy", allow_pickle=False))
    assert offsets.abs().amax(dim=1).min() > 1e-4
    delivered = torch.from_numpy(after[CLASSIFIER])
    for label, row in averages(workspace).items():
        torch.testing.assert_close(delivered[label], row + offsets[label - 3])

    words = ["extend", "--train", few_json(zebra=1), "--images", tiny.images, "--anyway", "--json"]
    outcome = run(*words, "-w", workspace.root).ok()
    assert outcome.json["new_rows"] == "generated"
    extended = load_file(workspace.phase(2).model)
    assert len(extended[CLASSIFIER]) == 7
    boxes = extended[BOXES]
    assert boxes.shape == (6 * 4, 32)
    assert np.array_equal(boxes[:20], after[BOXES])
    np.testing.assert_allclose(
        boxes[20:], after[BOXES].reshape(5, 4, 32).mean(axis=0), rtol=1e-5, atol=1e-7
    )


def test_a_phase_with_exact_support_that_was_killed_ends_with_the_same_weights(
    based, generated, tmp_path, run
):
    words = ["step", "--mwg", "--set", "mwg.support=exact", "--set", "mwg.boxes=jittered"]
    whole = Workspace(shutil.copytree(based.root, tmp_path / "whole"))
    assert run(*words, "-w", whole.root).code == 0
    killed = run(*words, "-w", based.root, first=before_iteration(3))
    assert killed.code == -signal.SIGKILL, killed.err
    assert "3 base classes" in killed.err  # which are few
    outcome = run(*words, "-w", based.root).ok()
    assert "phase 1 continued after iteration" in outcome.err
    assert differing(whole, based, 1) == []
    assert differing(whole, generated, 1) == ["model", "generator", "attention"]


def test_a_generator_of_another_form_is_refused_by_the_next_phase(based, generated, run):
    shutil.rmtree(generated.phase(2).root)
    outcome = run("step", "--mwg", "--set", "mwg.form=matrices", "-w", generated.root)
    assert "generator.safetensors does not fit the settings" in outcome.error
    assert "another mwg.form" in outcome.err


def test_instant_classes_are_evaluated_in_every_way(generated, run):
    outcome = run("eval", "--instant", "--all-phases", "--json", "-w", generated.root).ok()
    [first, second] = outcome.json
    assert (first["phase"], second["phase"]) == (1, 2)
    # Phase 1 begins with a generator that nobody trained.
    assert set(first["rows"]) == {"random", "mean-feature"}
    assert set(second["rows"]) == {"random", "mean-feature", "generated"}
    for record in second["rows"].values():
        assert [group["phase"] for group in record["segm"]["groups"]] == [0, 1, 2]
    assert second == load_json(generated.phase(2).instant, "")
    assert not list(generated.phase(2).root.glob("instant-*"))  # nothing is kept for a next run
