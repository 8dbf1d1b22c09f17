"""Where the network runs, and the random numbers it draws there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from lst_cli import ranks
from lst_cli.errors import LstError, LstWarning

Network = TypeVar("Network", bound=nn.Module)

# One of these is there where a GPU has a driver: of Linux, and of Linux under Windows.
_DRIVERS = (Path("/proc/driver/nvidia"), Path("/dev/dxg"))


def choose_device(wanted: str) -> torch.device:
    """The device `cpu` or `cuda`, or for `auto` a GPU if there is one: the one of the process.

    A machine with a GPU that cannot be used gives an `LstWarning` for `auto`. For `cuda` no usable
    GPU is an `LstError`.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if 0 < torch.cuda.device_count() <= ranks.local_rank():
        raise LstError(
            f"{ranks.local_world()} processes on a machine with {torch.cuda.device_count()} GPUs",
            "start one process for each GPU, or use --device cpu",
        )
    try:
        # One operation: a GPU may be known to torch and still be unable to compute.
        torch.ones(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without CUDA
        reason = str(error).partition("\n")[0].partition(". Please")[0][:200]
        if wanted == "cuda":
            raise LstError(
                f"device cuda: torch finds no usable GPU: {reason}", "use --device cpu"
            ) from error
        if any(driver.exists() for driver in _DRIVERS):
            text = f"the GPU is not used, and the CPU is slower: {reason}"
            warnings.warn(text, LstWarning, stacklevel=2)
        return torch.device("cpu")
    return torch.device("cuda")


def choose_workers(wanted: int, device: torch.device) -> int:
    """Processes that read images: as wanted, or for -1 what suits the device."""
    if wanted >= 0:
        return wanted
    cores = len(os.sched_getaffinity(0)) // ranks.local_world()
    return max(1, min(4, cores)) if device.type == "cuda" else 0


def place(network: Network, device: torch.device) -> Network:
    """Move a network to its device; on a CPU convolutions are faster with the channels last."""
    if device.type == "cpu":
        # Not Module.to: it wants to lay out buffers of five dimensions as well, and fails.
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def describe_device(device: torch.device) -> str:
    """Name of the device, for manifests."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads != 1)}"


def seed_iteration(seed: int, phase: int, iteration: int) -> None:
    """Seed torch for one iteration, so that a run continues after a crash with the same numbers."""
    torch.manual_seed(torch_seed([seed, phase, iteration]))


def torch_seed(words: Sequence[int]) -> int:
    """A seed for torch that a few numbers decide."""
    state = np.random.SeedSequence(list(words)).generate_state(1, np.uint64)
    return int(state[0]) % 2**63
