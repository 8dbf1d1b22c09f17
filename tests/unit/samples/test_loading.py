from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lst_cli.errors import LstError
from lst_cli.phases.replay import Occurrences
from lst_cli.samples.loading import iterate_batches, iterate_support

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


# --- support -------------------------------------------------------------------------------------


class FewImages:
    """Images of old class 0 and of the new classes 1, 2, 3: in five, in one and in three."""

    def __init__(self, phase: int = 1, broken: int = -1) -> None:
        images = [7, 8, 10, 11, 12, 13, 14, 20, 30, 31, 31, 32]
        labels = [0, 0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3]
        occurrences = Occurrences.of(np.array(images), np.array(labels), 4)
        self.data = SimpleNamespace(occurrences=occurrences, phase=phase)
        self.broken = broken
        self.read = 0

    def sample(self, image: int, label: int, position: int) -> tuple[int, int, int]:
        self.read += 1
        if image == self.broken:
            raise LstError(f"image {image} is broken", "lst check")
        return image, label, position


def episodes(dataset: Any, **changes: Any) -> list[list[tuple[int, int, int]]]:
    options = {"shots": 3, "seed": 5, "start": 0, "iterations": 6, "workers": 0, **changes}
    new = options.pop("new", range(1, 4))
    stream = iterate_support(dataset, lambda sample: {"sample": sample}, new, **options)  # type: ignore[arg-type]
    return [[item["sample"] for item in batch] for batch in stream]


def test_an_episode_has_images_of_every_new_class_and_none_twice() -> None:
    images = {1: {10, 11, 12, 13, 14}, 2: {20}, 3: {30, 31, 32}}
    for shots, counts in ((1, [1, 1, 1]), (3, [3, 1, 3]), (9, [5, 1, 3])):
        for episode in episodes(FewImages(), shots=shots):
            for label, count in zip((1, 2, 3), counts, strict=True):
                found = [image for image, of, _ in episode if of == label]
                assert len(found) == len(set(found)) == count
                assert set(found) <= images[label]
            assert len(episode) == sum(counts)


def test_episodes_differ_and_in_time_show_every_image() -> None:
    drawn = episodes(FewImages(), shots=1, iterations=60)
    assert len({tuple(image for image, *_ in episode) for episode in drawn}) > 10
    assert {image for episode in drawn for image, *_ in episode} == {
        10, 11, 12, 13, 14, 20, 30, 31, 32,
    }  # fmt: skip


def test_an_episode_is_a_function_of_seed_phase_and_iteration() -> None:
    whole = episodes(FewImages())
    assert episodes(FewImages()) == whole
    assert episodes(FewImages(), start=4) == whole[4:]
    assert episodes(FewImages(), start=6) == []
    assert episodes(FewImages(), iterations=2) == whole[:2]
    assert episodes(FewImages(), seed=6) != whole
    assert episodes(FewImages(phase=2)) != whole


def test_every_support_image_has_a_position_of_its_own_which_its_size_and_flip_hang_on() -> None:
    for shots in (1, 3, 9):
        positions = [one[2] for episode in episodes(FewImages(), shots=shots) for one in episode]
        assert len(set(positions)) == len(positions)


def test_workers_change_no_episode() -> None:
    assert episodes(FewImages(), workers=2) == episodes(FewImages())


def test_support_is_read_when_it_is_asked_for() -> None:
    dataset = FewImages()
    stream = iterate_support(
        dataset,  # type: ignore[arg-type]
        lambda sample: {"sample": sample},  # type: ignore[arg-type]
        range(1, 4),
        shots=3,
        seed=5,
        start=0,
        iterations=6,
        workers=0,
    )
    next(stream)
    assert dataset.read == 7


def test_an_unusable_support_image_stops_with_its_own_message() -> None:
    with pytest.raises(LstError, match="image 20 is broken"):
        episodes(FewImages(broken=20))
