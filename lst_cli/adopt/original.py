"""An existing Mask R-CNN of detectron2: its config, which is not believed, and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from detectron2.data.datasets.lvis import get_lvis_instances_meta
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN
from detectron2.structures import Instances
from torch import Tensor, nn

from lst_cli.engine.checkpoint import digest_of
from lst_cli.errors import LstError
from lst_cli.modeling.build import build_from_config, read_detectron2_config
from lst_cli.modeling.rcnn import detect_with
from lst_cli.modeling.zoo_files import configs
from lst_cli.modeling.zoo_files import read_config as read_table
from lst_cli.settings.load import OWNED_DETECTRON2_KEYS
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import flatten, shorten
from lst_cli.text import first_few
from lst_cli.weights.load import check_numbers, read_named

CLASSIFIER = "roi_heads.box_predictor.cls_score."
BOXES = "roi_heads.box_predictor.bbox_pred."
MASKS = "roi_heads.mask_head.predictor."
_BASE = "Base-RCNN-FPN.yaml"
_GIVE = "give a Mask R-CNN with a feature pyramid, such as those below {}"

# What the network has to be made of; what others are called that people have.
_PARTS: tuple[tuple[str, Any], ...] = (
    ("META_ARCHITECTURE", "GeneralizedRCNN"),
    ("KEYPOINT_ON", False),
    ("MASK_ON", True),
    ("ROI_HEADS.NAME", "StandardROIHeads"),
    ("PROPOSAL_GENERATOR.NAME", "RPN"),
    ("RPN.HEAD_NAME", "StandardRPNHead"),
    ("ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead"),
    ("ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
    ("ROI_BOX_HEAD.USE_SIGMOID_CE", False),
    ("LOAD_PROPOSALS", False),
)
_CALLED = {
    "RetinaNet": "a RetinaNet",
    "PanopticFPN": "a panoptic model",
    "SemanticSegmentor": "a semantic segmentation model",
    "ProposalNetwork": "a network for proposals alone",
    "CascadeROIHeads": "a Cascade R-CNN",
    "PointRendROIHeads": "a PointRend model",
    "Res5ROIHeads": "a model without a feature pyramid (C4)",
    "build_resnet_backbone": "a model without a feature pyramid (C4 or DC5)",
    "KEYPOINT_ON": "a model with keypoints",
    "MASK_ON": "a model without masks",
}
# What the names of tensors of other models begin with.
_FOREIGN = {
    "roi_heads.keypoint_head.": "keypoints",
    "roi_heads.box_predictor.0.": "the stages of a Cascade R-CNN",
    "roi_heads.res5.": "the head of a model without a feature pyramid (C4)",
    "sem_seg_head.": "a panoptic head",
    "head.cls_subnet.": "the head of a RetinaNet",
}
_NOT_FOUND = "roi_heads.box_predictor.cls_score.weight"
# Batch norms that count batches are the same as frozen ones once they are trained.
_NORMS = ("BN", "SyncBN", "naiveSyncBN", "nnSyncBN")
_NORM_OF = ("RESNETS", "FPN", "ROI_BOX_HEAD", "ROI_MASK_HEAD")
_IGNORED = ("pixel_mean", "pixel_std", "num_batches_tracked", "cell_anchors.")


class Original(nn.Module):
    """The model as detectron2 builds it; classes that the training file lacks are not reported."""

    def __init__(self, rcnn: Any, cfg: CfgNode) -> None:
        super().__init__()
        self.rcnn, self.cfg = rcnn, cfg
        self.labels: Tensor | None = None  # of each row, -1 where it is dropped; None: the row

    @property
    def classes(self) -> int:
        """Rows of the classifier without the background."""
        return int(self.rcnn.roi_heads.num_classes)

    @property
    def sha256(self) -> str:
        """Digest of the weights."""
        return digest_of(self.rcnn.state_dict(), {})

    def with_labels(self, rows: Sequence[int]) -> Original:
        """The same, reporting labels: `rows` has the row of each."""
        labels = torch.full((self.classes,), -1)
        labels[list(rows)] = torch.arange(len(rows))
        self.labels = labels
        return self

    def detect(self, batch: list[dict[str, Any]]) -> list[Instances]:
        """What the model finds in images, see `LstRCNN.detect`."""
        found = detect_with(self.rcnn, batch)
        if self.labels is None:
            return found
        for instances in found:
            instances.pred_classes = self.labels.to(instances.pred_classes)[instances.pred_classes]
        return [instances[instances.pred_classes >= 0] for instances in found]


@dataclass(frozen=True)
class OriginalConfig:
    """What a config says, as far as it can be checked without weights."""

    name: str  # as it was given
    cfg: CfgNode
    base: str  # config of the zoo that the settings name

    @property
    def image_passes(self) -> int:
        """Images that the model was trained on."""
        solver = self.cfg.SOLVER
        return max(0, int(solver.MAX_ITER)) * max(0, int(solver.IMS_PER_BATCH))

    @property
    def builtin_names(self) -> tuple[str, list[str]]:
        """The data set it was trained on and its classes, where detectron2 knows them."""
        for name in map(str, self.cfg.DATASETS.TRAIN):
            if name.startswith("lvis_"):
                try:
                    return name, list(get_lvis_instances_meta(name)["thing_classes"])
                except ValueError:
                    continue
            if name.startswith("coco_"):
                return name, [one["name"] for one in COCO_CATEGORIES if one["isthing"]]
        return "", []

    def settings(self, preset_keys: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a workspace with this network, as a nested table.

        `preset_keys` are the detectron2 keys of its preset, which it must not change.
        """
        ours = dict(_plain(self.cfg.MODEL, "MODEL."))
        default = dict(_plain(read_detectron2_config(self.base).MODEL, "MODEL."))
        parts = {f"MODEL.{key}" for key, _ in _PARTS}
        changed = {
            key: value
            for key, value in ours.items()
            if (value != default.get(key) or key in preset_keys)
            and key not in OWNED_DETECTRON2_KEYS
            and key not in parts
        }
        given = self.cfg.INPUT
        sizes = tuple(given.MIN_SIZE_TRAIN)
        if given.MIN_SIZE_TRAIN_SAMPLING == "range":
            sizes = tuple(dict.fromkeys((*range(min(sizes), max(sizes), 32), max(sizes))))
        longest = int(given.MAX_SIZE_TRAIN)
        return {
            "data": {
                "min_size": sorted({min(int(size), longest) for size in sizes}),
                "max_size": longest,
                "min_size_test": int(given.MIN_SIZE_TEST),
                "max_size_test": int(given.MAX_SIZE_TEST),
            },
            "model": {
                "config": self.base,
                "head": "cosine",
                "mask": "transfer",
                "class_agnostic_boxes": bool(self.cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG),
                "canonical_box_size": 224,  # detectron2 has no other
            },
            "eval": {"nms_threshold": float(self.cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST)},
            "detectron2": {"INPUT.FORMAT": str(given.FORMAT), **changed},
        }


def _plain(node: CfgNode, prefix: str) -> Any:
    for key, value in flatten(node, prefix):
        yield key, list(value) if isinstance(value, tuple) else value


def read_config(name: str) -> OriginalConfig:
    """Read the config of an existing model, of the zoo or of a file, without executing anything.

    Raises an `LstError` if it cannot be read or is not of a Mask R-CNN with a feature pyramid.
    """
    path, folder = Path(name), configs()
    if path.suffix == ".py":
        raise LstError(
            f"--config {name}: Python code, which lst does not run",
            "give a YAML config; of a LazyConfig model the YAML file of the same network",
        )
    in_zoo = folder is not None and not path.exists() and (folder / name).exists()
    if not in_zoo and not path.exists() and not path.is_absolute():
        raise LstError(
            f"--config {name}: no such file, and none of detectron2's model zoo",
            f"give a YAML file, or the name of a file below {folder}",
        )
    file = name if in_zoo else str(path.absolute())
    hint = _GIVE.format(f"{folder}/COCO-InstanceSegmentation")
    # What the model is, before keys and values that only another model has.
    _refuse_other_parts(name, read_table(file, "--config", drop_tagged=True).get("MODEL"), hint)
    cfg = read_detectron2_config(file, "--config")
    model = cfg.MODEL
    _refuse_other_parts(name, model, hint)
    backbone = str(model.BACKBONE.NAME)
    if "fpn" not in backbone.lower() or backbone not in BACKBONE_REGISTRY:
        what = _CALLED.get(backbone, "a backbone that detectron2 does not have")
        raise LstError(f"--config {name}: {what} (MODEL.BACKBONE.NAME is {backbone})", hint)
    if any(model.RESNETS.DEFORM_ON_PER_STAGE):
        raise LstError(
            f"--config {name}: deformable convolutions need detectron2's compiled operators, "
            "which lst does not use",
            hint,
        )
    model.DEVICE, model.WEIGHTS = "cpu", ""
    for part in (model[key] for key in _NORM_OF):
        part.NORM = "FrozenBN" if part.NORM in _NORMS else part.NORM
    return OriginalConfig(name, cfg, name if in_zoo else _BASE)


def _refuse_other_parts(name: str, model: Any, hint: str) -> None:
    """See that a config's table `MODEL` has no part of another network."""
    values = dict(flatten(model)) if isinstance(model, Mapping) else {}
    for key, wanted in _PARTS:
        if (value := values.get(key, wanted)) != wanted:
            called = _CALLED.get(str(value)) or _CALLED.get(key)
            raise LstError(
                f"--config {name}: {called or 'another model'}, not a Mask R-CNN with a feature "
                f"pyramid (MODEL.{key} is {shorten(value)}, not {wanted})",
                hint,
            )


def load_original(config: OriginalConfig, source: str) -> tuple[Original, list[str]]:
    """Build the model and fill it with its weights; with remarks about what was corrected.

    Raises an `LstError` if the weights are missing, damaged or would run code, or if they are not
    exactly those of the network in the config.
    """
    cfg, notes = config.cfg.clone(), []
    hint = f"check --config {config.name}: it has to be the config the model was trained with"
    rcnn = _build(cfg, hint)
    found = read_named(source, rcnn.state_dict())
    for start, what in _FOREIGN.items():
        if any(name.startswith(start) for name in found):
            raise LstError(
                f"--weights {source}: they hold {what} ({start}*)",
                "give the weights of a Mask R-CNN with a feature pyramid",
            )
    rows = found[_NOT_FOUND].shape[0] - 1 if _NOT_FOUND in found else 0
    if rows > 0 and rows != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        notes.append(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {cfg.MODEL.ROI_HEADS.NUM_CLASSES} in the config; the "
            f"weights have {rows} classes, which is used"
        )
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = rows
        rcnn = _build(cfg, hint)
    state = rcnn.state_dict()
    _check_tensors(found, state, source, hint)
    _check_buffers(found, rcnn, source, hint)
    rcnn.load_state_dict({name: found[name] for name in state})
    return Original(rcnn.eval(), cfg), notes


def _build(cfg: CfgNode, hint: str) -> Any:
    rcnn = build_from_config(cfg, hint)
    if not isinstance(rcnn.backbone, FPN):
        raise LstError(f"{cfg.MODEL.BACKBONE.NAME} is no feature pyramid", hint)
    return rcnn


def _check_tensors(
    found: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str, hint: str
) -> None:
    missing = [name for name in state if name not in found]
    if missing:
        lacking = first_few(missing, 3)
        raise LstError(
            f"--weights {source}: {lacking} of the {len(state)} tensors of the network are "
            f"missing; the file has {len(found)}, such as {next(iter(found))}",
            hint,
        )
    for name, tensor in state.items():
        if found[name].shape != tensor.shape:
            there, here = tuple(found[name].shape), tuple(tensor.shape)
            raise LstError(
                f"--weights {source}: {name} is {there} there and {here} in the config's network",
                hint,
            )
    more = [name for name in found if name not in state and not _is_ignored(name)]
    if more:
        extra = first_few(more, 3)
        raise LstError(f"--weights {source}: the config's network has no {extra}", hint)
    check_numbers({name: found[name] for name in state}, state, source)


def _is_ignored(name: str) -> bool:
    return any(part in name for part in _IGNORED)


def _check_buffers(found: Mapping[str, Tensor], rcnn: Any, source: str, hint: str) -> None:
    """Older checkpoints hold anchors and pixel means too: they show a wrong config."""
    for name, tensor in found.items():
        known = dict(rcnn.named_buffers()).get(name) if _is_ignored(name) else None
        if known is None or "num_batches" in name:
            continue
        if tensor.shape != known.shape or not torch.allclose(tensor.float(), known, atol=0.01):
            key = "ANCHOR_GENERATOR" if "anchors" in name else name.upper()
            raise LstError(
                f"--weights {source}: {name} differs from the config's MODEL.{key}", hint
            )


def use_test_settings(original: Original, settings: Settings) -> None:
    """Find objects under the test settings of a workspace, as its own models do."""
    predictor = original.rcnn.roi_heads.box_predictor
    predictor.test_score_thresh = settings.eval.score_threshold
    predictor.test_nms_thresh = settings.eval.nms_threshold
    predictor.test_topk_per_image = settings.eval.detections
