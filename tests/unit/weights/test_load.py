from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lst_cli.errors import LstError
from lst_cli.weights.load import load_weights

pytestmark = pytest.mark.engine

# A ResNet-50 of detectron2's own, as thin as it goes.
THIN_R50: dict[str, Any] = {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
}
PREDICTORS = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")
OURS = ("roi_heads.mask_head.transfer.", "roi_heads.mask_head.mlp.", PREDICTORS[0])


@pytest.fixture(scope="module")
def thin(make_model: Callable[..., Any]) -> Callable[[int], Any]:
    return lambda seed: make_model(5, seed=seed, detectron2=THIN_R50)


@pytest.fixture(scope="module")
def coco(thin: Callable[[int], Any]) -> dict[str, np.ndarray]:
    """Arrays of a Mask R-CNN for 80 classes, under detectron2's names."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(0.5, 1.5, tuple(tensor.shape)).astype(np.float32)
        for name, tensor in thin(1).state_dict().items()
        if not name.startswith(OURS)
    }
    for name, shape in {
        "box_predictor.cls_score.weight": (81, 32),
        "box_predictor.cls_score.bias": (81,),
        "box_predictor.bbox_pred.weight": (320, 32),
        "box_predictor.bbox_pred.bias": (320,),
        "mask_head.predictor.weight": (80, 8, 1, 1),
        "mask_head.predictor.bias": (80,),
    }.items():
        arrays[f"roi_heads.{name}"] = np.zeros(shape, dtype=np.float32)
    return arrays


@pytest.fixture
def pickled(tmp_path: Path) -> Callable[..., str]:
    def write(content: object) -> str:
        path = tmp_path / "model.pkl"
        path.write_bytes(pickle.dumps(content, protocol=2))
        return str(path)

    return write


CAFFE2_ENDS = {
    "weight": "w", "bias": "b", "norm.weight": "bn_s", "norm.bias": "bn_b",
    "norm.running_mean": "bn_rm", "norm.running_var": "bn_riv",
}  # fmt: skip
CAFFE2_NAMES = {
    "proposal_generator.rpn_head.conv": "conv_rpn_fpn2",
    "proposal_generator.rpn_head.objectness_logits": "rpn_cls_logits_fpn2",
    "proposal_generator.rpn_head.anchor_deltas": "rpn_bbox_pred_fpn2",
    "roi_heads.box_head.fc1": "fc6",
    "roi_heads.box_head.fc2": "fc7",
    "roi_heads.box_predictor.cls_score": "cls_score",
    "roi_heads.box_predictor.bbox_pred": "bbox_pred",
    "roi_heads.mask_head.mask_fcn1": "_[mask]_fcn1",
    "roi_heads.mask_head.deconv": "conv5_mask",
    "roi_heads.mask_head.predictor": "mask_fcn_logits",
}


def caffe2_name(name: str) -> str:
    """Detectron's name of a tensor, written from its published models."""
    stem, _, last = name.rpartition(".")
    if stem.endswith(".norm"):
        stem, last = stem.removesuffix(".norm"), f"norm.{last}"
    ending = CAFFE2_ENDS[last]
    if stem in CAFFE2_NAMES:
        return f"{CAFFE2_NAMES[stem]}_{ending}"
    if stem.startswith("backbone.fpn_lateral"):
        stage = stem[-1]
        return f"fpn_inner_res{stage}_2_sum{'' if stage == '5' else '_lateral'}_{ending}"
    if stem.startswith("backbone.fpn_output"):
        return f"fpn_res{stem[-1]}_2_sum_{ending}"
    stem = stem.removeprefix("backbone.bottom_up.")
    if stem == "stem.conv1":
        return f"conv1_{ending}" if last == "weight" else f"res_conv1_{ending}"
    stage, block, layer = stem.split(".")
    branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}[layer]
    return f"{stage}_{block}_branch{branch}_{ending}"


def to_caffe2(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights as Detectron's Caffe2 files hold them: background first."""
    renamed = {caffe2_name(name): array for name, array in arrays.items()}
    for name, rows in (("bbox_pred", 4), ("mask_fcn_logits", 1)):
        for part in ("w", "b"):
            array = renamed[f"{name}_{part}"]
            renamed[f"{name}_{part}"] = np.concatenate([np.zeros_like(array[:rows]), array])
    return renamed


def assert_loaded(model: Any, arrays: dict[str, np.ndarray], names: list[str]) -> None:
    for name in names:
        found = model.state_dict()[name].numpy()
        np.testing.assert_array_equal(found, arrays[name], err_msg=name)


def check_coco(model: Any, arrays: dict[str, np.ndarray], source: str) -> Any:
    """Everything matches but the predictors, which are left as they were."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load_weights(model, source)
    shared = sorted(name for name in arrays if not name.startswith(PREDICTORS))
    assert list(report.matched) == shared
    assert_loaded(model, arrays, shared)
    assert set(report.dropped) == {name for name in arrays if name.startswith(PREDICTORS)}
    assert sorted(report.missing) == sorted(set(before) - set(shared))
    for name in report.missing:
        assert torch.equal(model.state_dict()[name], before[name])
    assert all(name.startswith((*OURS, *PREDICTORS)) for name in report.missing)
    return report


@pytest.mark.parametrize("kind", [{}, {"head": "softmax", "mask": "fcn"}], ids=["own", "joint"])
def test_a_checkpoint_of_the_model_zoo_matches_but_for_its_predictors(
    kind, make_model, coco, pickled
):
    source = pickled({"model": coco, "__author__": "Detectron2 Model Zoo"})
    model = make_model(5, seed=2, model=kind, detectron2=THIN_R50)
    report = check_coco(model, coco, source)
    assert report.unused == ()
    assert report.source == source
    assert report.sha256 == hashlib.sha256(Path(source).read_bytes()).hexdigest()
    assert (sorted(report.missing) == sorted(report.dropped)) == bool(kind)


def test_predictors_of_as_many_classes_as_ours_are_dropped_too(make_model, pickled):
    donor, model = make_model(5, seed=1), make_model(5, seed=2)
    before = model.roi_heads.box_predictor.cls_score.weight.clone()
    arrays = {name: tensor.numpy() for name, tensor in donor.state_dict().items()}
    report = load_weights(model, pickled({"model": arrays}))
    assert torch.equal(model.roi_heads.box_predictor.cls_score.weight, before)
    assert "roi_heads.box_predictor.bbox_pred.bias" in report.dropped


def test_predictors_of_the_same_classes_are_loaded_too(make_model, pickled):
    trained, model = make_model(5, seed=1), make_model(5, seed=2)
    arrays = {name: tensor.numpy() for name, tensor in trained.state_dict().items()}
    report = load_weights(model, pickled({"model": arrays}), same_classes=True)
    assert (report.dropped, report.missing) == ((), ())
    row = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(model.state_dict()[row], trained.state_dict()[row])


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_caffe2_checkpoint_matches_but_for_its_predictors(wrapped, thin, coco, pickled):
    extra = {"conv1_w_momentum": np.zeros(3), "kps_score_w": np.zeros((2, 2)), "lr": 0.1}
    blobs = {**to_caffe2(coco), **extra}
    report = check_coco(thin(2), coco, pickled({"blobs": blobs} if wrapped else blobs))
    assert len(report.unused) == 1
    assert "kps" in report.unused[0] or "keypoint" in report.unused[0]


def test_a_backbone_under_torchvisions_names_is_matched_by_the_end_of_the_name(thin, coco, pickled):
    prefix = "backbone.bottom_up."
    backbone = {n.removeprefix(prefix): a for n, a in coco.items() if n.startswith(prefix)}
    tensors = {**backbone, "fc.weight": np.zeros((10, 4), dtype=np.float32)}
    model = thin(2)
    report = load_weights(model, pickled({"model": tensors, "matching_heuristics": True}))
    assert list(report.matched) == sorted(prefix + name for name in backbone)
    assert any(name.endswith("running_mean") for name in report.matched)
    assert_loaded(model, coco, list(report.matched))
    assert report.unused == ("fc.weight",)


def test_tensors_of_another_shape_are_reported_and_left_out(thin, coco, pickled):
    wide = "roi_heads.box_head.fc2.weight"
    changed = {**coco, wide: np.zeros((64, 32), dtype=np.float32), "stray": np.zeros(1)}
    report = load_weights(thin(2), pickled({"model": changed}))
    assert report.unused == (wide, "stray")
    assert wide in report.missing


def test_another_backbone_is_refused_and_named_by_one_tensor(thin, coco, pickled):
    stem = "backbone.bottom_up.stem.conv1.weight"
    wide = {**coco, stem: np.zeros((64, 3, 7, 7), dtype=np.float32)}
    with pytest.raises(LstError, match=r"another backbone: .* is \(64, 3, 7, 7\) there and \(4,"):
        load_weights(thin(2), pickled({"model": wide}))
    # A deeper or a shallower network of the same kind has only more, or only fewer.
    del wide[stem]
    assert load_weights(thin(2), pickled({"model": wide})).unused == ()
    more = {**coco, "backbone.bottom_up.res6.weight": np.zeros(1)}
    assert load_weights(thin(2), pickled({"model": more})).unused == tuple(more)[-1:]


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({}, None),
        ({"roi_heads.mask_head.mask_fcn1.weight": None}, None),
        ({"roi_heads.mask_head.other.weight": np.zeros(1)}, None),
        ({"roi_heads.box_head.fc2.weight": None}, "it has no roi_heads.box_head.fc2.weight"),
        ({"backbone.fpn_lateral2.bias": np.zeros(3)}, "lateral2.bias is (3,) there and (16,) in"),
        ({"backbone.extra.bias": np.zeros(3)}, "the network has no backbone.extra.bias"),
    ],
)
def test_a_model_of_lst_fits_but_for_classes_and_masks_or_both_networks_are_named(
    change, refused, thin, coco, pickled
):
    changed = {n: a for n, a in {**coco, **change}.items() if a is not None}
    source, names = pickled({"model": changed}), ("timm/a", "timm/b")
    if refused is None:
        text = str(load_weights(thin(2), source, names))
        assert "roi_heads.box_head 4 of 4, " in text
        assert "roi_heads.box_predictor 0 of " in text
        assert "; 6 class-specific dropped, " in text
        return
    with pytest.raises(LstError) as caught:
        load_weights(thin(2), source, names)
    assert "it is of timm/a, and the network is timm/b: " in caught.value.message
    assert refused in caught.value.message


def test_names_that_fit_several_places_are_refused(five, pickled):
    ambiguous = {"bias": np.zeros(16, dtype=np.float32)}
    with pytest.raises(LstError, match="cannot be matched"):
        load_weights(five, pickled({"model": ambiguous, "matching_heuristics": True}))
