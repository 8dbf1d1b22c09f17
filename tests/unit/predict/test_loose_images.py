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


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def put(name: str, width: int = 4, height: int = 3, orientation: int | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        Image.new("RGB", (width, height)).save(path, exif=exif)
        return path

    return put


def unexpected(path: Path, error: LstError) -> None:
    pytest.fail(f"{path}: {error}")


def names(found: list[LooseImage]) -> list[str]:
    return [image.name.as_posix() for image in found]


def test_directories_are_looked_through_with_all_below_in_the_order_of_numbers(
    put: Put, tmp_path: Path
) -> None:
    for name in ("d/10.png", "d/9.JPG", "d/sub/1.png", "d/b.png", "d/.hidden.png", "d/.h/x.png"):
        put(name)
    (tmp_path / "d/notes.txt").write_text("no image")
    assert names(list_images([tmp_path / "d"])) == ["9.JPG", "10.png", "b.png", "sub/1.png"]


@pytest.mark.parametrize("suffix", ["HEIC", "heif", "dng", "NEF", "cr2", "rw2", "jxl", "psd"])
def test_pictures_of_formats_that_are_not_read_are_listed_and_left_out_with_a_reason(
    put: Put, tmp_path: Path, suffix: str
) -> None:
    put("d/a.png")
    (tmp_path / f"d/alone.{suffix}").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / f"d/a.{suffix}").write_bytes(b"the raw photo of a.png")
    found = list_images([tmp_path / "d"])
    assert names(found) == ["a.png", f"alone.{suffix}"]
    left_out: dict[Path, LstError] = {}
    measure_images(found, left_out.__setitem__)
    assert "it is a HEIC photo" in left_out[tmp_path / f"d/alone.{suffix}"].message


def test_numbers_that_are_equal_still_have_an_order(put: Put, tmp_path: Path) -> None:
    for name in ("d/1.png", "d/01.png", "d/001.png"):
        put(name)
    assert names(list_images([tmp_path / "d"])) == ["001.png", "01.png", "1.png"]


def test_files_stand_as_they_were_named_each_once(put: Put, tmp_path: Path) -> None:
    b, a = put("d/b.png"), put("d/a.png")
    again = tmp_path / "d" / ".." / "d" / "b.png"
    found = list_images([b, tmp_path / "d", again])
    assert [image.path for image in found] == [b, a]
    assert names(found) == ["b.png", "a.png"]


def test_a_file_that_is_named_needs_no_suffix(put: Put) -> None:
    path = put("d/a.png")
    path = path.rename(path.with_suffix(""))
    assert names(list_images([path])) == ["a"]


def test_a_directory_of_results_is_left_out_only_where_it_lies_below(
    put: Put, tmp_path: Path
) -> None:
    put("d/a.png")
    put("d/out/old.png")
    assert names(list_images([tmp_path / "d"], without=tmp_path / "d/out")) == ["a.png"]
    assert names(list_images([tmp_path / "d/out"], without=tmp_path / "d/out")) == ["old.png"]


def test_what_is_not_there_and_what_holds_no_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(LstError, match=r"gone\.png: no such file or directory"):
        list_images([tmp_path / "gone.png"])
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(LstError, match=r"file/a\.png: no such file"):
        list_images([file / "a.png"])
    with pytest.raises(LstError, match="no images in it") as caught:
        list_images([tmp_path])
    assert "JPEG, PNG" in (caught.value.hint or "")


@pytest.mark.parametrize("end", [".jp2", ".avif", ".jfif", ".JPE", ".webp", ".pgm", ".TIFF"])
def test_a_directory_s_images_are_those_of_every_format_that_is_decoded(
    tmp_path: Path, end: str
) -> None:
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
    with pytest.raises(LstError, match="no image was named"):
        list_images([])
    with pytest.raises(LstError, match="cannot be read: File name too long"):
        list_images([tmp_path / ("x" * 300)])


def test_sizes_are_those_of_the_upright_images(put: Put) -> None:
    files = list_images([put("a.jpg", 8, 6), put("b.jpg", 8, 6, orientation=6)])
    done: list[tuple[str, int, int | None]] = []
    usable, table = measure_images(files, unexpected, progress=lambda *step: done.append(step))
    assert usable == files
    assert table.heights.tolist() == [6, 8]
    assert table.widths.tolist() == [8, 6]
    assert table.ids.tolist() == [0, 1]
    assert done == [("headers", 1, 2), ("headers", 2, 2)]


def test_a_broken_header_is_told_and_the_others_are_kept(put: Put, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("not an image")
    left_out: dict[Path, LstError] = {}
    usable, table = measure_images(list_images([broken, put("a.png")]), left_out.__setitem__)
    assert names(usable) == ["a.png"]
    assert len(table) == 1
    assert left_out[broken].message == f"cannot decode the image {broken}: it is text"


def test_no_image_at_all_is_an_empty_table() -> None:
    _, table = measure_images([], unexpected)
    assert len(table) == 0
    assert table.heights.dtype == np.int32
