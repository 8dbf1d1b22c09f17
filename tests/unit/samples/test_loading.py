from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lst_cli.errors import LstError
from lst_cli.phases.replay import ALL_CLASSES, Occurrences
from lst_cli.samples import loading
from lst_cli.samples.loading import SampleReader

pytestmark = pytest.mark.engine


class Samples:
    """Stands for a phase of old class 0 and new classes 1, 2, 3 in five, one and three images.

    The sample of a position is the position; that of an image is (image, label, position).
    """

    def __init__(self, phase: int = 1, broken: int = -1) -> None:
        images = [7, 8, 10, 11, 12, 13, 14, 20, 30, 31, 31, 32]
        labels = [0, 0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3]
        occurrences = Occurrences.of(np.array(images), np.array(labels), 4)
        self.data = SimpleNamespace(occurrences=occurrences, phase=phase)
        self.broken = broken
        self.read: list[int] = []

    def __getitem__(self, position: int) -> int:
        return self._give(position, position)

    def sample(self, image: int, label: int, position: int = 0) -> Any:
        return self._give(image, (image, label, position))

    def _give(self, number: int, sample: Any) -> Any:
        self.read.append(number)
        if number == self.broken:
            raise LstError(f"sample {number} is broken", "lst check")
        return sample


def to_item(sample: Any, *, augment: bool) -> dict[str, Any]:
    return {"image": torch.zeros(1), "sample": sample, "augment": augment}


def reader(samples: Samples | None = None, workers: int = 0, mapper: Any = to_item) -> SampleReader:
    return SampleReader(samples or Samples(), mapper, workers)  # type: ignore[arg-type]


def found(stream: Any) -> list[list[Any]]:
    return [[item["sample"] for item in batch] for batch in stream]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_follow_the_positions_in_order(workers):
    batches = list(reader(workers=workers).batches(range(4), 3))
    assert found(batches) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert all(item["augment"] for batch in batches for item in batch)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unusable_image_stops_with_its_own_message(workers):
    stream = reader(Samples(broken=4), workers).batches(range(4), 3)
    assert [item["sample"] for item in next(stream)] == [0, 1, 2]
    with pytest.raises(LstError) as caught:
        next(stream)
    assert (caught.value.message, caught.value.hint) == ("sample 4 is broken", "lst check")


def test_an_error_of_the_mapper_is_raised_too():
    def refuse(sample: int, *, augment: bool) -> None:
        raise LstError(f"image of {sample}")

    with pytest.raises(LstError, match="image of 0"):
        next(reader(mapper=refuse).batches(range(4), 3))


def test_samples_are_read_when_they_are_asked_for_and_none_before_the_start():
    samples = Samples()
    stream = reader(samples).batches(range(2, 4), 3)
    assert [item["sample"] for item in next(stream)] == samples.read == [6, 7, 8]
    assert found(stream) == [[9, 10, 11]]
    assert samples.read == list(range(6, 12))
    assert found(reader().batches(range(4, 4), 3)) == []
    samples = Samples()
    next(reader(samples).episodes(range(6), range(1, 4), shots=3, seed=5))
    assert len(samples.read) == 7


SENDER = """
import os, sys
for number in (1, 2, 15):
    for worker in sys.argv[1:]:
        os.kill(int(worker), number)
"""


def test_workers_read_on_when_others_than_their_parent_stop_them():
    stream = reader(workers=2).batches(range(40), 3)
    read = [next(stream), next(stream)]  # one of each worker
    workers = multiprocessing.active_children()
    numbers = [str(worker.pid) for worker in workers]
    subprocess.run([sys.executable, "-S", "-c", SENDER, *numbers], check=True)
    read += stream
    assert found(read) == [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(40)]


def test_a_worker_ends_when_its_parent_ends_it():
    stream = reader(workers=1).batches(range(40), 3)
    next(stream)
    [worker] = multiprocessing.active_children()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_a_worker_that_cannot_send_what_it_has_read_ends_with_the_reason(capfd):
    def no_pickle(sample: int, *, augment: bool) -> Any:
        return lambda: sample

    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.* exited unexpectedly"):
        next(reader(workers=1, mapper=no_pickle).batches(range(4), 1))
    assert "what a worker has read cannot be sent: " in capfd.readouterr().err


def test_a_worker_that_sends_nothing_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(loading, "_PATIENCE", 0.1)

    def sleep(sample: int, *, augment: bool) -> None:
        time.sleep(1)

    with pytest.raises(RuntimeError, match="DataLoader timed out"):
        next(reader(workers=1, mapper=sleep).batches(range(4), 1))


@pytest.mark.parametrize(("batches", "workers"), [(1, 0), (2, 1), (9, 4)])
def test_there_are_no_more_workers_than_batches_to_read_ahead(batches, workers):
    loader = loading.read_ahead(
        torch.utils.data.TensorDataset(torch.zeros(1)), range(batches), 4, batch_size=None
    )
    assert loader.num_workers == workers


@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_read_with_all_objects_and_without_augmentation(workers):
    items = list(reader(workers=workers).images(np.array([8, 20, 7])))
    assert [item["sample"] for item in items] == [(n, ALL_CLASSES, 0) for n in (8, 20, 7)]
    assert not any(item["augment"] for item in items)
    with pytest.raises(LstError, match="sample 20 is broken"):
        list(reader(Samples(broken=20), workers).images(np.array([8, 20, 7])))


# --- support -------------------------------------------------------------------------------------


def episodes(
    samples: Samples | None = None,
    iterations: range = range(6),
    workers: int = 0,
    shots: int = 3,
    seed: int = 5,
) -> list[list[tuple[int, int, int]]]:
    stream = reader(samples, workers).episodes(iterations, range(1, 4), shots=shots, seed=seed)
    return found(stream)


def test_an_episode_has_images_of_every_new_class_and_none_twice():
    images = {1: {10, 11, 12, 13, 14}, 2: {20}, 3: {30, 31, 32}}
    for shots, counts in ((1, [1, 1, 1]), (3, [3, 1, 3]), (9, [5, 1, 3])):
        drawn = episodes(shots=shots)
        for episode in drawn:
            for label, count in zip((1, 2, 3), counts, strict=True):
                own = [image for image, of, _ in episode if of == label]
                assert len(own) == len(set(own)) == count
                assert set(own) <= images[label]
            assert len(episode) == sum(counts)
        # Size and flip depend on the position.
        positions = [one[2] for episode in drawn for one in episode]
        assert len(set(positions)) == len(positions)


def test_episodes_differ_and_in_time_show_every_image():
    drawn = episodes(shots=1, iterations=range(60))
    assert len({tuple(image for image, *_ in episode) for episode in drawn}) > 10
    shown = {image for episode in drawn for image, *_ in episode}
    assert shown == {10, 11, 12, 13, 14, 20, 30, 31, 32}


def test_an_episode_is_a_function_of_seed_phase_and_iteration():
    whole = episodes()
    assert episodes(workers=2) == whole
    assert episodes(iterations=range(4, 6)) == whole[4:]
    assert episodes(iterations=range(6, 6)) == []
    assert episodes(iterations=range(2)) == whole[:2]
    assert episodes(seed=6) != whole
    assert episodes(Samples(phase=2)) != whole
    with pytest.raises(LstError, match="sample 20 is broken"):
        episodes(Samples(broken=20))
