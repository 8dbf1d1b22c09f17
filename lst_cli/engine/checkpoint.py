"""Weights on disk: safetensors, in which nothing can be executed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from lst_cli.engine.optim import Learner
from lst_cli.errors import LstError
from lst_cli.files import require_regular
from lst_cli.workspace.atomic import replacing

_MODEL, _OPTIMIZER, _AVERAGE = "model/", "optimizer/", "average/"
_METADATA = {"iteration", "seconds", "scaler"}
_DIGEST = "digest"
_STATE_KEYS = {"SGD": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}


def save_model(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a model's weights atomically."""
    _save(path, _contiguous(tensors), {})


def load_model(path: Path, hint: str) -> dict[str, Tensor]:
    """Read a model's weights; an `LstError` with the hint if they are missing or cut short."""
    try:
        require_regular(path)
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise LstError(f"{path}: missing", hint) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise LstError(f"{path}: not a whole checkpoint: {error}", hint) from error


@dataclass(frozen=True)
class TrainingState:
    """A phase under way."""

    iteration: int  # iterations done
    seconds: float  # time they took
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]  # by `parameter/key`
    scaler: dict[str, Any]  # empty without mixed precision
    average: dict[str, Tensor]  # empty without one
    verified: bool = True  # whether it is as it was written, which lst 0.1 did not record


def save_training_state(path: Path, learner: Learner, iteration: int, seconds: float) -> None:
    """Write all that an interrupted phase needs to continue; if that fails, the old file stays."""
    names = {id(parameter): name for name, parameter in learner.model.named_parameters()}
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in learner.model.state_dict().items()}
    if learner.average is not None:
        average = learner.average.state_dict().items()
        tensors |= {f"{_AVERAGE}{name}": tensor for name, tensor in average}
    for parameter, state in learner.optimizer.state.items():
        for key, value in state.items():
            if value is not None:
                tensor = value if isinstance(value, Tensor) else torch.tensor(value)
                tensors[f"{_OPTIMIZER}{names[id(parameter)]}/{key}"] = tensor
    metadata = {
        "iteration": str(iteration),
        "seconds": str(seconds),
        "scaler": json.dumps(learner.scaler.state_dict()),
    }
    tensors = _contiguous(tensors)
    _save(path, tensors, {**metadata, _DIGEST: digest_of(tensors, metadata)})


def load_training_state(path: Path, hint: str) -> TrainingState:
    """Read the state of an interrupted phase; an `LstError` if it is damaged or no state."""
    tensors = load_model(path, hint)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    digest = metadata.pop(_DIGEST, None)
    if metadata.keys() != _METADATA:
        raise LstError(f"{path}: holds weights, but no training state", hint)
    # lst 0.1 wrote no digest.
    if digest is not None and digest != digest_of(tensors, metadata):
        raise LstError(f"{path}: changed or damaged after lst wrote it", hint)

    def below(prefix: str) -> dict[str, Tensor]:
        names = [name for name in tensors if name.startswith(prefix)]
        return {name.removeprefix(prefix): tensors[name] for name in names}

    try:
        state = TrainingState(
            iteration=int(metadata["iteration"]),
            seconds=float(metadata["seconds"]),
            model=below(_MODEL),
            optimizer=below(_OPTIMIZER),
            scaler=dict(json.loads(metadata["scaler"])),
            average=below(_AVERAGE),
            verified=digest is not None,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise LstError(f"{path}: no training state: {error}", hint) from error
    known = len(state.model) + len(state.optimizer) + len(state.average)
    if known < len(tensors) or state.iteration < 0 or not 0 <= state.seconds < math.inf:
        raise LstError(f"{path}: no training state: other tensors or numbers", hint)
    return state


def restore(learner: Learner, state: TrainingState) -> None:
    """Give a new learner a saved state.

    Raises a RuntimeError, ValueError, KeyError or TypeError if it is of another network, optimizer
    or average.
    """
    own = learner.model.state_dict()
    for name, tensor in state.model.items():
        # torch would turn it into another type without a word.
        if name in own and tensor.dtype != own[name].dtype:
            raise ValueError(f"{name} is of another type")
    learner.model.load_state_dict(state.model)
    if state.scaler:  # empty if the phase was begun without mixed precision
        learner.scaler.load_state_dict(state.scaler)
    if learner.average is not None:
        learner.average.load_state_dict(state.average)
    parameters = dict(learner.model.named_parameters())
    keys = _STATE_KEYS[type(learner.optimizer).__name__]
    for name, tensor in state.optimizer.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters.get(parameter_name)
        if parameter is None or key not in keys:
            raise ValueError(f"{name} is of another network or optimizer")
        if key != "step" and (tensor.shape, tensor.dtype) != (parameter.shape, parameter.dtype):
            raise ValueError(f"{name} is of another shape or type")
        # Adam counts its steps on the CPU, whatever device the parameter is on. Momenta lie in
        # memory as their parameter does: a file knows no layouts, and rounding depends on them.
        learner.optimizer.state[parameter][key] = (
            tensor if key == "step" else torch.empty_like(parameter).copy_(tensor)
        )


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    # Not by the library's `save_file`, which writes a temporary file of its own.
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def digest_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, shapes, types and numbers, whatever their order."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
