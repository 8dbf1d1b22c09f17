from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lst_cli.errors import LstError
from lst_cli.images.kinds import suffixes
from lst_cli.predict.loose_images import LooseImage, list_images, measure_images

Put = Callable[..., Path]


def unexpected(path: Path, error: LstError) -> None:
    pytest.fail(f"{path}: {error}")


def names(found: list[LooseImage]) -> list[str]:
    return [image.name.as_posix() for image in found]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def put(name: str, width: int = 4, height: int = 3, orientation: int | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        Image.new("RGB", (width, height)).save(
            path, format=None if "." in name else "PNG", exif=exif
        )
        return path

    return put


@pytest.mark.parametrize(
    ("there", "places", "found"),
    [
        # everything below a directory, in the order of numbers
        (
            "d/10.png d/9.JPG d/sub/1.png d/b.png d/.hidden.png d/.h/x.png",
            ["d"],
            ["9.JPG", "10.png", "b.png", "sub/1.png"],
        ),
        # numbers that are equal still have an order
        ("d/1.png d/01.png d/001.png", ["d"], ["001.png", "01.png", "1.png"]),
        # as they were named, each once
        ("d/b.png d/a.png", ["d/b.png", "d", "d/../d/b.png"], ["b.png", "a.png"]),
        # a file that is named needs no suffix
        ("d/a", ["d/a"], ["a"]),
        # the directory of results is left out only where it lies below
        ("d/a.png d/out/old.png", ["d"], ["a.png"]),
        ("d/a.png d/out/old.png", ["d/out"], ["old.png"]),
    ],
)
def test_images_are_listed_as_they_were_named(put, tmp_path, there, places, found):
    for name in there.split():
        put(name)
    (tmp_path / "d" / "notes.txt").write_text("no image")
    listed = list_images([tmp_path / place for place in places], without=tmp_path / "d/out")
    assert names(listed) == found


@pytest.mark.parametrize("suffix", ["HEIC", "heif", "dng", "NEF", "cr2", "rw2", "jxl", "psd"])
def test_pictures_of_formats_that_are_not_read_are_listed_and_left_out_with_a_reason(
    put, tmp_path, suffix
):
    put("d/a.png")
    (tmp_path / f"d/alone.{suffix}").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / f"d/a.{suffix}").write_bytes(b"the raw photo of a.png")
    found = list_images([tmp_path / "d"])
    assert names(found) == ["a.png", f"alone.{suffix}"]
    left_out: dict[Path, LstError] = {}
    measure_images(found, left_out.__setitem__)
    assert "it is a HEIC photo" in left_out[tmp_path / f"d/alone.{suffix}"].message


@pytest.mark.parametrize("end", [".jp2", ".avif", ".jfif", ".JPE", ".webp", ".pgm", ".TIFF"])
def test_a_directory_s_images_are_those_of_every_format_that_is_decoded(tmp_path, end):
    if end not in suffixes() and end.islower():
        pytest.skip("this Pillow does not know the format")
    path = tmp_path / f"a{end}"
    try:
        Image.new("RGB", (4, 3)).save(path)
    except (OSError, ValueError):
        pytest.skip("this Pillow does not write the format")
    for other in ("a.dds", "a.pdf", "a.jpg.txt", "jpg"):
        (tmp_path / other).touch()
    found = list_images([tmp_path])
    assert [image.path for image in found] == [path]
    assert measure_images(found, unexpected)[1].widths.tolist() == [4]


@pytest.mark.parametrize(
    ("place", "message", "hint"),
    [
        ("gone.png", r"gone\.png: no such file or directory", "name image files"),
        ("g*.png", r"g\*\.png: no such file or directory", "without quotes the shell"),
        ("file/a.png", r"file/a\.png: no such file", "name image files"),
        ("", "no images in it", "JPEG, PNG"),
        ("x" * 300, "cannot be read: File name too long", "make it readable"),
        (None, "no image was named", "name image files"),
    ],
)
def test_what_is_not_there_and_what_holds_no_images_is_named(tmp_path, place, message, hint):
    (tmp_path / "file").touch()
    with pytest.raises(LstError, match=message) as caught:
        list_images([] if place is None else [tmp_path / place])
    assert hint in (caught.value.hint or "")


def test_sizes_are_those_of_the_upright_images_and_broken_headers_are_told(put, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("not an image")
    files = list_images([put("a.jpg", 8, 6), broken, put("b.jpg", 8, 6, orientation=6)])
    done: list[tuple[str, int, int | None]] = []
    left_out: dict[Path, LstError] = {}
    usable, table = measure_images(
        files, left_out.__setitem__, progress=lambda *step: done.append(step)
    )
    assert names(usable) == ["a.jpg", "b.jpg"]
    assert left_out[broken].message == f"cannot decode the image {broken}: it is text"
    assert table.heights.tolist() == [6, 8]
    assert table.widths.tolist() == [8, 6]
    assert table.ids.tolist() == [0, 1]
    assert done == [("headers", number, 3) for number in (1, 2, 3)]


def test_no_image_at_all_is_an_empty_table():
    _, table = measure_images([], unexpected)
    assert len(table) == 0
    assert table.heights.dtype == np.int32
