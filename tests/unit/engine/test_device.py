from __future__ import annotations

from typing import Any

import pytest
import torch

from lst_cli.engine.device import (
    choose_device,
    choose_workers,
    describe_device,
    place,
    seed_iteration,
)
from lst_cli.errors import LstError


def test_auto_takes_a_gpu_where_there_is_one_and_cuda_needs_one(monkeypatch):
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto").type == expected
        assert choose_device("cpu").type == "cpu"
    with pytest.raises(LstError, match="no usable GPU") as caught:
        choose_device("cuda")
    assert caught.value.hint == "use --device cpu"


def test_workers_are_as_wanted_or_suit_the_device_which_has_a_name():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert describe_device(cpu).startswith("cpu, ")
    assert [choose_workers(n, cpu) for n in (-1, 0, 3)] == [0, 0, 3]
    assert [choose_workers(n, cuda) for n in (-1, 0, 3)] == [4, 0, 3]


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
