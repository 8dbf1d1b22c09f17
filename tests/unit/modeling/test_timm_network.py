from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import freeze_batch_norm_2d

from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.modeling.timm_network import (
    EfficientNetLite,
    FeatureNetwork,
    TimmNetwork,
    timm_config,
)
from lst_cli.weights.load import load_weights

pytestmark = pytest.mark.engine

NEEDED = ("stride4", "stride8", "stride16", "stride32")


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def published(tmp_path: Path) -> Callable[[str], Path]:
    """A file of weights as timm publishes them: of the whole classifier."""

    def write(name: str) -> Path:
        torch.manual_seed(1)
        save_file(timm.create_model(name).state_dict(), tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return write


# Of each way in which timm makes a feature network: stages side by side, stages inside a
# sequence, channels last, and a network that is wrapped whole.
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_mambaout", "cspnext_s"])
def test_any_feature_network_takes_the_published_weights_and_gives_a_pyramid(name, published):
    file = published(name)
    network = TimmNetwork(name, NEEDED, freeze_at=0)
    report = load_weights(network, str(file))
    assert report.missing == ()
    reference: Any = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}
    ).eval()
    expected = reference.forward_intermediates(images(), intermediates_only=True)[-4:]
    found = network.eval()(images())
    shapes = network.output_shape()
    for feature, tensor in zip(NEEDED, expected, strict=True):
        torch.testing.assert_close(found[feature], tensor)
        stride = shapes[feature].stride
        assert found[feature].shape == (2, shapes[feature].channels, 64 // stride, 96 // stride)


# One that must be told not to insist on its own size, and one with a stride too many.
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "dla34"])
def test_the_strides_of_a_pyramid_are_found_for_images_of_any_size(name):
    strides = [one.stride for one in TimmNetwork(name, NEEDED, freeze_at=2).output_shape().values()]
    assert strides in ([4, 8, 16, 32], [2, 4, 8, 16, 32])


def test_normalisation_keeps_its_pretrained_state_in_training():
    network = TimmNetwork("test_resnet", NEEDED, freeze_at=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = network.train()(images())["stride32"]
    assert torch.equal(first, network.eval()(images())["stride32"])
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())
    assert all(parameter.ndim == 4 for parameter in network.parameters())  # convolutions only


# With and without the activation in one module with the normalisation.
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_resnet"])
def test_normalisation_is_timms_to_the_bit_and_stays_in_half_precision(name):
    plain: Any = timm.create_model(name, features_only=True)
    for module in plain.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network = deepcopy(FeatureNetwork(deepcopy(plain)))
    for ours, theirs in zip(
        network(images()).values(), freeze_batch_norm_2d(plain)(images()), strict=True
    ):
        assert torch.equal(ours, theirs)
    with torch.autocast("cpu", torch.bfloat16):
        assert {one.dtype for one in network(images()).values()} == {torch.bfloat16}


@pytest.mark.parametrize("freeze_at", range(6))
def test_a_frozen_stage_of_a_resnet_is_that_of_detectron2(freeze_at):
    network = TimmNetwork("test_resnet", NEEDED, freeze_at=freeze_at)
    parts = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    for place, part in enumerate(parts):
        names = [(n, p) for n, p in network.named_parameters() if n.startswith(f"network.{part}.")]
        assert {p.requires_grad for _, p in names} == {place >= freeze_at}, part
    assert network.training


def test_efficientnet_lite_of_the_presets_is_that_of_timm():
    ours, theirs = (
        EfficientNetLite(freeze_at=4),
        TimmNetwork("tf_efficientnet_lite0", NEEDED, freeze_at=3),
    )
    assert ours.load_imagenet() == theirs.load_imagenet()
    trained = [[n for n, p in one.named_parameters() if p.requires_grad] for one in (ours, theirs)]
    assert trained[0] == trained[1]
    assert trained[0][0] == "network.blocks.3.0.conv_pw.weight"
    for feature, tensor in ours(images()).items():
        assert torch.equal(tensor, theirs(images())[feature])


@pytest.mark.parametrize(
    ("name", "needed", "reason"),
    [
        (
            "test_vit",
            NEEDED,
            "the pyramid needs stride4, stride8, stride32, and the network has on",
        ),
        ("test_resnet", ("res2",), "the pyramid needs res2, and the network has only stride2, st"),
        ("pit_ti_224", NEEDED[1:], "it cannot be run on an image of 96 x 64 pixels"),
        ("legacy_xception", NEEDED, "its stride4 is 23 x 15 for an image of 96 x 64 pixels"),
    ],
)
def test_a_network_without_a_pyramid_for_all_sizes_is_refused(name, needed, reason):
    with pytest.raises(LstError, match=reason) as caught:
        TimmNetwork(name, needed, freeze_at=0)
    assert caught.value.message.startswith(f"model.config: timm/{name}: ")
    assert caught.value.hint


def test_a_stage_that_a_network_does_not_have_cannot_be_frozen():
    with pytest.raises(LstError, match=r"FREEZE_AT.*has only stride4, .*, not stride2"):
        TimmNetwork("test_convnext", NEEDED, freeze_at=1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet5o", "timm has no such network; did you mean resnet50?"),
        ("resnet18.imagenet", "Invalid pretrained tag"),
        ("hf-hub:timm/resnet18", "timm has no such network"),
        ("", "timm has no such network"),
    ],
)
def test_a_name_that_timm_does_not_know_is_refused(name, reason):
    with pytest.raises(LstError) as caught:
        timm_config(name)
    assert reason in caught.value.message


# --- pretrained weights --------------------------------------------------------------------------


def test_weights_are_fetched_from_the_hub_once_and_named_in_the_manifest(published, monkeypatch):
    file = str(published("test_resnet"))
    asked: list[object] = []

    def find_cached(*_: object) -> str | None:
        return file if asked else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find_cached)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a: asked.append(a) or file)
    network = TimmNetwork("test_resnet", NEEDED, freeze_at=0)
    before = network.state_dict()["network.layer4.0.conv1.weight"].clone()
    for _ in range(2):
        report = network.load_imagenet()
        assert report == {"source": "timm/test_resnet", "sha256": sha256_of(Path(file))}
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    assert not torch.equal(before, network.state_dict()["network.layer4.0.conv1.weight"])


def test_published_weights_that_lack_a_tensor_are_refused(published, monkeypatch):
    file = published("test_resnet")
    save_file({n: t for n, t in load_file(file).items() if n != "layer1.0.conv1.weight"}, file)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))
    with pytest.raises(LstError, match=r"timm/test_resnet lack network\.layer1\.0\.conv1\.weight"):
        TimmNetwork("test_resnet", NEEDED, freeze_at=0).load_imagenet()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (huggingface_hub.errors.LocalEntryNotFoundError("a\nlong\nstory"), "cannot be reached"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_weights_that_cannot_be_fetched_are_one_line_with_both_ways_out(
    error, reason, monkeypatch, capfd
):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    network = TimmNetwork("test_resnet", NEEDED, freeze_at=0)
    capfd.readouterr()
    with pytest.raises(LstError, match=r"cannot be fetched from .*timm/test") as caught:
        network.load_imagenet()
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert "--weights" in (caught.value.hint or "")
    assert "model.pretrained=false" in (caught.value.hint or "")
    assert capfd.readouterr() == ("", "")


def test_a_network_without_published_weights_says_so():
    with pytest.raises(LstError, match="no pretrained weights") as caught:
        TimmNetwork("test_mambaout", NEEDED, freeze_at=0).load_imagenet()
    assert "model.pretrained=false" in (caught.value.hint or "")


def test_the_file_of_another_network_is_refused(published):
    part = torch.nn.ModuleDict({"bottom_up": TimmNetwork("test_convnext2", NEEDED, freeze_at=0)})
    with pytest.raises(LstError, match=r"none of .*: .* is \(24,\) there and \(32,\) in"):
        load_weights(torch.nn.ModuleDict({"backbone": part}), str(published("test_convnext")))
