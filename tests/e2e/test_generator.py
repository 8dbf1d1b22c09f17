"""Phases with the meta weight generator, with real networks on the CPU."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine
Run = Callable[..., Any]

CLASSIFIER = "roi_heads.box_predictor.cls_score.weight"
BEFORE_ITERATION_3 = """
import lst_cli.training.loop as loop
seed_iteration = loop.seed_iteration
def seed_or_kill(seed, phase, iteration):
    if iteration == 3:
        kill()
    seed_iteration(seed, phase, iteration)
loop.seed_iteration = seed_or_kill
"""
WHILE_ROWS_ARE_WRITTEN = "import lst_cli.recipes.phase_run as p; p.save_attention = kill"


@pytest.fixture(scope="module")
def generated_folder(base_folder: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated") / "workspace"
    shutil.copytree(base_folder, folder)
    for words in (["step", "--all", "--mwg"], ["eval"]):
        outcome = run(*words, "-w", folder)
        assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def generated(generated_folder: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(generated_folder, tmp_path / "generated"))


def test_a_finished_phase_is_an_ordinary_model_with_the_generator_beside_it(
    generated: Workspace, finished: Workspace
) -> None:
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


def test_the_generator_goes_on_from_phase_to_phase(generated: Workspace) -> None:
    first, second = (load_file(generated.phase(phase).generator) for phase in (1, 2))
    moved = np.abs(first["query"] - second["query"]).max()
    assert 0 < moved < 0.05  # trained further; a fresh one would differ by as much as its noise
    fresh = np.abs(first["keys"] - second["keys"]).max()
    assert fresh < 0.1 * np.abs(first["keys"]).max()


def test_predictions_do_not_depend_on_the_generator_being_there(
    generated: Workspace, run: Run
) -> None:
    before = generated.phase(2).detections.read_bytes()
    for phase in (1, 2):
        generated.phase(phase).generator.unlink()
        generated.phase(phase).attention.unlink()
    outcome = run("eval", "-w", generated.root)
    assert outcome.code == 0, outcome.err
    assert generated.phase(2).detections.read_bytes() == before


def test_delivered_rows_are_the_averages_over_all_boxes_of_a_class(generated: Workspace) -> None:
    from lst_cli.data.mapper import Mapper
    from lst_cli.data.phase_dataset import PhaseDataset
    from lst_cli.modeling.build import build_model, input_format
    from lst_cli.recipes.inputs import read_training_input
    from lst_cli.recipes.new_rows import load_generator
    from lst_cli.recipes.plan import phase_data
    from lst_cli.training.checkpoint import load_model

    settings = generated.trained_settings(1)
    inputs = read_training_input(generated)
    new = generated.split.labels_of(1)
    dataset = PhaseDataset(
        inputs.dataset, inputs.labels, new.stop, phase_data(generated, inputs, 1, settings)
    )
    mapper = Mapper(inputs.paths, settings.data, channels=input_format(settings), seed=0)
    model = build_model(settings, new.stop)
    model.load_state_dict(load_model(generated.phase(1).model, ""))
    model.eval()
    generator = load_generator(generated.phase(1).generator, settings.mwg, 32, 3)
    weight = model.roi_heads.box_predictor.cls_score.weight.detach()
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
        assert len(rows) == generated.split.classes[label].instances
        torch.testing.assert_close(weight[label], torch.stack(rows).mean(dim=0))


@pytest.mark.parametrize("first", [BEFORE_ITERATION_3, WHILE_ROWS_ARE_WRITTEN])
@pytest.mark.parametrize("support", ["kept", "exact"])
def test_a_phase_that_was_killed_comes_to_the_same_weights(
    based: Workspace, generated: Workspace, tmp_path: Path, run: Run, first: str, support: str
) -> None:
    words = ["step", "--mwg", "--set", f"mwg.support={support}", "--set", "mwg.boxes=jittered"]
    whole = Workspace(shutil.copytree(based.root, tmp_path / "whole"))
    assert run(*words, "-w", whole.root).code == 0
    killed = run(*words, "-w", based.root, first=first)
    assert killed.code == -signal.SIGKILL, killed.err
    outcome = run(*words, "-w", based.root)
    assert outcome.code == 0, outcome.err
    assert "phase 1 continued after iteration" in outcome.err
    for name in ("model", "generator", "attention"):
        ours, theirs = (getattr(one.phase(1), name).read_bytes() for one in (based, whole))
        assert ours == theirs, name
    assert whole.phase(1).model.read_bytes() != generated.phase(1).model.read_bytes()


def test_a_phase_under_way_refuses_other_generator_settings(based: Workspace, run: Run) -> None:
    killed = run("step", "--mwg", "-w", based.root, first=BEFORE_ITERATION_3)
    assert killed.code == -signal.SIGKILL, killed.err
    outcome = run("step", "--mwg", "--set", "mwg.shots=2", "-w", based.root)
    assert outcome.code == 1
    assert "mwg.shots was 1, is now 2" in outcome.err
    outcome = run("step", "-w", based.root)
    assert outcome.code == 1
    assert "step.mwg was True, is now False" in outcome.err


def test_a_generator_of_another_form_is_refused_by_the_next_phase(
    based: Workspace, generated: Workspace, run: Run
) -> None:
    shutil.rmtree(generated.phase(2).root)
    outcome = run("step", "--mwg", "--set", "mwg.form=matrices", "-w", generated.root)
    assert outcome.code == 1
    assert "generator.safetensors does not fit the settings: mwg.form" in outcome.err
    assert "Traceback" not in outcome.err


def test_few_base_classes_are_told_of(generated: Workspace, based: Workspace, run: Run) -> None:
    outcome = run("step", "--mwg", "-w", based.root)
    assert outcome.code == 0, outcome.err
    assert "3 base classes" in outcome.err


def test_instant_classes_are_evaluated_in_every_way(generated: Workspace, run: Run) -> None:
    outcome = run("eval", "--instant", "--all-phases", "--json", "-w", generated.root)
    assert outcome.code == 0, outcome.err
    [first, second] = outcome.json
    assert (first["phase"], second["phase"]) == (1, 2)
    # Phase 1 begins with a generator that nobody trained.
    assert set(first["rows"]) == {"random", "mean-feature"}
    assert set(second["rows"]) == {"random", "mean-feature", "generated"}
    for record in second["rows"].values():
        assert [group["phase"] for group in record["segm"]["groups"]] == [0, 1, 2]
    assert second == json.loads(generated.phase(2).instant.read_text())
    outcome = run("eval", "--instant", "--phase", 0, "-w", generated.root)
    assert outcome.code == 1
    assert "the base phase has no classes to add instantly" in outcome.err
