from __future__ import annotations

from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.split.split import SplitRequest, split_dataset
from lst_cli.sweep.plan import choose, read_plan
from lst_cli.train.initial import (
    find_weights,
    is_of_same_classes,
    name_networks,
    require_teacher,
)
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


@pytest.fixture
def joint(small_lvis, tmp_path, no_plots) -> Workspace:
    """All eleven classes of the same files in one phase."""
    workspace = Workspace(tmp_path / "joint")
    files = small_lvis.train_json, small_lvis.val_json, [small_lvis.images]
    split_dataset(workspace, SplitRequest(*files, None, 0), workspace.settings())
    return workspace


def test_only_a_model_of_the_same_file_classes_and_network_is_of_the_same_classes(
    trained, joint, small_lvis
):
    for phase in (2, 3):
        train_phase(trained, phase, trained.settings())
    models = [str(trained.phase(phase).model) for phase in range(4)]

    def same(words: tuple[str, ...] = ()) -> list[bool]:
        settings = joint.settings(words)
        return [is_of_same_classes(one, joint.split, settings) for one in models]

    assert same() == same(("base.lr=0.5",)) == [False, False, False, True]
    assert not any(same(("model.head=softmax",)))
    assert not is_of_same_classes("https://host/a/b/model.pkl", joint.split, joint.settings())
    small_lvis.train["annotations"][0]["id"] = 10_000
    small_lvis.save()
    split_dataset(joint, SplitRequest(small_lvis.train_json, small_lvis.val_json, [], None, 0),
                  joint.settings())  # fmt: skip
    assert not any(same())


def test_phase_0_is_distilled_from_a_model_of_the_same_classes_only(trained, joint):
    settings, split = joint.settings(["base.distill_weight=1"]), joint.split
    for source in (None, str(trained.phase(1).model)):
        require_teacher(source, split, joint.settings())
        with pytest.raises(LstError, match=r"base\.distill_weight: the initial weights are not"):
            require_teacher(source, split, settings)
    train_phase(joint, 0, joint.settings())
    require_teacher(find_weights(str(joint.root)), split, settings)


def test_a_model_whose_manifest_is_damaged_can_be_copied(trained, tmp_path):
    trained.phase(1).manifest.write_text("{")
    with pytest.raises(LstError) as caught:
        name_networks(str(trained.phase(1).model), trained.settings())
    assert "copy the weights" in (caught.value.hint or "")
    copy = tmp_path / "copy" / "model.safetensors"
    copy.parent.mkdir()
    trained.phase(1).model.rename(copy)
    assert name_networks(str(copy), trained.settings()) is None
