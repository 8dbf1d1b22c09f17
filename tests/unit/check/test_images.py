from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lst_cli.check.images import check_images
from lst_cli.images.finder import ImageFinder


def draw(path: Path, height: int, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def finder(tmp_path: Path) -> ImageFinder:
    draw(tmp_path / "coco/train2017/000000000001.jpg", 10, 20)
    draw(tmp_path / "coco/val2017/000000000002.jpg", 6, 8)
    return ImageFinder([tmp_path / "coco"])


@pytest.mark.parametrize("decode", [False, True])
def test_good_images_have_no_problems(read, two_classes, finder, decode):
    calls: list[tuple[int, int | None]] = []
    problems = check_images(
        read(two_classes),
        finder,
        decode=decode,
        progress=lambda what, done, total: calls.append((done, total)),
    )
    assert problems == []
    assert calls[-1] == (2, 2)


def test_missing_broken_and_wrong_images_are_errors(read, two_classes, finder, tmp_path):
    one = two_classes["images"][0]
    two_classes["images"] += [
        one | {"id": 3, "coco_url": "x/gone.jpg"},
        one | {"id": 4, "coco_url": "x/broken.jpg"},
        one | {"id": 5, "coco_url": "x/large.jpg"},
        one | {"id": 6, "coco_url": "x/lost.jpg"},
    ]
    (tmp_path / "coco/x").mkdir()
    (tmp_path / "coco/x/broken.jpg").write_text("no image")
    draw(tmp_path / "coco/x/large.jpg", 11, 20)
    problems = check_images(read(two_classes), finder)
    assert [(p.severity, p.kind, p.count) for p in problems] == [
        ("error", "missing-image", 2),
        ("error", "unreadable-image", 1),
        ("error", "image-size", 1),
    ]
    missing, broken, size = problems
    assert [text.split(" not found")[0] for text in missing.examples] == ["image 3", "image 6"]
    assert "broken.jpg" in broken.examples[0]
    assert "large.jpg is 20 wide and 11 high" in size.examples[0]
    assert missing.message == "2 images not found"
    assert missing.hint is not None
    assert "--images" in missing.hint


def test_only_decoding_finds_a_cut_image(read, two_classes, finder, tmp_path):
    path = draw(tmp_path / "coco/train2017/000000000001.jpg", 10, 20)
    path.write_bytes(path.read_bytes()[:-60])
    dataset = read(two_classes)
    assert check_images(dataset, finder) == []
    (problem,) = check_images(dataset, finder, decode=True)
    assert (problem.kind, problem.count) == ("unreadable-image", 1)
    assert problem.hint == "copy or download it again"
    path.write_bytes(b"\x81" * 99)
    (problem,) = check_images(dataset, finder)
    assert "lst check --decode finds all such images" in (problem.hint or "")


def test_only_wanted_rows_are_looked_at(read, two_classes, finder, tmp_path):
    (tmp_path / "coco/val2017/000000000002.jpg").unlink()
    dataset = read(two_classes)
    assert check_images(dataset, finder, rows=np.array([0])) == []
    assert [problem.count for problem in check_images(dataset, finder, rows=[1])] == [1]
    assert check_images(dataset, finder, rows=[]) == []


def test_images_with_another_remedy_are_another_problem(read, two_classes, finder, tmp_path):
    pages = {"coco/train2017/000000000001.jpg": b"<html>", "coco/val2017/000000000002.jpg": b"DDS "}
    for name, content in pages.items():
        (tmp_path / name).write_bytes(content)
    problems = check_images(read(two_classes), finder)
    assert [(one.kind, one.count) for one in problems] == [("unreadable-image", 1)] * 2
    assert [one.hint for one in problems] == [
        "download the image itself", "convert it to JPEG or PNG under the same name"
    ]  # fmt: skip
