"""Networks of timm as detectron2 backbones: `model.config = "timm/NAME"`."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any

import timm
import torch
from detectron2.modeling import Backbone
from timm.layers import Format, FrozenBatchNormAct2d, freeze_batch_norm_2d
from timm.models import get_pretrained_cfg
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from lst_cli.errors import LstError
from lst_cli.modeling.efficientnet import PACKAGES, load_package
from lst_cli.settings.presets import TIMM
from lst_cli.text import did_you_mean, first_few
from lst_cli.weights.load import load_weights

_STRIDES = (2, 4, 8, 16, 32)
_PROBE = (64, 96)  # height and width: multiples of 32, not square, no network's own size
_OTHER = "choose another network, such as timm/resnet50"


class FeatureNetwork(Backbone):  # type: ignore[misc]
    """A feature network of timm, with batch normalisation in its pretrained state."""

    size_divisibility = 32  # images are padded to a multiple of the coarsest stride

    def __init__(self, network: Any) -> None:
        super().__init__()
        # Batches of eight are too small for batch statistics.
        self.network: nn.Module = freeze_batch_norm_2d(network)
        for module in self.network.modules():
            # Not another function on the module, which a copy of the network would not have.
            module.__class__ = _FROZEN.get(type(module), type(module))
        strides, channels = network.feature_info.reduction(), network.feature_info.channels()
        self._out_features = [f"stride{stride}" for stride in strides]
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        self._channels_last = getattr(network, "output_fmt", None) == Format.NHWC

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features of images, shape (N, 3, H, W), by stride s: each of shape (N, C, H/s, W/s)."""
        maps = self.network(x)
        if self._channels_last:
            maps = [one.permute(0, 3, 1, 2).contiguous() for one in maps]
        return dict(zip(self._out_features, maps, strict=True))


def _normalised(norm: Any, x: Tensor) -> Tensor:
    """What timm computes, in the precision of the features: it would turn half into single."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    scale, shift = (one.to(x.dtype).reshape(1, -1, 1, 1) for one in (scale, shift))
    return torch.as_tensor(x * scale + shift)


class _FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return _normalised(self, x)


class _FrozenNormAct(FrozenBatchNormAct2d):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.act(self.drop(_normalised(self, x))))


_FROZEN = {FrozenBatchNorm2d: _FrozenNorm, FrozenBatchNormAct2d: _FrozenNormAct}


class EfficientNetLite(FeatureNetwork):
    """EfficientNet-Lite0 as the presets for small images have it: a CPU can train it.

    `freeze_at` 0 trains everything, 1 freezes the stem, n the stem and n - 1 of the seven stages.
    """

    def __init__(self, *, freeze_at: int) -> None:
        network: Any = timm.create_model(
            "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)
        )
        super().__init__(network)
        frozen = [network.conv_stem, *network.blocks] if freeze_at else []
        for module in frozen[:freeze_at]:
            module.requires_grad_(False)

    def load_imagenet(self) -> dict[str, str]:
        """Load the ImageNet weights of their package; says where they are from, for a manifest."""
        return load_package(self.network, PACKAGES["tf_efficientnet_lite0"])


class TimmNetwork(FeatureNetwork):
    """Any network of timm with features at the strides that are needed, for images of any size.

    `needed` names them, such as `stride8`. `freeze_at` n freezes everything that the features at
    stride 2^n are computed from: of a ResNet the stem and n - 1 stages, as in detectron2. 0 freezes
    nothing. Raises an `LstError` if the network is not of this kind.
    """

    def __init__(self, name: str, needed: Sequence[str], *, freeze_at: int) -> None:
        super().__init__(_create(name))
        self.name = name
        strides = self._out_feature_strides
        if lacking := [feature for feature in needed if feature not in strides]:
            here, needs = ", ".join(strides), ", ".join(lacking)
            raise _refusal(name, f"the pyramid needs {needs}, and the network has only {here}")
        height, width = _PROBE
        self.network.eval()
        try:
            maps = self(torch.zeros(1, 3, height, width))
        except Exception as error:  # of sizes they are not made for, networks raise any kind
            raise _refusal(
                name, f"it cannot be run on an image of {width} x {height} pixels"
            ) from error
        for feature in needed:
            shape, stride = tuple(maps[feature].shape[2:]), strides[feature]
            if shape != (height // stride, width // stride):
                found = f"{shape[1]} x {shape[0]} for an image of {width} x {height} pixels"
                raise _refusal(name, f"its {feature} is {found}")
        if freeze_at:
            self._freeze(maps, f"stride{2**freeze_at}")
        self.network.train()

    def _freeze(self, maps: dict[str, Tensor], feature: str) -> None:
        if feature not in maps:
            raise LstError(
                f"detectron2.'MODEL.BACKBONE.FREEZE_AT': {TIMM}{self.name} has only "
                f"{', '.join(maps)}, not {feature}",
                "n freezes what the features of stride 2^n are computed from, 0 nothing",
            )
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        used = torch.autograd.grad(maps[feature].sum(), weights, allow_unused=True)
        for weight, gradient in zip(weights, used, strict=True):
            if gradient is not None:
                weight.requires_grad_(False)

    def load_imagenet(self) -> dict[str, str]:
        """Load the pretrained weights; says where they are from, for a manifest.

        They are in a package, or fetched from the Hugging Face hub once and kept in its cache.
        Raises an `LstError` if there are none, they cannot be fetched, or do not fit.
        """
        if package := PACKAGES.get(self.name.partition(".")[0]):
            return load_package(self.network, package)
        source = f"{TIMM}{self.name}"
        report = load_weights(self, _fetch(self.name))
        if report.missing:
            lacking = first_few(report.missing, 1)
            raise LstError(f"{report.source}: the weights of {source} lack {lacking}", _OTHER)
        return {"source": source, "sha256": report.sha256}


def timm_config(name: str) -> dict[str, Any]:
    """What a network of timm decides in detectron2's config; an `LstError` if there is none.

    Images are normalised as in its pretraining.
    """
    try:
        pretrained: Any = get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        raise _refusal(name, str(error)) from error
    if pretrained is None or not timm.is_model(name):
        raise _refusal(name, f"timm has no such network{did_you_mean(name, timm.list_models())}")
    return {
        "INPUT": {"FORMAT": "RGB"},
        "MODEL": {
            "BACKBONE": {"NAME": "build_lst_timm_fpn_backbone"},
            "FPN": {"IN_FEATURES": [f"stride{stride}" for stride in _STRIDES[1:]]},
            "PIXEL_MEAN": [255 * value for value in pretrained.mean],
            "PIXEL_STD": [255 * value for value in pretrained.std],
        },
    }


def _create(name: str) -> Any:
    """A feature network with one feature for each stride: the last one that has it."""
    options: dict[str, Any] = {"strict_img_size": False}  # of those that else take one size only
    try:
        try:
            network = timm.create_model(name, features_only=True, **options)
        except TypeError:  # most have no such option
            options = {}
            network = timm.create_model(name, features_only=True)
        last = {one["reduction"]: place for place, one in enumerate(network.feature_info.info)}
        places = [place for stride, place in last.items() if stride in _STRIDES]
        if places and places != list(network.feature_info.out_indices):
            options["out_indices"] = tuple(places)
            network = timm.create_model(name, features_only=True, **options)
    except Exception as error:  # of what has no features, timm raises several kinds
        reason = " ".join(str(error).split())[:200]
        raise _refusal(name, f"timm cannot give its features: {reason}") from error
    return network


def _fetch(name: str) -> str:
    """The file of pretrained weights, from the cache or else from the hub."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    by_hand = "give a file by --weights, or start from random values: --set model.pretrained=false"
    pretrained: Any = get_pretrained_cfg(name)
    repository, file = pretrained.hf_hub_id, pretrained.hf_hub_filename or "model.safetensors"
    if not repository:
        raise _refusal(name, "there are no pretrained weights of it", by_hand)
    if isinstance(cached := try_to_load_from_cache(repository, file), str):
        return cached
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every attempt
    try:
        with redirect_stderr(io.StringIO()):  # its progress bar
            return str(hf_hub_download(repository, file))
    except Exception as error:  # of the network, of the hub, or of the disk
        reason = getattr(error, "strerror", None) or "the server cannot be reached or refuses"
        raise LstError(
            f"{TIMM}{name}: {file} cannot be fetched from huggingface.co/{repository}: {reason}",
            by_hand,
        ) from error


def _refusal(name: str, reason: str, hint: str = _OTHER) -> LstError:
    return LstError(f"model.config: {TIMM}{name[:100]}: {reason}", hint)
