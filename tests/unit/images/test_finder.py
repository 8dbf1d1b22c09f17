from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lst_cli.errors import LstError
from lst_cli.images.finder import ImageFinder

COCO = "000000000042.jpg"
URL = f"http://images.cocodataset.org/train2017/{COCO}"


def find_image(dirs: list[Path], file_name: str, coco_url: str) -> Path:
    return ImageFinder(dirs).find(file_name, coco_url)


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
        ("set/train/c.png", "set", "/train/c.png", ""),
        ("set/train/c.png", "set", "./train//c.png", ""),
        ("set/c.png", "set", "", "http://host/set/c.png"),
        ("set/c.png", "set", "http://host/set/c.png?size=big", ""),
        # Deeper, in the layouts of other tools.
        ("set/images/train/c.png", "set", "c.png", ""),
        ("set/images/train/c.png", "set", "train/c.png", ""),
        ("set/images/val/c.png", "set", "valid/c.png", ""),
        ("set/train/images/c.png", "set", "c.png", ""),
        ("set/train/images/c.png", "set", "train/c.png", ""),
        ("set/train/images/c.png", "set", "/home/me/train/c.png", ""),
        ("set/JPEGImages/c.png", "set", "c.png", ""),
        ("set/VOC/VOC2012/JPEGImages/c.png", "set", "images/c.png", ""),
        ("set/default/data/c.png", "set", "", "http://host/data/c.png"),
        (f"set/coco/images/train2017/{COCO}", "set", "", URL),
        (f"set/coco/images/train2017/{COCO}", "set", f"COCO_val2014_{COCO}", ""),
        ("set/my set/seq 1/c.png", "set", "seq 1/c.png", ""),
        ("set/a/b/c/c.png", "set/a", "a/b/c/c.png", ""),
        # The same name as another system spells it.
        ("set/my photo.jpg", "set", "my%20photo.jpg", ""),
        ("set/my photo.jpg", "set", "my%2520photo.jpg", ""),
        ("set/my photo.jpg", "set", "", "http://host/x/my+photo.jpg"),
        ("set/my%20photo.jpg", "set", "my photo.jpg", ""),
        ("set/my%20photo.jpg", "set", "", "http://host/x/my%20photo.jpg"),
        ("set/IMG_1.JPG", "set", "img_1.jpg", ""),
        ("set/img_1.jpg", "set", "IMG_1.JPG", ""),
        ("set/Train/IMG_1.JPG", "set", "train/img_1.jpg", ""),
        ("set/caf\u00e9.jpg", "set", "cafe\u0301.jpg", ""),
        ("set/cafe\u0301/cafe\u0301.jpg", "set", "caf\u00e9/caf\u00e9.jpg", ""),
        ("set/STRASSE.jpg", "set", "stra\u00dfe.jpg", ""),
        ("set/c.png", "set", "c.png ", ""),
        ("set/c.png ", "set", "c.png", ""),
        ("set/train\\c.png", "set", "train/c.png", ""),
        ("set/train\\c.png", "set", "train\\c.png", ""),
        ("set/train%2Fc.png", "set", "train/c.png", ""),
        ("set/train/c.png", "set", "train%2Fc.png", ""),
        ("set/12_30_00.png", "set", "12:30:00.png", ""),
        ("set/images/train/My Photo.JPG", "set", "train/my%20photo.jpg", ""),
        ("set/a&b.jpg", "set", "a&amp;b.jpg", ""),
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


def test_an_absolute_name_leads_only_below_a_given_directory(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    path = put("somewhere/a.jpg")
    put("else/b.jpg")
    assert find_image([tmp_path / "somewhere"], str(path), "") == path
    assert find_image([tmp_path], str(path), "") == path
    assert find_image([Path("/")], str(path), "") == path
    for dirs in ([], [tmp_path / "else"], [tmp_path / "some"]):
        with pytest.raises(LstError, match="lies below no directory") as caught:
            find_image(dirs, str(path), "")
        assert caught.value.hint == f"--images {tmp_path / 'somewhere'}"


def test_an_absolute_name_below_a_link_to_the_directory_is_found(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    path = put("somewhere/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "somewhere")
    assert find_image([tmp_path / "link"], str(path), "").samefile(path)
    assert find_image([tmp_path / "somewhere"], str(tmp_path / "link/a.jpg"), "").samefile(path)


@pytest.mark.parametrize(
    "name", ["../secret/a.jpg", "x/../../secret/a.jpg", "..\\secret\\a.jpg", "./.././secret/a.jpg"]
)
def test_a_name_with_two_dots_leads_only_below_a_given_directory(
    put: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    path = put("secret/a.jpg")
    put("set/x/b.jpg")
    with pytest.raises(LstError, match="lies below no directory") as caught:
        find_image([tmp_path / "set"], name, "")
    assert caught.value.hint == f"--images {tmp_path / 'secret'}"
    assert find_image([tmp_path / "set", tmp_path / "secret"], name, "") == path


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("set/seq02/0001.jpg", "seq01/0001.jpg"),
        ("set/frames/seq02/0001.jpg", "frames/seq01/0001.jpg"),
        ("set/images/val/0001.jpg", "train/0001.jpg"),
        ("set/cam2/seq1/0001.jpg", "cam1/seq1/0001.jpg"),
        ("/".join(("set", *"abcdefghijk", "0001.jpg")), "0001.jpg"),
        ("set/.hidden/0001.jpg", "0001.jpg"),
    ],
)
def test_an_image_is_not_taken_from_a_directory_in_conflict(
    put: Callable[..., Path], tmp_path: Path, stored: str, name: str
) -> None:
    put(stored)
    with pytest.raises(LstError, match="image 3 not found"):
        ImageFinder([tmp_path / "set"]).find(name, "", image_id=3)


def test_a_name_to_the_letter_wins_over_one_spelled_otherwise(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("IMG_1.JPG", "img_1.jpg", "my%20photo.jpg", "my photo.jpg"):
        put(f"set/{name}", name)
        put(f"deep/x/y/{name}", name)
    for directory in ("set", "deep"):
        finder = ImageFinder([tmp_path / directory])
        for name in ("IMG_1.JPG", "img_1.jpg", "my%20photo.jpg", "my photo.jpg"):
            assert finder.find(name, "").read_text() == name


@pytest.mark.parametrize(
    ("one", "two", "name"),
    [
        ("IMG_1.JPG", "img_1.jpg", "Img_1.jpg"),
        ("a%20b.jpg", "a+b.jpg", "a b.jpg"),
        ("x/seq/c.jpg", "y/seq/c.jpg", "seq/c.jpg"),
        ("p/c.jpg", "q/c.jpg", "c.jpg"),
    ],
)
def test_two_files_that_can_be_meant_are_both_named_if_they_differ(
    put: Callable[..., Path], tmp_path: Path, one: str, two: str, name: str
) -> None:
    first, second = put(f"set/{one}"), put(f"set/{two}")
    with pytest.raises(LstError, match="which differ") as caught:
        find_image([tmp_path / "set"], name, "")
    assert str(first) in caught.value.message
    assert str(second) in caught.value.message
    second.write_text(first.read_text())
    assert find_image([tmp_path / "set"], name, "") in (first, second)


def test_pictures_are_taken_rather_than_masks_of_the_same_name(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    put("set/train/masks/a.png")
    picture = put("set/train/images/a.png")
    assert find_image([tmp_path / "set"], "a.png", "") == picture


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
def test_a_name_that_no_file_can_have_is_a_missing_image(
    put: Callable[..., Path], tmp_path: Path, file_name: str, coco_url: str
) -> None:
    put("set/file")
    (tmp_path / "set/circle").symlink_to(tmp_path / "set/circle")
    finder = ImageFinder([tmp_path / "set"])
    assert not finder.is_listed(file_name, coco_url)
    with pytest.raises(LstError, match="image 3 not found"):
        finder.find(file_name, coco_url, image_id=3)


@pytest.mark.parametrize(
    "name", ["a\0b.jpg", "a\0/b.jpg", ".", "..", "/", "a/", "a/..", "\\", "\0"]
)
@pytest.mark.parametrize("url", ["", "http://[", "http://[::1", "http://host/", "//["])
def test_what_names_no_file_is_said(tmp_path: Path, name: str, url: str) -> None:
    finder = ImageFinder([tmp_path])
    assert not finder.is_listed(name, url)
    with pytest.raises(LstError, match=r"image 3: file_name .* names no file") as caught:
        finder.find(name, url, image_id=3)
    assert caught.value.hint == "correct it in the annotation file"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["/proc/self/environ", "/dev/zero", "/sys", "../pipe", "../x"])
def test_what_is_no_file_is_not_proposed(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "x").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LstError) as caught:
        find_image([tmp_path / "set"], name, "")
    hint = (caught.value.hint or "").replace("--images DIR", "")
    assert "--images" not in hint


def test_the_kernel_s_directories_are_not_looked_through() -> None:
    with pytest.raises(LstError, match="no picture is there"):
        find_image([Path("/proc")], "environ", "")


def test_no_directory_is_left_out_because_another_is_deep(
    put: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lst_cli.images.tree._MOST_DIRECTORIES", 5)
    put("one/a/b/c/d/e/x.jpg")
    path = put("two/p/q.jpg")
    dirs = [tmp_path / "one", tmp_path / "two"]
    assert find_image(dirs, "q.jpg", "") == path
    first, _ = put(f"one/a/b/{COCO}"), put(f"two/p/{COCO}")
    assert find_image(dirs, "", URL) == first


def test_what_lies_near_goes_before_what_lies_deep(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    near = put("set/a/b/c/x.jpg", "near")
    put("set/a/b/c/d/x.jpg", "deep")
    assert find_image([tmp_path / "set"], "x.jpg", "") == near


@pytest.mark.parametrize("url", ["http://[", "http://host/", "http://a]/x.jpg"])
def test_a_bad_url_beside_a_good_name_does_no_harm(
    put: Callable[..., Path], tmp_path: Path, url: str
) -> None:
    path = put("set/a.jpg")
    assert find_image([tmp_path / "set"], "a.jpg", url) == path
    with pytest.raises(LstError, match=r"coco_url .* names no file" if "x" not in url else "."):
        find_image([tmp_path / "set"], "", url)


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
def test_a_missing_image_is_told_with_the_nearest_name(
    put: Callable[..., Path], tmp_path: Path, stored: str, name: str, message: str, hint: str
) -> None:
    put(f"set/{stored}")
    with pytest.raises(LstError) as caught:
        find_image([tmp_path / "set"], name, "")
    place = tmp_path / "set"
    assert message.format(set=place) in caught.value.message
    assert hint.format(set=place) in (caught.value.hint or "")
    assert not (caught.value.hint or "").startswith("give the directory")


def test_a_directory_without_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(LstError, match="no picture is there"):
        find_image([tmp_path], "a.jpg", "")


def test_links_that_lead_round_in_a_circle_are_followed_once(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    path = put("set/a/b/c.jpg")
    (tmp_path / "set/a/again").symlink_to(tmp_path / "set")
    assert find_image([tmp_path / "set"], "c.jpg", "") == path


def test_a_huge_tree_is_searched_up_to_a_limit_that_is_told(
    put: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lst_cli.images.tree._MOST_DIRECTORIES", 3)
    for number in range(5):
        put(f"set/{number}/x.jpg")
    with pytest.raises(LstError, match=r"its first 2 files; not in .*/set/2, say"):
        find_image([tmp_path / "set"], "c.jpg", "")


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
    with pytest.raises(LstError, match="no directory at all") as caught:
        find_image([], "a.jpg", "")
    assert "--images DIR" in (caught.value.hint or "")
