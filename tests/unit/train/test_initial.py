from __future__ import annotations

from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.sweep.plan import choose, read_plan
from lst_cli.train.initial import find_weights, name_networks
from lst_cli.train.train import train_phase
from lst_cli.workspace.store import Workspace


@pytest.fixture
def trained(split_workspace: Workspace, fake_trainer: Any) -> Workspace:
    """A workspace whose phases 0 and 1 are finished."""
    for phase in (0, 1):
        train_phase(split_workspace, phase, split_workspace.settings())
    return split_workspace


def test_a_workspace_stands_for_the_model_of_its_last_finished_phase(trained):
    assert find_weights(str(trained.root)) == str(trained.phase(1).model)


def test_the_runs_of_a_sweep_start_from_the_model_of_a_workspace_too(trained):
    split = trained.split
    data = {"train": split.train.path, "val": split.val.path, "weights": str(trained.root)}
    assert choose(read_plan("table1"), **data).data.weights == str(trained.phase(1).model)


@pytest.mark.parametrize("given", [None, "model.pkl", "https://host/model.pkl", "."])
def test_everything_else_is_left_as_it_is(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_weights(given) == given


def test_a_workspace_without_a_finished_phase_or_with_a_changed_model_is_refused(trained):
    trained.phase(1).model.write_text("other")
    with pytest.raises(LstError, match="changed since lst wrote it") as caught:
        find_weights(str(trained.root))
    assert caught.value.message.startswith(f"--weights {trained.root}: ")
    trained.phase(0).manifest.unlink()
    with pytest.raises(LstError, match=f"--weights {trained.root}: no phase of "):
        find_weights(str(trained.root))


@pytest.mark.parametrize(
    ("preset", "here"),
    [
        ("paper-x101", "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml"),
        ("lite", "build_lst_efficientnet_lite_fpn_backbone"),
    ],
)
def test_the_networks_of_a_model_of_lst_have_names(preset, here, trained):
    settings = trained.settings([f"preset={preset}"])
    there = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
    assert name_networks(str(trained.phase(1).model), settings) == (there, here)
    assert name_networks(str(trained.phase(1).log), settings) is None
    assert name_networks("https://host/model.safetensors", settings) is None


def test_a_model_whose_manifest_is_damaged_can_be_copied(trained, tmp_path):
    trained.phase(1).manifest.write_text("{")
    with pytest.raises(LstError) as caught:
        name_networks(str(trained.phase(1).model), trained.settings())
    assert "copy the weights" in (caught.value.hint or "")
    copy = tmp_path / "copy" / "model.safetensors"
    copy.parent.mkdir()
    trained.phase(1).model.rename(copy)
    assert name_networks(str(copy), trained.settings()) is None
