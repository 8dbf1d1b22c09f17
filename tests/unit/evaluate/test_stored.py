from __future__ import annotations

import errno
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.evaluate.stored import (
    Header,
    PartialDetections,
    inference_settings,
    make_header,
)
from lst_cli.settings.diff import values
from lst_cli.settings.load import build_settings

IMAGES = 5


def found_in(row: int) -> list[dict[str, Any]]:
    """As many detections as the row, of numbers that no short decimal is."""
    return [
        {
            "image_id": 100 + row, "category_id": place, "score": 1 / (place + 3),
            "bbox": [1 / 3, 2.0, 0.1 + 0.2, 1e-7],
            "segmentation": {"size": [2, 3], "counts": "0\\ü6"},
        }
        for place in range(row)
    ]  # fmt: skip


class Network:
    """Stands in for the model; `stop_at` a row, it is interrupted."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.asked: list[list[int]] = []
        self.told: list[tuple[str, int, int | None]] = []

    def __call__(self, rows: Sequence[int]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        self.asked.append(list(rows))
        for row in rows:
            if row == self.stop_at:
                raise KeyboardInterrupt
            yield row, found_in(row)

    def progress(self, what: str, done: int, total: int | None) -> None:
        self.told.append((what, done, total))


def header(**changes: Any) -> Header:
    values: dict[str, Any] = {"model": "m", "images": "i", "settings": {"eval.detections": 300}}
    return Header(**{**values, **changes})


@pytest.fixture
def part(tmp_path: Path) -> PartialDetections:
    path = tmp_path / "phases" / "00-base" / "detections.part.jsonl"
    return PartialDetections(path, header(), IMAGES)


def finish(part: PartialDetections, stop_at: int | None = None) -> Network:
    """Finish it and see that the results file has every detection to the last bit."""
    network, results = Network(stop_at), part.path.with_name("results.json")
    part.finish(network, network.progress)
    part.collect(results)
    everything = [one for row in range(part.images) for one in found_in(row)]
    assert json.dumps(json.loads(results.read_text())) == json.dumps(everything)
    assert part.read().lines.keys() == set(range(part.images))
    return network


@pytest.fixture
def interrupted(part: PartialDetections) -> PartialDetections:
    """Images 0 to 2 are done."""
    with pytest.raises(KeyboardInterrupt):
        finish(part, stop_at=3)
    return part


def test_an_evaluation_from_the_start_is_told_image_by_image(part):
    network = finish(part)
    assert network.asked == [[0, 1, 2, 3, 4]]
    assert network.told == [("images", done, 5) for done in range(6)]
    assert len(part.path.read_text().splitlines()) == 6
    network = finish(part)  # what is all done needs no network
    assert network.asked == []
    assert network.told == [("images, 5 kept", 5, 5)]


def test_an_interrupted_evaluation_does_only_what_is_left(interrupted):
    assert interrupted.read().size == interrupted.path.stat().st_size
    network = finish(interrupted)
    assert network.asked == [[3, 4]]
    assert network.told == [("images, 3 kept", done, 5) for done in (3, 4, 5)]


def test_every_place_to_be_cut_off_at_loses_at_most_the_image_in_it(interrupted):
    whole = interrupted.path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole)):
        interrupted.path.write_bytes(whole[:size])
        done = max(sum(end <= size for end in ends) - 1, 0)
        assert finish(interrupted).asked == [list(range(done, IMAGES))]


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0", b"\xff", b'{"row": 9, "detections": []}', b'{"row": -1, "detections": []}',
        b'{"row": 0, "detections": []}', b'{"row": 3}', b'{"row": 3, "detections": {}}', b"[]",
    ],
)  # fmt: skip
def test_what_follows_a_damaged_line_is_done_again(line, interrupted):
    with interrupted.path.open("ab") as file:
        file.write(line + b'\n{"row": 4, "detections": []}\n')
    assert finish(interrupted).asked == [[3, 4]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "other"}, "the model has changed"),
        ({"images": "other"}, "the validation file has changed"),
        ({"lst": "9.9"}, "lst was version "),
        ({"format": 3}, "lst was version "),
        ({"settings": {"eval.detections": 20}}, "eval.detections changed"),
        (
            {"settings": {"eval.nms_threshold": 0.5}},
            "eval.detections, eval.nms_threshold changed",
        ),
    ],
)
def test_detections_of_anything_else_are_begun_again_and_that_is_said(changes, reason, interrupted):
    network = finish(PartialDetections(interrupted.path, header(**changes), IMAGES))
    assert network.asked == [[0, 1, 2, 3, 4]]
    assert network.told[0][0].startswith(f"images, again: {reason}")
    assert network.told[0][1:] == (0, 5)
    assert interrupted.read().refused


@pytest.mark.parametrize("content", [b"not JSON\n", b"{}\n", b"\0" * 50, b'{"format": 1'])
def test_a_header_that_cannot_be_read_is_replaced(content, part):
    part.path.parent.mkdir(parents=True)
    part.path.write_bytes(content)
    assert finish(part).told[0][0] == "images, again: the file of those kept is damaged"
    assert len(part.path.read_text().splitlines()) == 6


def test_a_flipped_bit_costs_some_images_and_never_a_detection(part):
    finish(part)
    whole, chance = part.path.read_bytes(), random.Random(0)
    for place in chance.sample(range(8 * len(whole)), 60):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        part.path.write_bytes(bytes(data))
        [asked] = finish(part).asked
        assert 1 <= len(asked) <= 2 or asked == list(range(IMAGES))  # of its header: all
        assert finish(part).asked == []


def test_no_images_have_no_detections(part):
    assert finish(PartialDetections(part.path, header(), 0)).asked == []


def test_a_full_disk_is_told_and_what_was_written_is_kept(part, monkeypatch):
    lines = 0
    path_open = Path.open

    def fill(path: Path, mode: str) -> Any:
        nonlocal lines
        file = path_open(path, mode)
        lines += mode == "ab"
        if lines == 4:
            file.write(b"1234567")
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fill)
        with pytest.raises(LstError) as caught:
            finish(part)
    assert caught.value.message == f"cannot write {part.path}: the disk is full"
    assert "run the same command again" in str(caught.value.hint)
    assert finish(part).asked == [[2, 3, 4]]


def test_a_file_that_cannot_be_opened_is_named(part):
    part.path.mkdir(parents=True)
    with pytest.raises(LstError) as caught:
        finish(part)
    assert str(part.path) in caught.value.message


def test_the_header_holds_what_decides_about_detections_and_nothing_else():
    trained = {"eval": {"detections": 7}, "model": {"cosine_scale": 12.0}}
    before, now = (build_settings({"preset": "lite", **one}) for one in (trained, {}))
    found = make_header("m", "i", inference_settings(before, now))
    assert (found.model, found.images) == ("m", "i")
    assert found.settings["eval.detections"] == 300  # as of today
    assert found.settings["model.cosine_scale"] == 12.0  # as trained
    assert found.settings["data.min_size_test"] == 192
    assert found.settings["detectron2.MODEL.RPN.POST_NMS_TOPK_TEST"] == 200
    assert found.settings.keys() == values(now, "detections").keys()  # see test_models.py
