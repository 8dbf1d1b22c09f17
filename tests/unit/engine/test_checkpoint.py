from __future__ import annotations

import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors_of
from torch import nn

from lst_cli.engine.averaging import WeightAverage
from lst_cli.engine.checkpoint import (
    load_model,
    load_training_state,
    restore_optimizer,
    save_model,
    save_training_state,
)
from lst_cli.engine.device import place
from lst_cli.errors import LstError

NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def optimizer_of(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=0.1)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model, path = network(0), tmp_path / "phases" / "model.safetensors"
    save_model(path, model)
    tensors = load_model(path, "mend")
    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensors[n], t) for n, t in model.state_dict().items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_transposed_and_empty_tensors_come_back(tmp_path: Path) -> None:
    model = nn.Module()
    model.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    model.register_buffer("none", torch.zeros(0, 4))
    model.register_buffer("scale", torch.tensor(10.0))
    save_model(tmp_path / "model", model)
    tensors = load_model(tmp_path / "model", "mend")
    assert tensors["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["none"].shape == (0, 4)
    assert tensors["scale"].item() == 10.0


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_training_goes_on_from_a_stored_state_as_if_it_had_not_stopped(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "state"
    model = network(0)
    model[0].bias.requires_grad_(False)  # without optimizer state
    optimizer = optimizer_of(kind, model)
    for seed in range(3):
        update(model, optimizer, seed)
    save_training_state(path, model, optimizer, NO_SCALER, 3, 12.5)
    for seed in range(3, 6):
        update(model, optimizer, seed)

    state = load_training_state(path, "mend")
    assert (state.iteration, state.seconds, state.scaler) == (3, 12.5, {})
    other = network(1)
    other[0].bias.requires_grad_(False)
    other.load_state_dict(state.model)
    resumed = optimizer_of(kind, other)
    restore_optimizer(other, resumed, state.optimizer)
    for seed in range(3, 6):
        update(other, resumed, seed)
    for (name, expected), found in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), name


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_momenta_come_back_in_the_layout_of_their_weights(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    model: Any = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.Flatten())
    place(model, torch.device("cpu"))
    optimizer = optimizer_of(kind, model)
    model(torch.rand(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    save_training_state(path, model, optimizer, NO_SCALER, 1, 0.0)
    resumed = optimizer_of(kind, model)
    restore_optimizer(model, resumed, load_training_state(path, "mend").optimizer)
    weight = model[0].weight
    for key, tensor in resumed.state[weight].items():
        if key != "step":
            assert tensor.stride() == weight.stride(), key
        assert torch.equal(tensor, optimizer.state[weight][key])


def test_a_state_before_the_first_update_has_no_momenta(tmp_path: Path) -> None:
    model = network(0)
    save_training_state(tmp_path / "s", model, optimizer_of("sgd", model), NO_SCALER, 0, 0.0)
    assert load_training_state(tmp_path / "s", "mend").optimizer == {}


def test_the_scaler_of_mixed_precision_is_kept(tmp_path: Path) -> None:
    model = network(0)
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    save_training_state(tmp_path / "s", model, optimizer_of("sgd", model), scaler, 1, 0.0)
    fresh = torch.amp.GradScaler("cpu")
    fresh.load_state_dict(load_training_state(tmp_path / "s", "mend").scaler)
    assert fresh.get_scale() == 128.0


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.99])
def test_a_file_cut_short_is_named_with_what_mends_it(part: float, tmp_path: Path) -> None:
    model, path = network(0), tmp_path / "state"
    save_training_state(path, model, optimizer_of("sgd", model), NO_SCALER, 3, 1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    for load in (load_model, load_training_state):
        with pytest.raises(LstError, match="not a whole checkpoint") as caught:
            load(path, "lst step --restart")
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.hint == "lst step --restart"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LstError, match=r"nothing: missing") as caught:
        load_model(tmp_path / "nothing", "lst step")
    assert caught.value.hint == "lst step"


def test_weights_alone_are_no_training_state(tmp_path: Path) -> None:
    save_model(tmp_path / "model", network(0))
    with pytest.raises(LstError, match="no training state"):
        load_training_state(tmp_path / "model", "lst step --restart")


def save(path: Path) -> None:
    model = network(1)
    optimizer = optimizer_of("sgd", model)
    update(model, optimizer, 0)
    save_training_state(path, model, optimizer, NO_SCALER, 9, 9.0)


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state"
    model = network(0)
    save_training_state(path, model, optimizer_of("sgd", model), NO_SCALER, 3, 1.0)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(LstError, match=r"cannot write .*state"):
            save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    save(path)
    assert load_training_state(path, "mend").iteration == 9


def test_a_full_disk_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:4])
        raise OSError(28, "No space left on device")

    save_model(tmp_path / "model", network(0))
    before = (tmp_path / "model").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LstError, match="the disk is full") as caught:
        save_model(tmp_path / "model", network(1))
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
def test_a_state_that_was_changed_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    save(tmp_path / "state")
    load_training_state(tmp_path / "state", "")
    rewritten(tmp_path / "state", CHANGES[kind])
    with pytest.raises(LstError) as caught:
        load_training_state(tmp_path / "state", "lst step --restart")
    assert caught.value.message.startswith(f"{tmp_path / 'state'}: ")
    assert caught.value.hint == "lst step --restart"


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_refused_or_changes_nothing(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "state"
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


def test_a_state_of_the_first_version_is_read_and_its_plain_damages_are_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state"
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
def test_momenta_of_another_network_are_refused(name: str, tensor: Any, why: str) -> None:
    model = network(0)
    with pytest.raises(ValueError, match=why):
        restore_optimizer(model, optimizer_of("sgd", model), {name: tensor})


def test_a_running_average_is_kept_beside_the_weights(tmp_path: Path) -> None:
    model: Any = network(0)
    optimizer = optimizer_of("sgd", model)
    average = WeightAverage(model, 0.9)
    for seed in range(3):
        update(model, optimizer, seed)
        average.update()
    path = tmp_path / "s"
    save_training_state(path, model, optimizer, NO_SCALER, 3, 0.0, average.state())
    state = load_training_state(path, "mend")
    assert all(torch.equal(state.model[n], t) for n, t in model.state_dict().items())
    assert state.average.keys() == average.state().keys()
    other: Any = network(1)
    resumed = WeightAverage(other, 0.9)
    resumed.restore(state.average)
    resumed.give()
    assert not torch.equal(other[0].weight, model[0].weight)
    average.give()
    assert torch.equal(other[0].weight, model[0].weight)


def test_a_state_without_an_average_has_none(tmp_path: Path) -> None:
    model = network(0)
    save_training_state(tmp_path / "s", model, optimizer_of("sgd", model), NO_SCALER, 1, 0.0)
    assert load_training_state(tmp_path / "s", "mend").average == {}
