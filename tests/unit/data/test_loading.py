from __future__ import annotations

from typing import Any

import pytest
import torch

from lst_cli.data.loading import iterate_batches
from lst_cli.errors import LstError

pytestmark = pytest.mark.engine


class Numbers:
    """Stands for a phase's entries: the sample of a position is the position."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken
        self.read: list[int] = []

    def __getitem__(self, position: int) -> int:
        self.read.append(position)
        if position == self.broken:
            raise LstError(f"sample {position} is broken", "lst check")
        return position


def to_item(sample: int) -> dict[str, Any]:
    return {"image": torch.full((1,), float(sample)), "sample": sample}


def batches(dataset: Any, mapper: Any = to_item, **changes: Any) -> Any:
    options = {"start": 0, "iterations": 4, "batch_size": 3, "workers": 0, **changes}
    return iterate_batches(dataset, mapper, **options)


def positions(dataset: Any, **changes: Any) -> list[list[int]]:
    return [[item["sample"] for item in batch] for batch in batches(dataset, **changes)]


def test_batches_follow_the_positions_in_order() -> None:
    assert positions(Numbers()) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


def test_a_later_start_reads_the_rest_and_nothing_before() -> None:
    dataset = Numbers()
    assert positions(dataset, start=2) == [[6, 7, 8], [9, 10, 11]]
    assert dataset.read == list(range(6, 12))
    assert positions(dataset, start=4) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    assert positions(Numbers(), workers=workers) == positions(Numbers())


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unusable_image_stops_with_its_own_message(workers: int) -> None:
    stream = batches(Numbers(broken=4), workers=workers)
    assert [item["sample"] for item in next(stream)] == [0, 1, 2]
    with pytest.raises(LstError) as caught:
        next(stream)
    assert (caught.value.message, caught.value.hint) == ("sample 4 is broken", "lst check")


def test_an_error_of_the_mapper_is_told_likewise() -> None:
    def refuse(sample: int) -> None:
        raise LstError(f"image of {sample}")

    with pytest.raises(LstError, match="image of 0"):
        next(batches(Numbers(), refuse))


def test_samples_are_read_one_batch_after_the_other() -> None:
    dataset = Numbers()
    stream = batches(dataset)
    next(stream)
    assert dataset.read == [0, 1, 2]
