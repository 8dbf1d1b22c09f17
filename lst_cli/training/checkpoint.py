"""Weights on disk: safetensors, in which nothing can be executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lst_cli.errors import LstError
from lst_cli.workspace.atomic import replacing

_MODEL = "model/"
_OPTIMIZER = "optimizer/"
_AVERAGE = "average/"


def save_model(path: Path, model: nn.Module) -> None:
    """Write a model's weights atomically.

    Raises:
        LstError: If the file cannot be written.
    """
    save_tensors(path, model.state_dict())


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors atomically.

    Raises:
        LstError: If the file cannot be written.
    """
    _save(path, _contiguous(tensors), {})


def load_model(path: Path, mend: str) -> dict[str, Tensor]:
    """Read a model's weights.

    Args:
        path: Its file.
        mend: The command that makes it anew, for the error.

    Raises:
        LstError: If it is missing or cut short.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise LstError(f"{path}: missing", mend) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise LstError(f"{path}: not a whole checkpoint: {error}", mend) from error
    return tensors


@dataclass(frozen=True)
class TrainingState:
    """A phase under way.

    Attributes:
        iteration: Iterations done.
        seconds: Time they took.
        model: State dict.
        optimizer: Optimizer tensors by `parameter/key`.
        scaler: State of the gradient scaler, empty without mixed precision.
        average: State of the running average of the weights, empty without one.
    """

    iteration: int
    seconds: float
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    scaler: dict[str, Any]
    average: dict[str, Tensor]


def save_training_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    iteration: int,
    seconds: float,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write everything an interrupted phase needs to continue, atomically.

    Raises:
        LstError: If the file cannot be written; an older one stays as it was.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"{_AVERAGE}{name}": tensor for name, tensor in (average or {}).items()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value is not None:
                tensor = value if isinstance(value, Tensor) else torch.tensor(value)
                tensors[f"{_OPTIMIZER}{names[id(parameter)]}/{key}"] = tensor
    metadata = {
        "iteration": str(iteration),
        "seconds": str(seconds),
        "scaler": json.dumps(scaler.state_dict()),
    }
    _save(path, _contiguous(tensors), metadata)


def load_training_state(path: Path, mend: str) -> TrainingState:
    """Read the state of an interrupted phase.

    Raises:
        LstError: If it is cut short, or is no training state.
    """
    tensors = load_model(path, mend)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if not {"iteration", "seconds", "scaler"} <= set(metadata):
        raise LstError(f"{path}: holds weights, but no training state", mend)
    return TrainingState(
        iteration=int(metadata["iteration"]),
        seconds=float(metadata["seconds"]),
        model=_below(tensors, _MODEL),
        optimizer=_below(tensors, _OPTIMIZER),
        scaler=json.loads(metadata["scaler"]),
        average=_below(tensors, _AVERAGE),
    )


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer the momenta it had.

    Args:
        model: The model it trains.
        optimizer: A fresh optimizer over that model's parameters.
        tensors: `TrainingState.optimizer`.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # Adam counts its steps on the CPU, whatever device the parameter is on. Momenta lie in
        # memory as their parameter does: a file knows no layouts, and rounding depends on them.
        optimizer.state[parameter][key] = (
            tensor if key == "step" else torch.empty_like(parameter).copy_(tensor)
        )


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            # The library wraps the operating system's word in its own.
            full = "os error 28" in str(error) or "No space left" in str(error)
            raise LstError(
                f"cannot write {path}: {'the disk is full' if full else error}",
                "free some space, then run the same command again",
            ) from error


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
