from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors_of
from torch import nn

from lst_cli.engine.checkpoint import (
    TrainingState,
    load_model,
    load_training_state,
    restore,
    save_model,
    save_training_state,
)
from lst_cli.engine.device import place
from lst_cli.engine.optim import Learner
from lst_cli.errors import LstError
from lst_cli.settings.models import BaseSettings


class Network(nn.Sequential):
    device = torch.device("cpu")


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    return Network(nn.Linear(3, 4), nn.Linear(4, 2))


def learner_of(model: nn.Module, kind: Any = "sgd", ema: float = 0.0) -> Learner:
    return Learner.of(model, BaseSettings(optimizer=kind, ema=ema, lr=0.1))


def update(learner: Learner, seed: int) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    learner.optimizer.zero_grad()
    learner.model(x).square().sum().backward()
    learner.optimizer.step()
    if learner.average is not None:
        learner.average.update()


def save(path: Path, iteration: int = 9) -> None:
    learner = learner_of(network(1))
    update(learner, 0)
    save_training_state(path, learner, iteration, 9.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a state."""
    return tmp_path / "state"


def test_transposed_and_empty_tensors_come_back(tmp_path):
    model = nn.Module()
    model.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    model.register_buffer("none", torch.zeros(0, 4))
    model.register_buffer("scale", torch.tensor(10.0))
    save_model(tmp_path / "model", model.state_dict())
    tensors = load_model(tmp_path / "model", "fix")
    assert tensors["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["none"].shape == (0, 4)
    assert tensors["scale"].item() == 10.0
    assert len(tensors) == 3


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_training_goes_on_from_a_stored_state_as_if_it_had_not_stopped(kind, ema, path):
    def begin(seed: int) -> Learner:
        model = network(seed)
        model[0].bias.requires_grad_(False)  # without optimizer state
        return learner_of(model, kind, ema)

    whole, resumed = begin(0), begin(1)
    for seed in range(3):
        update(whole, seed)
    save_training_state(path, whole, 3, 12.5)
    state = load_training_state(path, "fix")
    assert (state.iteration, state.seconds, state.scaler) == (3, 12.5, {})
    assert all(torch.equal(state.model[n], t) for n, t in whole.model.state_dict().items())
    assert bool(state.average) == bool(ema)
    restore(resumed, state)
    for one in (whole, resumed):
        for seed in range(3, 6):
            update(one, seed)
    for name, expected in whole.model.state_dict().items():
        assert torch.equal(expected, resumed.model.state_dict()[name]), name
    if whole.average is not None and resumed.average is not None:
        weight = whole.model[0].weight
        trained = weight.clone()
        for average in (whole.average, resumed.average):
            average.replace_weights()
        assert torch.equal(weight, resumed.model[0].weight)
        assert not torch.equal(weight, trained)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_momenta_come_back_in_the_layout_of_their_weights(kind, path):
    model: Any = Network(torch.nn.Conv2d(2, 3, 2), torch.nn.Flatten())
    learner, resumed = (learner_of(place(model, model.device), kind) for _ in range(2))
    model(torch.rand(1, 2, 4, 4)).sum().backward()
    learner.optimizer.step()
    save_training_state(path, learner, 1, 0.0)
    restore(resumed, load_training_state(path, "fix"))
    weight = model[0].weight
    for key, tensor in resumed.optimizer.state[weight].items():
        if key != "step":
            assert tensor.stride() == weight.stride(), key
        assert torch.equal(tensor, learner.optimizer.state[weight][key])


def test_the_scaler_of_mixed_precision_is_kept_and_before_an_update_there_are_no_momenta(path):
    learner, resumed = learner_of(network(0)), learner_of(network(0))
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    save_training_state(path, learner, 1, 0.0)
    resumed.scaler = torch.amp.GradScaler("cpu")
    state = load_training_state(path, "fix")
    assert state.optimizer == {}
    restore(resumed, state)
    assert resumed.scaler.get_scale() == 128.0


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.99])
def test_a_file_cut_short_is_named_with_its_fix(part, path):
    save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    for load in (load_model, load_training_state):
        with pytest.raises(LstError, match="not a whole checkpoint") as caught:
            load(path, "lst step --restart")
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.hint == "lst step --restart"


def test_a_missing_file_and_weights_alone_are_no_training_state(tmp_path):
    with pytest.raises(LstError, match=r"nothing: missing") as caught:
        load_model(tmp_path / "nothing", "lst step")
    assert caught.value.hint == "lst step"
    save_model(tmp_path / "model", network(0).state_dict())
    with pytest.raises(LstError, match="no training state"):
        load_training_state(tmp_path / "model", "lst step --restart")


def test_a_full_disk_is_called_that(tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:4])
        raise OSError(28, "No space left on device")

    save_model(tmp_path / "model", network(0).state_dict())
    before = (tmp_path / "model").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LstError, match="the disk is full") as caught:
        save_model(tmp_path / "model", network(1).state_dict())
    assert "free some space" in str(caught.value.hint)
    assert (tmp_path / "model").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, str]], object]) -> None:
    """A state with other tensors or metadata, in a file that is whole in itself."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    path.write_bytes(save_tensors_of(tensors, metadata))


def momentum(tensors: dict[str, Any]) -> str:
    return next(name for name in tensors if name.startswith("optimizer/"))


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, str]], object]] = {
    "iteration": lambda t, m: m.update(iteration="4"),
    "iteration below 0": lambda t, m: m.update(iteration="-1"),
    "iteration no number": lambda t, m: m.update(iteration="3x"),
    "seconds": lambda t, m: m.update(seconds="nan"),
    "seconds endless": lambda t, m: m.update(seconds="1e999"),
    "scaler": lambda t, m: m.update(scaler="[]"),
    "scaler no JSON": lambda t, m: m.update(scaler="{"),
    "more metadata": lambda t, m: m.update(more="1"),
    "less metadata": lambda t, m: m.pop("seconds"),
    "one number": lambda t, m: t["model/0.weight"].view(-1)[0].add_(1),
    "a momentum": lambda t, m: t[momentum(t)].view(-1)[0].add_(1),
    "a tensor gone": lambda t, m: t.pop(momentum(t)),
    "a tensor more": lambda t, m: t.update(more=torch.zeros(1)),
    "a tensor renamed": lambda t, m: t.update(optimizes=t.pop(momentum(t))),
    "another shape": lambda t, m: t.update({momentum(t): t[momentum(t)][None]}),
    "another type": lambda t, m: t.update({momentum(t): t[momentum(t)].double()}),
}


@pytest.mark.parametrize("kind", list(CHANGES))
def test_a_state_that_was_changed_is_refused_in_one_line(kind, path):
    save(path)
    load_training_state(path, "")
    rewritten(path, CHANGES[kind])
    with pytest.raises(LstError) as caught:
        load_training_state(path, "lst step --restart")
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.hint == "lst step --restart"


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_refused_or_changes_nothing(seed, path):
    save(path)
    before = load_training_state(path, "")
    data = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(data))
    try:
        after = load_training_state(path, "lst step --restart")
    except LstError:
        return
    assert (after.iteration, after.seconds) == (before.iteration, before.seconds)
    for one, other in ((before.model, after.model), (before.optimizer, after.optimizer)):
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_state_of_the_first_version_is_read_and_its_plain_damages_are_refused(path):
    save(path)
    rewritten(path, lambda t, m: m.pop("digest"))
    state = load_training_state(path, "")
    assert (state.iteration, state.verified) == (9, False)
    old = path.read_bytes()
    plain = ("iteration below 0", "iteration no number", "seconds", "seconds endless",
             "scaler no JSON", "less metadata", "more metadata", "a tensor renamed")  # fmt: skip
    for kind in plain:
        path.write_bytes(old)
        rewritten(path, CHANGES[kind])
        with pytest.raises(LstError):
            load_training_state(path, "")


@pytest.mark.parametrize(
    ("name", "tensor", "why"),
    [
        ("9.weight/momentum_buffer", torch.zeros(4, 3), "another network"),
        ("0.weight/momentum_bufer", torch.zeros(4, 3), "another network"),
        ("0.weight/exp_avg", torch.zeros(4, 3), "another network"),
        ("0.weight/momentum_buffer", torch.zeros(1), "another shape"),
        ("0.weight/momentum_buffer", torch.zeros(4, 3).double(), "another shape or type"),
    ],
)
def test_momenta_of_another_network_and_weights_of_another_type_are_refused(name, tensor, why):
    learner = learner_of(network(0))
    weights = learner.model.state_dict()
    with pytest.raises(ValueError, match=why):
        restore(learner, TrainingState(1, 0.0, weights, {name: tensor}, {}, {}))
    weights = {name: tensor.double() for name, tensor in weights.items()}
    with pytest.raises(ValueError, match=r"0\.weight is of another type"):
        restore(learner, TrainingState(1, 0.0, weights, {}, {}, {}))
