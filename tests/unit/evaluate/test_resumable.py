from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.evaluate.resumable import (
    Header,
    collect_detections,
    finish_detections,
    inference_settings,
    make_header,
    read_kept,
)
from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Settings

IMAGES = 5


def found_in(row: int) -> list[dict[str, Any]]:
    """As many detections as the row, of numbers that no short decimal is."""
    return [
        {
            "image_id": 100 + row,
            "category_id": place,
            "bbox": [1 / 3, 2.0, 0.1 + 0.2, 1e-7],
            "score": 1 / (place + 3),
            "segmentation": {"size": [2, 3], "counts": "0\\ü6"},
        }
        for place in range(row)
    ]


ALL = [one for row in range(IMAGES) for one in found_in(row)]


def collected(path: Path, of: Header, images: int = IMAGES) -> list[dict[str, Any]]:
    """The results file made of what was kept."""
    results = path.with_name("results.json")
    collect_detections(path, of, images, results)
    found: list[dict[str, Any]] = json.loads(results.read_text())
    return found


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
def path(tmp_path: Path) -> Path:
    return tmp_path / "phases" / "00-base" / "detections.part.jsonl"


def finish(path: Path, network: Network, of: Header | None = None) -> list[dict[str, Any]]:
    finish_detections(path, of or header(), IMAGES, network, progress=network.progress)
    return collected(path, of or header())


@pytest.fixture
def interrupted(path: Path) -> Path:
    """Images 0 to 2 are done."""
    with pytest.raises(KeyboardInterrupt):
        finish(path, Network(stop_at=3))
    return path


def test_an_evaluation_from_the_start_is_told_image_by_image(path: Path) -> None:
    network = Network()
    assert finish(path, network) == ALL
    assert network.asked == [[0, 1, 2, 3, 4]]
    assert network.told == [("images", done, 5) for done in range(6)]
    assert len(path.read_text().splitlines()) == 6


def test_an_interrupted_evaluation_does_only_what_is_left(interrupted: Path) -> None:
    network = Network()
    assert finish(interrupted, network) == ALL
    assert network.asked == [[3, 4]]
    assert network.told == [("images, 3 kept", done, 5) for done in (3, 4, 5)]


def test_it_can_be_interrupted_again_and_again(path: Path) -> None:
    for stop in range(IMAGES):
        network = Network(stop_at=stop)
        with pytest.raises(KeyboardInterrupt):
            finish(path, network)
        assert network.asked == [list(range(max(stop - 1, 0), IMAGES))]
    assert finish(path, Network()) == ALL


def test_what_is_all_done_needs_no_network(path: Path) -> None:
    finish(path, Network())
    network = Network()
    assert finish(path, network) == ALL
    assert network.asked == []
    assert network.told == [("images, 5 kept", 5, 5)]


def test_kept_numbers_are_the_same_to_the_last_bit(interrupted: Path) -> None:
    left = read_kept(interrupted, header(), IMAGES)
    assert left.size == interrupted.stat().st_size
    assert left.refused is None
    finish(interrupted, Network())
    kept = collected(interrupted, header())
    assert kept == ALL
    assert json.dumps(kept[1:3]) == json.dumps(found_in(2))


def test_every_place_to_be_cut_off_at_loses_at_most_the_image_in_it(interrupted: Path) -> None:
    whole = interrupted.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole)):
        interrupted.write_bytes(whole[:size])
        network = Network()
        assert finish(interrupted, network) == ALL
        done = max(sum(end <= size for end in ends) - 1, 0)
        assert network.asked == [list(range(done, IMAGES))]
        assert read_kept(interrupted, header(), IMAGES).lines.keys() == set(range(IMAGES))


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0\n",
        b"\xff\n",
        b'{"row": 9, "detections": []}\n',
        b'{"row": -1, "detections": []}\n',
        b'{"row": 0, "detections": []}\n',
        b'{"row": 3}\n',
        b'{"row": 3, "detections": {}}\n',
        b"[]\n",
    ],
)
def test_what_follows_a_damaged_line_is_done_again(line: bytes, interrupted: Path) -> None:
    with interrupted.open("ab") as file:
        file.write(line + b'{"row": 4, "detections": []}\n')
    network = Network()
    assert finish(interrupted, network) == ALL
    assert network.asked == [[3, 4]]
    assert read_kept(interrupted, header(), IMAGES).lines.keys() == set(range(IMAGES))


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
def test_detections_of_anything_else_are_begun_anew_and_that_is_said(
    changes: dict[str, Any], reason: str, interrupted: Path
) -> None:
    network = Network()
    assert finish(interrupted, network, header(**changes)) == ALL
    assert network.asked == [[0, 1, 2, 3, 4]]
    assert network.told[0][0].startswith(f"images, again: {reason}")
    assert network.told[0][1:] == (0, 5)
    assert read_kept(interrupted, header(**changes), IMAGES).lines.keys() == set(range(IMAGES))
    assert read_kept(interrupted, header(), IMAGES).refused


@pytest.mark.parametrize("content", [b"not JSON\n", b"{}\n", b"\0" * 50, b'{"format": 1'])
def test_a_header_that_cannot_be_read_is_replaced(content: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    network = Network()
    assert finish(path, network) == ALL
    assert network.told[0][0] == "images, again: the file of those kept is damaged"
    assert len(path.read_text().splitlines()) == 6


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_costs_some_images_and_never_a_detection(seed: int, path: Path) -> None:
    finish(path, Network())
    data = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(data))
    network = Network()
    assert finish(path, network) == ALL
    [asked] = network.asked
    assert 1 <= len(asked) <= 2 or asked == list(range(IMAGES))  # of its header: all
    assert finish(path, Network()) == ALL


def test_a_damaged_line_in_the_middle_costs_its_image_alone(path: Path) -> None:
    finish(path, Network())
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"101", b"102")
    path.write_bytes(b"".join(lines))
    network = Network()
    assert finish(path, network) == ALL
    assert network.asked == [[1]]


def test_no_images_have_no_detections(path: Path) -> None:
    network = Network()
    finish_detections(path, header(), 0, network, progress=network.progress)
    assert collected(path, header(), 0) == []
    assert network.asked == []


def test_a_full_disk_is_told_and_what_was_written_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fdopen = os.fdopen

    def fill(*arguments: Any) -> Any:
        file = fdopen(*arguments)

        class Filling:
            lines = 0

            def write(self, data: bytes) -> None:
                self.lines += 1
                if self.lines == 4:
                    file.write(data[:7])
                    raise OSError(errno.ENOSPC, "No space left on device")
                file.write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        return Filling()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fill)
        with pytest.raises(LstError) as caught:
            finish(path, Network())
    assert caught.value.message == f"cannot write {path}: the disk is full"
    assert "run the same command again" in str(caught.value.hint)
    network = Network()
    assert finish(path, network) == ALL
    assert network.asked == [[2, 3, 4]]


def test_a_file_that_cannot_be_opened_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(LstError) as caught:
        finish(path, Network())
    assert str(path) in caught.value.message


def settings(**changes: Any) -> Settings:
    return build_settings({"preset": "lite", **changes})


def test_the_header_holds_what_decides_about_detections() -> None:
    trained = settings(eval={"detections": 7}, model={"cosine_scale": 12.0})
    made = make_header("m", "i", inference_settings(trained, settings()))
    assert (made.model, made.images) == ("m", "i")
    assert made.settings["eval.detections"] == 300  # as of today
    assert made.settings["model.cosine_scale"] == 12.0  # as trained
    assert made.settings["data.min_size_test"] == 192
    assert made.settings["detectron2.MODEL.RPN.POST_NMS_TOPK_TEST"] == 200


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"eval": {"bins": "<5"}}, True),
        ({"data": {"workers": 3, "flip": 0.1}}, True),
        ({"device": "cpu"}, True),
        ({"base": {"lr": 1.0}}, True),
        ({"eval": {"nms_threshold": 0.6}}, False),
        ({"eval": {"score_threshold": 0.1}}, False),
        ({"data": {"max_size_test": 999}}, False),
    ],
)
def test_only_settings_that_change_detections_count(change: dict[str, Any], same: bool) -> None:
    before = make_header("m", "i", inference_settings(settings(), settings()))
    after = make_header("m", "i", inference_settings(settings(), settings(**change)))
    assert (before == after) is same
