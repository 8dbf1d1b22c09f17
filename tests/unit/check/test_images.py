from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lst_cli.check import images as check_room
from lst_cli.check.images import (
    check_images,
    check_listed_twice,
    check_shared_images,
    images_listed_twice,
)
from lst_cli.images.finder import ImageFinder

URL = "http://images.cocodataset.org"


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
        read(two_classes), finder, decode=decode, progress=lambda _, *call: calls.append(call)
    )
    assert problems == []
    assert calls[-1] == (2, 2)


def test_missing_broken_and_wrong_images_are_errors(read, two_classes, finder, tmp_path):
    one = two_classes["images"][0]
    names = ("gone", "broken", "large", "lost")
    two_classes["images"] += [
        one | {"id": n, "coco_url": f"x/{name}.jpg"} for n, name in enumerate(names, 3)
    ]
    draw(tmp_path / "coco/x/large.jpg", 11, 20)
    (tmp_path / "coco/x/broken.jpg").write_text("no image")
    missing, broken, size = problems = check_images(read(two_classes), finder)
    assert [(p.severity, p.kind, p.count) for p in problems] == [
        ("error", "missing-image", 2),
        ("error", "unreadable-image", 1),
        ("error", "image-size", 1),
    ]
    assert [text.split(" not found")[0] for text in missing.examples] == ["image 3", "image 6"]
    assert "broken.jpg" in broken.examples[0]
    assert "large.jpg is 20 wide and 11 high" in size.examples[0]
    assert missing.message == "2 images not found"
    assert "--images" in str(missing.hint)


def test_only_decoding_finds_a_cut_image(read, two_classes, finder, tmp_path):
    path = tmp_path / "coco/train2017/000000000001.jpg"
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


def files(read, train, val):
    """Two files of images with these (file_name, coco_url), numbered from 1 and from 101."""
    found = []
    for name, images, first in (("train", train, 1), ("val", val, 101)):
        records = [
            {"id": number, "height": 6, "width": 8, "file_name": file, "coco_url": url}
            for number, (file, url) in enumerate(images, first)
        ]
        content = {"images": records, "annotations": [], "categories": [], "info": {"part": name}}
        found.append(read(content, f"{name}.json"))
    return found


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("a/1.jpg", ""), ("a/1.jpg", "")),
        (("a\\1.jpg", ""), ("./a/1.jpg", "")),
        (("1.jpg", ""), ("1.jpg", "")),
        (("1.jpg", "http://x/1"), ("1.jpg", "")),
        (("", "http://x/y/1.jpg"), ("", "https://x/y/1.jpg")),
        (("", "http://x/y/1%20a.jpg"), ("", "http://x/y/1 a.jpg")),
        # An address stands for itself, whatever the name beside it.
        (("1.jpg", "http://x/y/1.jpg"), ("2.jpg", "https://x/y/1.jpg?size=big#top")),
        (("a.jpg", "http://x/1.jpg"), ("http://x/1.jpg", "")),
        (("a.jpg", "http://x/get?id=3"), ("b.jpg", "http://x/get?id=3")),
        (("a.jpg", "s3://bucket/a b.JPG"), ("b.jpg", "s3://bucket//a%20b.JPG")),
        (("", "http://x"), ("", "http://x")),
        (("a.jpg", "https://x/p/8f3a9b"), ("b.jpg", "http://x/p/8f3a9b")),
        (("1.jpg", "http://x/a"), ("1.jpg", "b")),
        (("1.jpg", "http://x/p/1.jpg"), ("1.jpg", "http://x/q/2.jpg")),
        (("", f"{URL}/train2017/000000000139.jpg"), ("COCO_train2014_000000000139.jpg", "")),
        (
            ("", f"{URL}/train2017/000000000139.jpg"),
            ("", f"{URL}/val2014/COCO_val2014_000000000139.jpg"),
        ),
    ],
)
def test_an_image_of_both_files_is_found_by_its_names(read, ours, theirs):
    train, val = files(read, [("b/2.jpg", ""), ours], [("b/3.jpg", ""), theirs])
    (problem,) = check_shared_images(train, val)
    assert (problem.severity, problem.kind, problem.count) == ("warning", "shared-images", 1)
    assert problem.message.startswith("1 of 2 validation images (50.0%) is a training image too")
    assert problem.examples[0].startswith("image 102 (")
    assert "is image 2 (" in problem.examples[0]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("train/0001.jpg", ""), ("val/0001.jpg", "")),
        (("", "http://x/train/1.jpg"), ("", "http://x/val/1.jpg")),
        (("1.jpg", "http://x/train/1.jpg"), ("1.jpg", "http://x/val/1.jpg")),
        (("1.jpg", "http://example.com"), ("2.jpg", "http://example.com")),
        (("a.jpg", "http://x/get?id=3"), ("b.jpg", "http://x/get?id=4")),
        (("a.jpg", "http://x/all/photos/"), ("b.jpg", "http://x/all/photos/")),
        (("a.jpg", "x/1.jpg"), ("b.jpg", "x/1.jpg")),
        (("000000000139.jpg", ""), ("", f"{URL}/train2017/000000000140.jpg")),
    ],
)
def test_names_that_only_look_alike_are_other_images(read, ours, theirs):
    assert check_shared_images(*files(read, [ours], [theirs])) == []


def test_an_address_that_many_records_have_is_that_of_no_image(read):
    names = [(f"{n}.jpg", "http://x/y/set") for n in range(3)]
    train, val = files(read, names[:2], names[2:])
    assert check_shared_images(train, val) == []
    assert images_listed_twice(train.images) == {}


def test_a_name_without_directory_is_shared_only_where_one_file_is_found(read, tmp_path):
    train, val = files(read, [("1.jpg", "")], [("1.jpg", "")])
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "1.jpg").write_text(part)
    assert check_shared_images(train, val, ImageFinder([tmp_path]), content=True) == []
    (problem,) = check_shared_images(train, val, ImageFinder([tmp_path / "train"]))
    assert problem.count == 1


def test_images_of_equal_content_are_found_under_other_names(read, tmp_path):
    names = [[f"{part}{n}.jpg" for n in range(4)] for part in ("train", "val")]
    names[0].append("again.jpg")
    train, val = files(read, *([(name, "") for name in part] for part in names))
    val.images.heights[:], val.images.widths[:] = 8, 6  # a viewer may turn an image
    tail = b"x" * 5000
    (tmp_path / "again.jpg").write_bytes(b"\0" + tail)
    for number in range(4):
        (tmp_path / names[0][number]).write_bytes(bytes([number]) + tail)
        # 0 is the same; of 1 the head differs, of 2 the length, 3 the tail
        other = [b"\0" + tail, b"\7" + tail, b"\2\2" + tail, b"\3" + tail[:-1] + b"y"][number]
        (tmp_path / names[1][number]).write_bytes(other)
    finder = ImageFinder([tmp_path])
    assert check_shared_images(train, val, finder) == []
    (problem,) = check_shared_images(train, val, finder, content=True)
    assert (problem.count, problem.severity) == (1, "warning")
    assert "(1 byte for byte)" in problem.message
    assert problem.examples == ("image 101 (val0.jpg) is image 1 (train0.jpg) of train.json",)


def test_only_files_of_equal_length_and_size_are_read(read, tmp_path, monkeypatch):
    train, val = files(read, [("a.jpg", "")], [("b.jpg", "")])
    (tmp_path / "a.jpg").write_bytes(b"12")
    (tmp_path / "b.jpg").write_bytes(b"123")
    for name in ("open_regular", "read_regular"):
        monkeypatch.setattr(check_room, name, lambda _: pytest.fail("a file was read"))
    assert check_shared_images(train, val, ImageFinder([tmp_path]), content=True) == []


def test_ends_of_many_files_are_compared_in_little_memory(read, tmp_path):
    for number in range(600):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(5000) + number.to_bytes(2, "big"))
    train, _ = files(read, [(f"{number}.jpg", "") for number in range(600)], [])
    check_listed_twice(train, ImageFinder([tmp_path]))  # what is loaded once
    tracemalloc.start()
    assert check_listed_twice(train, ImageFinder([tmp_path])) == []
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory < 1.5e6  # 600 ends of 4 KiB each would be more


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_nobody_s_double(read, tmp_path):
    train, val = files(read, [("a.jpg", "")], [("b.jpg", "")])
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"12")
        (tmp_path / name).chmod(0)
    assert check_shared_images(train, val, ImageFinder([tmp_path]), content=True) == []


def test_one_file_for_both_is_said_and_nothing_else(read, two_classes):
    dataset, copy = read(two_classes), read(two_classes, "copy.json")
    (problem,) = check_shared_images(dataset, copy)
    assert (problem.severity, problem.kind) == ("warning", "train-is-val")


def test_an_image_that_a_file_lists_twice_is_found(read, two_classes):
    assert check_listed_twice(read(two_classes)) == []
    two_classes["images"] += [two_classes["images"][1] | {"id": number} for number in (7, 8)]
    dataset = read(two_classes)
    assert images_listed_twice(dataset.images) == {2: 1, 3: 1}
    (problem,) = check_listed_twice(dataset)
    assert (problem.severity, problem.count) == ("warning", 2)
    assert problem.examples[0].startswith("image 7 (http")


@pytest.mark.parametrize("name", ["A.JPG", "a%2Ejpg", "./a.jpg", "copy.jpg", "link.jpg"])
@pytest.mark.parametrize("shared", [False, True])
def test_two_records_of_one_picture_are_found_within_a_file_and_between_files(
    read, tmp_path, name, shared
):
    for file, content in (("a.jpg", "one"), ("copy.jpg", "one"), ("b.jpg", "two")):
        (tmp_path / file).write_text(content)
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    first, again, other = ((one, "") for one in ("a.jpg", name, "b.jpg"))
    ours, theirs = ([first], [again]) if shared else ([first, again, other], [other])
    train, val = files(read, ours, theirs)
    finder = ImageFinder([tmp_path])
    if shared:
        (problem,) = check_shared_images(train, val, finder, content=True)
    else:
        (problem,) = check_listed_twice(train, finder) or check_listed_twice(train)
        assert len(check_listed_twice(train)) == (name == "./a.jpg")  # by name; the others by bytes
        assert problem.kind == "image-listed-twice"
    assert problem.count == 1
    assert f"({name}) is image 1 (a.jpg)" in problem.examples[0]
