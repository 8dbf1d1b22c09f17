from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lst_cli.data.images import ImageFinder, find_image
from lst_cli.errors import LstError

COCO = "000000000042.jpg"
URL = f"http://images.cocodataset.org/train2017/{COCO}"


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Puts a file below the test's directory, its name as content unless given."""

    def put(name: str, content: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name if content is None else content)
        return path

    return put


@pytest.mark.parametrize(
    ("stored", "directory", "file_name", "coco_url"),
    [
        # LVIS v1: no file_name; COCO's own directories, above or inside.
        (f"coco/train2017/{COCO}", "coco", "", URL),
        (f"coco/train2017/{COCO}", "coco/train2017", "", URL),
        # A validation image of LVIS that lies in COCO's train2017, told by URL or only by luck.
        (f"coco/train2017/{COCO}", "coco", "", URL.replace("train2017", "val2017")),
        (f"coco/val2017/{COCO}", "coco/val2017", "", URL),
        # LVIS v0.5 names images as in 2014.
        (f"coco/train2017/{COCO}", "coco", f"COCO_val2014_{COCO}", URL),
        (f"coco/val2017/{COCO}", "coco", f"COCO_val2014_{COCO}", ""),
        (f"flat/{COCO}", "flat", f"COCO_train2014_{COCO}", ""),
        (f"coco/val2014/COCO_val2014_{COCO}", "coco", f"COCO_val2014_{COCO}", URL),
        # All images in one directory, or in "images" below it.
        (f"flat/{COCO}", "flat", "", URL),
        (f"data/images/{COCO}", "data", COCO, ""),
        (f"data/images/{COCO}", "data", COCO, f"images/{COCO}"),
        (f"data/images/{COCO}", "data/images", COCO, f"images/{COCO}"),
        # Own sets.
        ("set/train/000001.jpg", "set", "train/000001.jpg", ""),
        ("set/train/000001.jpg", "set/train", "train/000001.jpg", ""),
        ("set/a/b/c.png", "set", "a/b/c.png", ""),
        ("set/a/b/c.png", "set/a/b", "a/b/c.png", ""),
        ("set/c.png", "set", "a/b/c.png", ""),
        ("set/a b.jpg", "set", "", "http://host/set/a%20b.jpg?size=big"),
        ("set/train/c.png", "set", "train\\c.png", ""),
    ],
)
def test_an_image_is_found_whichever_way_it_is_stored(
    put: Callable[..., Path],
    tmp_path: Path,
    stored: str,
    directory: str,
    file_name: str,
    coco_url: str,
) -> None:
    path = put(stored)
    assert find_image([tmp_path / directory], file_name, coco_url) == path


def test_an_absolute_file_name_needs_no_directory(put: Callable[..., Path]) -> None:
    path = put("somewhere/a.jpg")
    assert find_image([], str(path), "") == path


def test_directories_are_searched_in_order(put: Callable[..., Path], tmp_path: Path) -> None:
    first, second = put(f"one/train2017/{COCO}"), put(f"two/train2017/{COCO}")
    assert find_image([tmp_path / "one", tmp_path / "two"], "", URL) == first
    assert find_image([tmp_path / "two", tmp_path / "one"], "", URL) == second
    assert find_image([tmp_path / "nowhere", tmp_path / "two"], "", URL) == second


def test_the_directory_in_a_name_decides_between_parts(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    train, val = put("set/train/000001.jpg"), put("set/val/000001.jpg")
    for dirs in (["set"], ["set/train", "set/val"], ["set/val", "set/train"]):
        finder = ImageFinder([tmp_path / name for name in dirs])
        assert finder.find("train/000001.jpg", "") == train
        assert finder.find("val/000001.jpg", "") == val
        assert finder.find("000001.jpg", "http://host/set/val/000001.jpg") == val


def test_an_image_of_val_is_not_taken_from_train(put: Callable[..., Path], tmp_path: Path) -> None:
    put("set/train/000001.jpg")
    for directory in ("set", "set/train"):
        with pytest.raises(LstError, match="not found"):
            find_image([tmp_path / directory], "val/000001.jpg", "")


def test_two_different_images_of_one_name_are_refused(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    put("set/train/000001.jpg", "one")
    put("set/val/000001.jpg", "two")
    with pytest.raises(LstError, match=r"image 7 could be .* which differ") as caught:
        ImageFinder([tmp_path / "set"]).find("000001.jpg", "", image_id=7)
    assert "--images" in (caught.value.hint or "")
    put("set/val/000001.jpg", "one")
    path = ImageFinder([tmp_path / "set"]).find("000001.jpg", "")
    assert path == tmp_path / "set/train/000001.jpg"


def test_where_an_image_is_found_does_not_depend_on_earlier_ones(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    put("set/b.jpg")
    put("set/images/a.jpg")
    put("set/images/b.jpg")
    fresh = ImageFinder([tmp_path / "set"]).find("b.jpg", "")
    used = ImageFinder([tmp_path / "set"])
    used.find("a.jpg", "")
    assert used.find("b.jpg", "") == fresh == tmp_path / "set/b.jpg"


def test_an_image_that_came_later_is_found(put: Callable[..., Path], tmp_path: Path) -> None:
    put("set/a.jpg")
    finder = ImageFinder([tmp_path / "set"])
    with pytest.raises(LstError):
        finder.find("b.jpg", "")
    later = put("set/b.jpg")
    assert finder.find("b.jpg", "") == later


def test_a_missing_image_is_told_with_names_and_directories(tmp_path: Path) -> None:
    finder = ImageFinder([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(LstError) as caught:
        finder.find(f"COCO_val2014_{COCO}", URL, image_id=42)
    message = caught.value.message
    assert message.startswith("image 42 not found")
    assert "\n" not in message
    for text in (f"train2017/{COCO}", f"COCO_val2014_{COCO}", f" {COCO} in", "one, ", "two"):
        assert text in message
    assert "--images" in (caught.value.hint or "")


def test_no_name_and_no_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LstError, match="image 3 has neither file_name nor coco_url"):
        ImageFinder([tmp_path]).find("", "", image_id=3)
    with pytest.raises(LstError, match="no directory at all"):
        find_image([], "a.jpg", "")
