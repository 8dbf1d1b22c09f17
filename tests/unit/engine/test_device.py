from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lst_cli.engine import device
from lst_cli.engine.device import (
    choose_device,
    choose_workers,
    describe_device,
    place,
    seed_iteration,
)
from lst_cli.errors import LstError, LstWarning


@pytest.fixture
def gpu(monkeypatch):
    """Say what torch answers where it is asked for something on a GPU: a tensor, or an error."""

    def answer(answer: Any) -> None:
        def ones(*_: Any, **__: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(torch, "ones", ones)

    return answer


@pytest.mark.parametrize(("wanted", "found"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_a_gpu_that_can_compute_is_taken_unless_the_cpu_is_wanted(gpu, wanted, found):
    gpu(torch.zeros(1))
    assert choose_device(wanted).type == found


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("The driver is too old (version 11040). Please update it"),
         "The driver is too old (version 11040)"),
        (RuntimeError("CUDA error: no kernel image is available\nCUDA kernel errors might be"),
         "CUDA error: no kernel image is available"),
        (AssertionError("Torch not compiled with CUDA enabled"),
         "Torch not compiled with CUDA enabled"),
    ],
)  # fmt: skip
def test_why_a_gpu_cannot_be_used_is_told_where_there_is_one(gpu, monkeypatch, error, reason):
    gpu(error)
    with pytest.raises(LstError) as caught:
        choose_device("cuda")
    assert caught.value.message == f"device cuda: torch finds no usable GPU: {reason}"
    assert caught.value.hint == "use --device cpu"
    monkeypatch.setattr(device, "_DRIVERS", (Path(__file__),))
    with pytest.warns(LstWarning, match=f"not used.*: {re.escape(reason)}$"):
        assert choose_device("auto").type == "cpu"
    monkeypatch.setattr(device, "_DRIVERS", ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_device("auto").type == "cpu"


def test_workers_are_as_wanted_or_suit_the_device_which_has_a_name(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert describe_device(cpu).startswith("cpu, ")
    assert [choose_workers(n, cpu) for n in (-1, 0, 3)] == [0, 0, 3]
    for cores, workers in ((2, 2), (16, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert [choose_workers(n, cuda) for n in (-1, 0, 9)] == [workers, 0, 9]


def test_on_a_cpu_convolutions_keep_the_channels_of_a_pixel_together():
    network: Any = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    network.register_buffer("kept", torch.rand(2, 2, 2, 2, 2))  # as kept support features are
    images = torch.rand(2, 3, 8, 8)
    before = network(images)
    weight = network[0].weight
    placed = place(network, torch.device("cpu"))
    assert placed is network
    assert network[0].weight is weight  # an optimizer made earlier still trains it
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert torch.allclose(network(images), before, atol=1e-6)
    elsewhere = place(torch.nn.Conv2d(3, 4, 3), torch.device("meta"))
    assert elsewhere.weight.is_contiguous()
    assert elsewhere.weight.device.type == "meta"


def test_random_numbers_are_a_function_of_seed_phase_and_iteration():
    def drawn(*place: int) -> float:
        seed_iteration(*place)
        return torch.rand(()).item()

    places = [(1, 2, 3), (0, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2), (2, 1, 3)]
    numbers = [drawn(*one) for one in places]
    assert drawn(1, 2, 3) == numbers[0]
    assert len(set(numbers)) == 6
