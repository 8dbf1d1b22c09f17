"""An existing Mask R-CNN: what is refused before anything slow, and what is read from it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from lst_cli.adopt.original import load_original, read_config, use_test_settings
from lst_cli.errors import LstError
from lst_cli.modeling.build import build_model, detectron2_config
from lst_cli.modeling.zoo_files import configs
from tests.fixtures.detectron2_files import detectron2s_own

pytestmark = pytest.mark.engine


class Trained:
    """A small joint-softmax network, and its files as detectron2 writes them."""

    def __init__(self, make_settings: Any, folder: Any) -> None:
        settings = make_settings(
            model={"head": "softmax", "mask": "fcn", "canonical_box_size": 224},
            eval={"detections": 20},
        )
        torch.manual_seed(0)
        self.settings = settings
        self.model = build_model(settings, 4).eval()
        self.cfg = detectron2s_own(settings, 4)
        self.weights, self.config = folder / "model.pth", folder / "config.yaml"

    def write(self, content: Any = None, **keys: Any) -> tuple[str, str]:
        cfg = self.cfg.clone()
        for key, value in keys.items():
            cfg.merge_from_list([f"MODEL.{key.replace('__', '.')}", value])
        self.config.write_text(cfg.dump())
        torch.save({"model": self.model.state_dict()} if content is None else content, self.weights)
        return str(self.config), str(self.weights)

    def load(self, content: Any = None, **keys: Any) -> Any:
        config, weights = self.write(content, **keys)
        return load_original(read_config(config), weights)


@pytest.fixture
def trained(make_settings, tmp_path):
    return Trained(make_settings, tmp_path)


def refusal(call: Any) -> str:
    with pytest.raises(LstError) as caught:
        call()
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_original_finds_what_the_trained_network_finds(trained, make_batch):
    original, notes = trained.load()
    assert notes == []
    use_test_settings(original, trained.settings)
    batch = make_batch((0, 1))
    with torch.inference_mode():
        [ours], [theirs] = trained.model.detect(batch), original.detect(batch)
        assert len(theirs) == 20
        torch.testing.assert_close(ours.scores, theirs.scores)
        torch.testing.assert_close(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
        torch.testing.assert_close(ours.box_masks, theirs.box_masks)
        assert (ours.pred_classes == theirs.pred_classes).all()
        [some] = original.with_labels([2, 0]).detect(batch)
    kept = theirs[(theirs.pred_classes == 2) | (theirs.pred_classes == 0)]
    assert (some.pred_classes == (kept.pred_classes == 0).long()).all()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": {f"model.{name}": one for name, one in state.items()}},
        lambda state: {"model": {f"module.{name}": one for name, one in state.items()}},
        lambda state: {"model": state, "optimizer": {"state": {}}, "iteration": 9},
    ],
    ids=["bare", "lightning", "several GPUs", "checkpoint"],
)
def test_a_state_dict_is_found_in_what_people_wrap_it_in(trained, wrap):
    original, _ = trained.load(wrap(trained.model.state_dict()))
    assert original.classes == 4


def test_the_weights_say_how_many_classes_there_are(trained):
    original, [note] = trained.load(ROI_HEADS__NUM_CLASSES=80)
    assert original.classes == 4
    assert "NUM_CLASSES is 80 in the config; the weights have 4 classes" in note


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"META_ARCHITECTURE": "RetinaNet"}, "a RetinaNet"),
        ({"META_ARCHITECTURE": "PanopticFPN"}, "a panoptic model"),
        ({"ROI_HEADS__NAME": "CascadeROIHeads"}, "a Cascade R-CNN"),
        ({"ROI_HEADS__NAME": "Res5ROIHeads"}, "without a feature pyramid (C4)"),
        ({"BACKBONE__NAME": "build_resnet_backbone"}, "(C4 or DC5)"),
        ({"BACKBONE__NAME": "my_fpn"}, "a backbone that detectron2 does not have"),
        ({"KEYPOINT_ON": True}, "a model with keypoints"),
        ({"MASK_ON": False}, "a model without masks"),
        ({"RESNETS__DEFORM_ON_PER_STAGE": [True] * 4}, "deformable convolutions"),
    ],
    ids=str,
)
def test_another_architecture_is_refused_by_its_config(trained, keys, reason):
    config, _ = trained.write(**keys)
    assert reason in refusal(lambda: read_config(config))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("_BASE_: {zoo}/Base-RetinaNet.yaml", "a RetinaNet, not a Mask R-CNN"),  # with Python code
        ("MODEL: {ROI_HEADS: {NAME: PointRendROIHeads}, POINT_HEAD: {A: 1}}", "a PointRend model"),
        ("MODEL: {META_ARCHITECTURE: TensorMask, TENSOR_MASK: 1}", "another model, not a Mask"),
    ],
)
def test_another_architecture_is_named_before_what_only_its_config_has(tmp_path, text, reason):
    file = tmp_path / "other.yaml"
    file.write_text(text.replace("{zoo}", str(configs())))
    assert reason in refusal(lambda: read_config(str(file)))


def test_a_config_that_is_code_or_is_not_there_is_refused(tmp_path):
    assert "Python code, which lst does not run" in refusal(lambda: read_config("config.py"))
    assert "no such file, and none of" in refusal(lambda: read_config("nowhere.yaml"))
    evil = tmp_path / "evil.yaml"
    evil.write_text("MODEL: !!python/object/apply:os.system ['false']")
    assert f"--config {evil}, line 1: not plain YAML" in refusal(lambda: read_config(str(evil)))


def test_a_config_based_on_others_has_their_values(trained, tmp_path):
    trained.write()
    (tmp_path / "mine.yaml").write_text("_BASE_: config.yaml\nSOLVER: {MAX_ITER: 7}")
    config = read_config(str(tmp_path / "mine.yaml"))
    assert config.image_passes == 7 * 10
    assert config.cfg.MODEL.FPN.OUT_CHANNELS == 16


def change(state: Any, **tensors: Any) -> Any:
    return {**state, **{name.replace("__", "."): one for name, one in tensors.items()}}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda s: s.pop("roi_heads.box_head.fc2.weight"), "roi_heads.box_head.fc2.weight of the"),
        (lambda s: s.pop("roi_heads.box_predictor.cls_score.weight"), "cls_score.weight of the"),
        (lambda s: s.update({"roi_heads.box_head.fc1.bias": torch.zeros(3)}),
         "fc1.bias is (3,) there and (32,) in the config's network"),
        (lambda s: s.update({"roi_heads.mask_head.predictor.bias": torch.zeros(9)}),
         "predictor.bias is (9,) there and (4,)"),
        (lambda s: s.update({"roi_heads.box_head.fc3.bias": torch.zeros(3)}),
         "the config's network has no roi_heads.box_head.fc3.bias"),
        (lambda s: s.update({"roi_heads.keypoint_head.conv1.bias": torch.zeros(3)}),
         "they hold keypoints"),
        (lambda s: s["roi_heads.box_head.fc1.bias"].fill_(torch.nan), "not finite"),
        (lambda s: s.update({"pixel_mean": torch.zeros(3, 1, 1)}),
         "pixel_mean differs from the config's MODEL.PIXEL_MEAN"),
        (lambda s: s.clear(), "it holds no weights"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_those_of_the_config_are_named(trained, edit, reason):
    state = {name: one.clone() for name, one in trained.model.state_dict().items()}
    edit(state)
    assert reason in refusal(lambda: trained.load({"model": state}))


class Evil:
    def __reduce__(self) -> Any:
        return eval, ("1 / 0",)


def test_weights_that_would_run_code_are_refused(trained):
    config, weights = trained.write()
    trained.weights.write_bytes(pickle.dumps({"model": Evil()}))
    assert "it would run" in refusal(lambda: load_original(read_config(config), weights))


def test_the_settings_make_the_same_network_and_name_no_file(trained):
    from lst_cli.adopt.adopt import _settings

    config, _ = trained.write(RESNETS__NORM="SyncBN", RPN__NMS_THRESH=0.65)
    settings, text = _settings(read_config(config), "lite", ["device=cpu", "step.lr=0.5"])
    ours = detectron2_config(settings, 4, 16)
    for key in ("FPN", "ANCHOR_GENERATOR", "BACKBONE", "PIXEL_MEAN", "RESNETS"):
        theirs = read_config(config).cfg.MODEL[key]
        assert ours.MODEL[key] == theirs, key
    assert ours.MODEL.RPN.NMS_THRESH == 0.65
    assert str(trained.config) not in text
    assert "lr = 0.5" in text.splitlines()
    message = refusal(lambda: _settings(read_config(config), None, ["model.head=softmax"]))
    assert "--set model.head: the network is that of --config" in message
