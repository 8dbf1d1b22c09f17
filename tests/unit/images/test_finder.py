from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from lst_cli.errors import LstError
from lst_cli.images.finder import ImageFinder

COCO = "000000000042.jpg"
URL = f"http://images.cocodataset.org/train2017/{COCO}"


class Disk:
    """Files in a directory, where images are looked for in its directory `set` or in others."""

    def __init__(self, root: Path) -> None:
        self.root, self.set = root, root / "set"

    def put(self, name: str, content: str | None = None) -> Path:
        """A new file, its name as content unless given."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name if content is None else content)
        return path

    def find(self, name: str, url: str = "", dirs: Sequence[str | Path] = ("set",)) -> Path:
        return ImageFinder([self.root / one for one in dirs]).find(name, url, image_id=3)

    def error(self, name: str, url: str = "", dirs: Sequence[str | Path] = ("set",)) -> LstError:
        with pytest.raises(LstError) as caught:
            self.find(name, url, dirs)
        assert caught.value.message.startswith("image 3")
        assert "\n" not in caught.value.message
        return caught.value


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


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
        (f"data/images/{COCO}", "data/images", COCO, f"images/{COCO}"),
        # Own sets.
        ("set/train/000001.jpg", "set", "train/000001.jpg", ""),
        ("set/train/000001.jpg", "set/train", "train/000001.jpg", ""),
        ("set/a/b/c.png", "set", "a/b/c.png", ""),
        ("set/c.png", "set", "a/b/c.png", ""),
        ("set/a b.jpg", "set", "", "http://host/set/a%20b.jpg?size=big"),
        ("set/train/c.png", "set", "train\\c.png", ""),
        ("set/train/c.png", "set", "/train/c.png", ""),
        ("set/train/c.png", "set", "./train//c.png", ""),
        ("set/c.png", "set", "http://host/set/c.png?size=big", ""),
        # Deeper, in the layouts of other tools.
        ("set/images/train/c.png", "set", "c.png", ""),
        ("set/images/train/c.png", "set", "train/c.png", ""),
        ("set/images/val/c.png", "set", "valid/c.png", ""),
        ("set/train/images/c.png", "set", "c.png", ""),
        ("set/train/images/c.png", "set", "train/c.png", ""),
        ("set/train/images/c.png", "set", "/home/me/train/c.png", ""),
        ("set/VOC/VOC2012/JPEGImages/c.png", "set", "images/c.png", ""),
        ("set/default/data/c.png", "set", "", "http://host/data/c.png"),
        (f"set/coco/images/train2017/{COCO}", "set", "", URL),
        (f"set/coco/images/train2017/{COCO}", "set", f"COCO_val2014_{COCO}", ""),
        ("set/my set/seq 1/c.png", "set", "seq 1/c.png", ""),
        ("set/a/b/c/c.png", "set/a", "a/b/c/c.png", ""),
        # The same name as another system spells it.
        ("set/my photo.jpg", "set", "my%2520photo.jpg", ""),
        ("set/my photo.jpg", "set", "", "http://host/x/my+photo.jpg"),
        ("set/my%20photo.jpg", "set", "", "http://host/x/my%20photo.jpg"),
        ("set/IMG_1.JPG", "set", "img_1.jpg", ""),
        ("set/Train/IMG_1.JPG", "set", "train/img_1.jpg", ""),
        ("set/cafe\u0301/cafe\u0301.jpg", "set", "caf\u00e9/caf\u00e9.jpg", ""),
        ("set/STRASSE.jpg", "set", "stra\u00dfe.jpg", ""),
        ("set/c.png", "set", "c.png ", ""),
        ("set/train\\c.png", "set", "train/c.png", ""),
        ("set/train%2Fc.png", "set", "train/c.png", ""),
        ("set/12_30_00.png", "set", "12:30:00.png", ""),
        ("set/images/train/My Photo.JPG", "set", "train/my%20photo.jpg", ""),
        ("set/a&amp;b.jpg", "set", "a&b.jpg", ""),
        ("set/caf\u00e9.jpg", "set", "caf&#233;.jpg", ""),
        ("set/caf\u00e9.jpg", "set", "caf\u00c3\u00a9.jpg", ""),
        ("set/\u251c\u2310.jpg", "set", "\u00e9.jpg", ""),
        ("set/\u5c71.jpg", "set", "\u00e5\u00b1\u00b1.jpg", ""),
        ("set/t1.jpg", "set", "\uff54\uff11.jpg", ""),
        ("set/train/t.jpg", "set", "train\uff0ft.jpg", ""),
        ("set/name.jpg", "set", "na\u200bme.jpg", ""),
        ("set/\ufeffname.jpg", "set", "name.jpg", ""),
        ("set/\u2600\ufe0f.jpg", "set", "\u2600.jpg", ""),
        ("set/Istanbul.jpg", "set", "\u0130stanbul.jpg", ""),
        ("set/d\u0131z.jpg", "set", "DIZ.jpg", ""),
        ("set/\u00bd.jpg", "set", "1\u20442.jpg", ""),
        ("set/a#1.jpg", "set", "", "http://host/x/a#1.jpg"),
        ("set/what?.jpg", "set", "", "http://host/x/what?.jpg"),
        ("set/a.jpg", "set", "", "http://host/x/a.jpg#1.jpg"),
        # Deep down.
        ("set/a/b/c/train/x.jpg", "set", "x.jpg", ""),
        ("set/a/b/c/train/x.jpg", "set", "train/x.jpg", ""),
        (f"set/a/b/c/d/e/f/g/{COCO}", "set", "", URL),
        ("/".join(("set", *"abcdefghij", "x.jpg")), "set", "x.jpg", ""),
        # `..` and absolute names that stay below the directory.
        ("set/images/c.png", "set/images", "../images/c.png", ""),
        ("set/images/c.png", "set", "annotations/../images/c.png", ""),
        ("set/c.png", "set", "/elsewhere/c.png", ""),
        ("set/c.png", "set", "C:\\photos\\c.png", ""),
    ],
)
def test_an_image_is_found_whichever_way_it_is_stored(disk, stored, directory, file_name, coco_url):
    path = disk.put(stored)
    assert disk.find(file_name, coco_url, [directory]) == path


def test_an_absolute_name_leads_only_below_a_given_directory(disk):
    path = disk.put("somewhere/a.jpg")
    disk.put("else/b.jpg")
    for directory in ("somewhere", "", Path("/")):
        assert disk.find(str(path), dirs=[directory]) == path
    for dirs in ([], ["else"], ["some"]):
        error = disk.error(str(path), dirs=dirs)
        assert "is not below any directory" in error.message
        assert error.hint == f"--images {disk.root / 'somewhere'}"


def test_an_absolute_name_below_a_link_to_the_directory_is_found(disk):
    path = disk.put("somewhere/a.jpg")
    (disk.root / "link").symlink_to(disk.root / "somewhere")
    assert disk.find(str(path), dirs=["link"]).samefile(path)
    assert disk.find(str(disk.root / "link/a.jpg"), dirs=["somewhere"]).samefile(path)


@pytest.mark.parametrize(
    "name", ["../secret/a.jpg", "x/../../secret/a.jpg", "..\\secret\\a.jpg", "./.././secret/a.jpg"]
)
def test_a_name_with_two_dots_leads_only_below_a_given_directory(disk, name):
    path = disk.put("secret/a.jpg")
    disk.put("set/x/b.jpg")
    error = disk.error(name)
    assert "is not below any directory" in error.message
    assert error.hint == f"--images {disk.root / 'secret'}"
    assert disk.find(name, dirs=["set", "secret"]) == path


@pytest.mark.parametrize(
    ("directory", "stored", "name"),
    [
        ("set", "seq02/0001.jpg", "seq01/0001.jpg"),
        ("set", "frames/seq02/0001.jpg", "frames/seq01/0001.jpg"),
        ("set", "images/val/0001.jpg", "train/0001.jpg"),
        ("set", "train/0001.jpg", "val/0001.jpg"),
        ("set/train", "0001.jpg", "val/0001.jpg"),
        ("set", "cam2/seq1/0001.jpg", "cam1/seq1/0001.jpg"),
        ("set", "/".join((*"abcdefghijk", "0001.jpg")), "0001.jpg"),
        ("set", ".hidden/0001.jpg", "0001.jpg"),
    ],
)
def test_an_image_is_not_taken_from_a_directory_in_conflict(disk, directory, stored, name):
    disk.put(f"{directory}/{stored}")
    assert "not found" in disk.error(name, dirs=[directory]).message


def test_a_name_to_the_letter_wins_over_one_spelled_otherwise(disk):
    names = ("IMG_1.JPG", "img_1.jpg", "my%20photo.jpg", "my photo.jpg")
    for name in names:
        disk.put(f"set/{name}", name)
        disk.put(f"deep/x/y/{name}", name)
    for name in names:
        for directory in ("set", "deep"):
            assert disk.find(name, dirs=[directory]).read_text() == name


@pytest.mark.parametrize(
    ("one", "two", "name"),
    [
        ("IMG_1.JPG", "img_1.jpg", "Img_1.jpg"),
        ("a%20b.jpg", "a+b.jpg", "a b.jpg"),
        ("x/seq/c.jpg", "y/seq/c.jpg", "seq/c.jpg"),
        ("p/c.jpg", "q/c.jpg", "c.jpg"),
        ("train/1.jpg", "val/1.jpg", "1.jpg"),
    ],
)
def test_two_files_that_can_be_meant_are_both_named_if_they_differ(disk, one, two, name):
    first, second = disk.put(f"set/{one}"), disk.put(f"set/{two}")
    error = disk.error(name)
    assert error.message == f"image 3 could be {first} or {second}, which differ"
    assert "--images" in (error.hint or "")
    second.write_text(first.read_text())
    assert disk.find(name) == first


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("train/images/a.png", "train/masks/a.png"),
        ("a/b/c/a.png", "a/b/c/d/a.png"),  # what lies near goes before what lies deep
        ("a/b/c/d/train/images/a.png", "a/b/c/d/train/masks/a.png"),
    ],
)
def test_pictures_are_taken_rather_than_masks_and_near_ones_first(disk, better, worse):
    disk.put(f"set/{worse}")
    assert disk.put(f"set/{better}") == disk.find("a.png")


LONG = "x" * 300


@pytest.mark.parametrize(
    ("file_name", "coco_url"),
    [
        (f"{LONG}.jpg", ""),
        (f"{LONG}/a.jpg", ""),
        (f"/{LONG}/a.jpg", ""),
        ("a/" * 3000 + "a.jpg", ""),
        ("é" * 200 + ".jpg", ""),
        ("", f"http://host/images/{LONG}.jpg"),
        ("", f"http://host/{LONG}/a.jpg"),
        ("circle/a.jpg", ""),
        ("file/a.jpg", ""),
        ("a\ud800b.jpg", ""),
        ("\ud800/b.jpg", ""),
        ("%ED%A0%80.jpg", "http://host/%00/%ff.jpg"),
        ("%", "http://host/%"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_missing_image(disk, file_name, coco_url):
    disk.put("set/file")
    (disk.set / "circle").symlink_to(disk.set / "circle")
    assert not ImageFinder([disk.set]).is_listed(file_name, coco_url)
    assert "image 3 not found" in disk.error(file_name, coco_url).message


@pytest.mark.parametrize(
    "name", ["a\0b.jpg", "a\0/b.jpg", ".", "..", "/", "a/", "a/..", "\\", "\0"]
)
@pytest.mark.parametrize("url", ["", "http://[", "http://host/", "//["])
def test_what_names_no_file_is_said(disk, name, url):
    assert not ImageFinder([disk.root]).is_listed(name, url)
    error = disk.error(name, url)
    assert error.message.startswith("image 3: file_name ")
    assert error.message.endswith(" names no file")
    assert error.hint == "correct it in the annotation file"
    assert error.message.isprintable()


@pytest.mark.parametrize("name", ["/proc/self/environ", "/dev/zero", "/sys", "../pipe", "../x"])
def test_what_is_no_file_is_not_proposed(disk, name):
    disk.set.mkdir()
    (disk.root / "x").mkdir()
    os.mkfifo(disk.root / "pipe")
    hint = (disk.error(name).hint or "").replace("--images DIR", "")
    assert "--images" not in hint


def test_the_kernel_s_directories_are_not_looked_through(disk):
    assert "no picture is there" in disk.error("environ", dirs=["/proc"]).message


def test_no_directory_is_left_out_because_another_is_deep(disk, monkeypatch):
    monkeypatch.setattr("lst_cli.images.tree._MOST_DIRECTORIES", 5)
    disk.put("one/a/b/c/d/e/x.jpg")
    path = disk.put("two/p/q.jpg")
    assert disk.find("q.jpg", dirs=["one", "two"]) == path
    first, _ = disk.put(f"one/a/b/{COCO}"), disk.put(f"two/p/{COCO}")
    assert disk.find("", URL, ["one", "two"]) == first


@pytest.mark.parametrize("url", ["http://[", "http://host/", "http://a]/x.jpg"])
def test_a_bad_url_beside_a_good_name_does_no_harm(disk, url):
    path = disk.put("set/a.jpg")
    assert disk.find("a.jpg", url) == path
    assert "x" in url or "names no file" in disk.error("", url).message


@pytest.mark.parametrize(
    ("stored", "name", "message", "hint"),
    [
        ("c.png", "c.jpg", "there is {set}/c.png", "correct file_name"),
        ("C.PNG", "c.jpg", "there is {set}/C.PNG", "correct file_name"),
        ("seq2/c.jpg", "seq1/c.jpg", "{set}/seq2/c.jpg lies in another", "--images {set}/seq2"),
        ("photo-0017.jpg", "photo_0017.jpg", "there is {set}/photo-0017", "correct file_name"),
        ("my photo.jpg", "my_photo.jpg", "there is {set}/my photo", "correct file_name"),
        ("my-photo.jpg", "my photo.jpg", "there is {set}/my-photo", "correct file_name"),
        ("0001.jpg", "1.jpg", "there is {set}/0001.jpg", "correct file_name"),
        ("c.jpg.jpg", "c.jpg", "there is {set}/c.jpg.jpg", "correct file_name"),
        ("c.HEIC", "c.jpg", "there is {set}/c.HEIC", "correct file_name"),
        ("c.jpg", "c", "there is {set}/c.jpg", "correct file_name"),
        ("c.jpg", "c_jpg.rf.8b1c2d.jpg", "there is {set}/c.jpg", "correct file_name"),
        ("c.jpg", "c.jpg.rf.8b1c2d.jpg", "there is {set}/c.jpg", "correct file_name"),
        ("1a2b3c4d-c.jpg", "c.jpg", "there is {set}/1a2b3c4d-c.jpg", "correct file_name"),
        ("holidays.jpg", "holiday.jpg", "the nearest name is {set}/holidays", "correct file_name"),
        ("holiday.jpg", "0123456.png", "for instance {set}/holiday.jpg", "copy"),
        ("photo_0018.jpg", "photo_0017.jpg", "no file there has a similar name", "copy"),
        ("v0104.jpg", "1.jpg", "no file there has a similar name", "copy"),
        ("._c.jpg", "c.jpg", "no picture is there", "copy"),
        ("c.jpg.lock", "c.jpg", "no picture is there", "copy"),
        ("train.json", "train.jpg", "no picture is there", "copy"),
        ("images.zip", "image.jpg", "no picture is there", "copy"),
    ],
)
def test_a_missing_image_is_reported_with_the_nearest_name(disk, stored, name, message, hint):
    disk.put(f"set/{stored}")
    error = disk.error(name)
    assert message.format(set=disk.set) in error.message
    assert hint.format(set=disk.set) in (error.hint or "")
    assert not (error.hint or "").startswith("give the directory")


def test_links_that_lead_round_in_a_circle_are_followed_once(disk):
    path = disk.put("set/a/b/c.jpg")
    (disk.set / "a/again").symlink_to(disk.set)
    assert disk.find("c.jpg") == path
    disk.put("elsewhere/d.jpg")
    (disk.set / "photos").symlink_to(disk.root / "elsewhere")
    assert disk.find("d.jpg") == disk.set / "photos/d.jpg"


def test_a_huge_tree_is_searched_up_to_a_limit_that_is_named(disk, monkeypatch):
    monkeypatch.setattr("lst_cli.images.tree._MOST_DIRECTORIES", 3)
    for number in range(5):
        disk.put(f"set/{number}/x.jpg")
    assert f"its first 2 files; not in {disk.set}/2, say" in disk.error("c.jpg").message


def test_directories_are_searched_in_order(disk):
    first, second = disk.put(f"one/train2017/{COCO}"), disk.put(f"two/train2017/{COCO}")
    for dirs, found in (("one", "two"), first), (("two", "one"), second), (("no", "two"), second):
        assert disk.find("", URL, dirs) == found


@pytest.mark.parametrize(
    ("own", "other", "found"),
    [
        ((4, 6), (4, 6), "few/deep/a.png"),  # not the first place by the other rules
        ((6, 4), (4, 6), "set/a.png"),
        ((6, 4), (6, 4), "few/deep/a.png"),  # so that its size is told
        (None, (6, 4), "set/a.png"),
        ((6, 4), None, "few/deep/a.png"),
    ],
)
def test_an_image_is_looked_for_behind_if_it_is_not_there_in_its_size(disk, own, other, found):
    for name, size in (("few/deep/a.png", own), ("set/a.png", other)):
        if size is not None:
            Image.new("RGB", size[::-1]).save(disk.put(name))
    finder = ImageFinder([disk.root / "few"], behind=[disk.set])
    assert finder.find("a.png", "", size=(4, 6)) == disk.root / found
    assert finder.is_listed("a.png", "")


def test_directories_behind_do_not_decide_between_two_files_and_are_named(disk):
    for name in ("few/x/a.png", "few/y/a.png", "set/a.png"):
        disk.put(name)
    finder = ImageFinder([disk.root / "few"], behind=[disk.set])
    with pytest.raises(LstError, match=r"few/x/a.png or .*few/y/a.png, which differ"):
        finder.look_up("a.png", "", size=(4, 6))
    with pytest.raises(LstError, match=f"looked for b.png in {disk.root / 'few'}, {disk.set} and"):
        finder.find("b.png", "")
    assert not finder.is_listed("b.png", "")


@pytest.mark.parametrize("dirs", [["set"], ["set/train", "set/val"], ["set/val", "set/train"]])
def test_the_directory_in_a_name_decides_between_parts(disk, dirs):
    train, val = disk.put("set/train/000001.jpg"), disk.put("set/val/000001.jpg")
    assert disk.find("train/000001.jpg", dirs=dirs) == train
    assert disk.find("val/000001.jpg", dirs=dirs) == val
    assert disk.find("000001.jpg", "http://host/set/val/000001.jpg", dirs) == val


def test_where_an_image_is_found_does_not_depend_on_earlier_ones(disk):
    path = disk.put("set/b.jpg")
    disk.put("set/images/a.jpg")
    disk.put("set/images/b.jpg")
    used = ImageFinder([disk.set])
    used.find("a.jpg", "")
    assert used.find("b.jpg", "") == disk.find("b.jpg") == path


def test_an_image_that_came_later_is_found_as_if_it_had_always_been_there(disk):
    disk.put("set/images/a.jpg")
    finder = ImageFinder([disk.set])
    assert finder.look_up("b.jpg", "") is None
    disk.put("set/images/b.jpg")
    later = disk.put("set/b.jpg")
    for _ in range(2):
        assert finder.find("b.jpg", "") == later
    assert finder.is_listed("b.jpg", "")


def test_a_missing_image_is_reported_with_names_and_directories(disk):
    message = disk.error(f"COCO_val2014_{COCO}", URL, ["one", "two"]).message
    assert message.startswith("image 3 not found")
    for text in (f"train2017/{COCO}", f"COCO_val2014_{COCO}", f" {COCO} in", "one, ", "two"):
        assert text in message


def test_no_name_and_no_directory_are_refused(disk):
    assert disk.error("").message == "image 3 has neither file_name nor coco_url"
    error = disk.error("a.jpg", dirs=[])
    assert "no directory is given" in error.message
    assert "--images DIR" in (error.hint or "")
