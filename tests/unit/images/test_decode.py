from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from lst_cli.errors import LstError
from lst_cli.images.decode import (
    MAX_PIXELS,
    ImageSizeError,
    check_image_size,
    load_image,
    upright_size,
)

looks = pytest.mark.parametrize("look", [upright_size, load_image])

# Two rows of three pixels: red, green, blue; black, grey, white.
PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [128, 128, 128], [255, 255, 255]]],
    dtype=np.uint8,
)
GREYS = np.array([[0, 50, 100], [150, 200, 250]], dtype=np.uint8)
EXIF_ORIENTATION = 0x0112


def smooth(height: int = 40, width: int = 60) -> np.ndarray:
    """A picture that JPEG keeps nearly as it is, different in its four corners."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = rows * 255 / (height - 1), columns * 255 / (width - 1)
    return np.stack((red, green, np.full_like(red, 40)), axis=2).astype(np.uint8)


def save(image: Image.Image, path: Path, orientation: int | None = None, **options: Any) -> Path:
    if orientation is not None:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        options["exif"] = exif
    image.save(path, **options)
    return path


def close(path: Path, expected: np.ndarray) -> bool:
    """Whether the image is read as expected, where this size is stated."""
    height, width, _ = expected.shape
    read = np.asarray(load_image(path, (height, width)))
    check_image_size(path, (height, width))
    difference = np.abs(read.astype(int) - expected.astype(int))
    return read.shape == expected.shape and bool(difference.max() <= 6)


def palette() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2], [3, 3, 0]], dtype=np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    return image


def three(channel: list[list[int]]) -> list[list[list[int]]]:
    return np.repeat(np.array(channel)[:, :, None], 3, axis=2).tolist()


DEEP = np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16)
ALPHA = np.full((2, 3, 1), 7, dtype=np.uint8)
COLOURS = [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [9, 8, 7], [255, 0, 0]]]


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.fromarray(PIXELS), {}, PIXELS.tolist()),
        (Image.fromarray(GREYS), {}, three(GREYS.tolist())),
        (Image.fromarray(GREYS).convert("LA"), {}, three(GREYS.tolist())),
        (Image.fromarray(GREYS > 120), {}, three([[0, 0, 0], [255, 255, 255]])),
        # Of 16 bits the upper eight.
        (Image.fromarray(DEEP), {}, three([[0, 0, 1], [128, 254, 255]])),
        (Image.fromarray(DEEP), {"format": "TIFF"}, three([[0, 0, 1], [128, 254, 255]])),
        (palette(), {}, COLOURS),
        (palette(), {"transparency": bytes([0, 10, 255, 255])}, COLOURS),
        # Transparency is dropped, not blended.
        (Image.fromarray(np.concatenate((PIXELS, ALPHA), axis=2)), {}, PIXELS.tolist()),
    ],
)
def test_every_kind_of_colour_becomes_rgb(tmp_path, image, options, expected):
    read = load_image(save(image, tmp_path / "a.png", **options), (2, 3))
    assert read.mode == "RGB"
    assert np.asarray(read).tolist() == expected


def test_cmyk_is_converted(tmp_path):
    path = save(Image.fromarray(smooth()).convert("CMYK"), tmp_path / "a.jpg", quality=100)
    assert Image.open(path).mode == "CMYK"
    assert close(path, smooth())


def test_floating_point_is_refused(tmp_path):
    path = save(Image.fromarray(GREYS.astype(np.float32)), tmp_path / "a.tif")
    with pytest.raises(LstError, match="floating-point"):
        load_image(path)


@pytest.mark.parametrize("orientation", [*range(10), 700])  # 0, 9 and 700 mean nothing
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_every_orientation_is_undone_when_the_turned_size_is_stated(tmp_path, orientation, suffix):
    upright = smooth()
    stored = {  # how a camera stores what it should show upright
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }.get(orientation, upright)
    image = Image.fromarray(np.ascontiguousarray(stored))
    path = save(image, tmp_path / f"a.{suffix}", orientation, quality=100)
    assert close(path, upright)
    assert upright_size(path) == (40, 60)
    assert load_image(path) == load_image(path, (40, 60))
    if stored.shape != upright.shape:  # annotated as stored
        assert close(path, stored)


@pytest.mark.parametrize("look", [load_image, check_image_size])
def test_another_size_is_refused_with_both_sizes(tmp_path, look):
    plain = save(Image.fromarray(smooth()), tmp_path / "plain.jpg")
    turned = save(Image.fromarray(smooth()), tmp_path / "turned.jpg", 6)
    with pytest.raises(ImageSizeError, match=r"plain.jpg is 60 wide and 40 high, .* 40 and 60"):
        look(plain, (60, 40))
    with pytest.raises(ImageSizeError, match=r"turned.jpg is 40 wide and 60 high, .* 61 and 41"):
        look(turned, (41, 61))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_cut_image_is_refused_but_its_header_is_fine(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(noise), tmp_path / f"a.{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    check_image_size(path, (64, 64))
    with pytest.raises(LstError, match=f"cannot decode the image .*a.{suffix}: "):
        load_image(path)
    for end in range(0, 40):
        path.write_bytes(whole[:end])
        with pytest.raises(LstError):
            load_image(path)


# --- what strangers' files hold ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["JPEG", "MPO", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000"]
)
def test_every_stated_format_is_read_whatever_its_suffix(tmp_path, name):
    path = save(Image.fromarray(smooth()), tmp_path / "a.jpg", format=name)
    assert upright_size(path) == (40, 60)
    assert load_image(path).size == (60, 40)


@pytest.mark.parametrize("name", ["DDS", "EPS", "PDF", "ICO", "ICNS", "TGA", "PCX", "SGI", "IM"])
@looks
def test_any_other_format_is_refused_in_words(tmp_path, name, look):
    path = save(Image.fromarray(smooth(64, 64)), tmp_path / "a.jpg", format=name)
    with pytest.raises(LstError, match=r"cannot decode the image .*a\.jpg: it is ") as caught:
        look(path)
    assert name == "IM" or "JPEG" in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a raw photo of a camera"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b'<?xml version="1.0"?><svg></svg>', "an SVG drawing"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b'{"message": "Not Found"}', "JSON"),
        (b"PK\3\4", "a zip archive"),
        (b"\x93NUMPY\1\0", "a numpy array"),
        (b"%PDF-1.4", "a PDF"),
        (b"RIFF\0\0\0\0AVI LIST", "a video or sound"),
        (b"\0" * 4096, "nothing but zeros"),
        (b"IIU\0\x18\0\0\0", "a raw photo of a camera"),
        (b"IIRO\x08\0\0\0", "a raw photo of a camera"),
        (b"\1\0\0\0" + b"\0" * 36 + b" EMF", r"a drawing \(EMF\)"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "what macOS keeps"),
        (b"a.jpg".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
        ("hello".encode("utf-16"), "text"),
        (b"\0" * 128 + b"DICM", "a DICOM image"),
        (b"\x81" * 4096, "damaged, or no image"),
        (b"", "empty"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path, head, what):
    path = tmp_path / "a.jpg"
    path.write_bytes(head)
    with pytest.raises(LstError, match=f"it is {what}"):
        upright_size(path)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a named pipe"),
        (Path.mkdir, "a directory"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "a socket"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
        (lambda path: path.symlink_to("/proc/self/environ"), "a file of the kernel"),
        (lambda path: path.symlink_to("gone.jpg"), "a link to gone.jpg, which cannot be reached"),
        (lambda path: path.symlink_to(path.name), "a link to a.jpg, which cannot be reached"),
    ],
)
@looks
def test_what_is_no_file_is_to_be_replaced_not_downloaded(tmp_path, monkeypatch, make, what, look):
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    with pytest.raises(LstError, match=r"no such image: a\.jpg"):
        look(Path("a.jpg"))
    make(Path("a.jpg"))
    with pytest.raises(LstError, match=f"a.jpg: it is {what}") as caught:
        look(Path("a.jpg"))
    assert "put the image itself in its place" in (caught.value.hint or "")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "name", ["JPEG", "MPO", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "DDS"]
)
def test_damaged_bytes_give_pixels_or_one_sentence(tmp_path, name):
    rng = np.random.default_rng(len(name))
    path = save(Image.fromarray(smooth(24, 32)), tmp_path / "a.jpg", format=name)
    whole = path.read_bytes()
    errors = []
    for turn in range(30):
        data = bytearray(whole)
        for _ in range(3):
            place = int(rng.integers(min(len(data), 64 if turn % 2 else len(data))))
            if turn % 3 == 0:
                del data[place : place + int(rng.integers(1, 20))]
            elif turn % 3 == 1:
                data[place] ^= 1 << int(rng.integers(8))
            else:
                data[place : place + 4] = b"\xff" * 4
        path.write_bytes(data)
        for look in (upright_size, load_image):
            try:
                look(path)
            except LstError as error:
                errors.append(error)
    assert errors
    assert all(str(path) in error.message and "\n" not in error.message for error in errors)
    assert all(error.hint for error in errors)


@pytest.mark.parametrize(
    "error",
    [NotImplementedError("x"), RecursionError(), OverflowError(), MemoryError(), KeyError("x"),
     AttributeError("x"), ZeroDivisionError(), AssertionError(), RuntimeError("two\nlines")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_decoder_raises_is_one_sentence_that_names_the_file(
    tmp_path, monkeypatch, error
):
    def fail(image: object) -> None:
        raise error

    path = save(Image.fromarray(PIXELS), tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(LstError, match=r"cannot decode the image .*a\.png: [^\n]+$"):
        load_image(path)


@looks
@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({50706: b"\1\4\0\0", 330: 0}, "a raw photo of a camera"),
        ({254: 1, 271: "NIKON"}, "a raw photo of a camera"),
        ({271: "SONY", 330: 0}, "a raw photo of a camera"),
        ({254: 1}, "a small copy of an image"),
        ({254: 0, 330: 0}, None),  # a slide with its smaller copies behind it
        ({271: "SCANNER"}, None),
        ({254: 2}, None),  # a page of several
    ],
)
def test_a_raw_photo_is_not_read_as_the_small_picture_it_begins_with(tmp_path, tags, what, look):
    path = save(Image.fromarray(smooth()), tmp_path / "a.jpg", format="TIFF", tiffinfo=tags)
    if what is None:
        look(path)
        return
    with pytest.raises(LstError, match=f"it is {what}") as caught:
        look(path)
    assert caught.value.hint == "convert it to JPEG or PNG under the same name"


def test_a_raw_photo_of_canon_is_known_by_its_begin(tmp_path):
    path = save(Image.fromarray(smooth()), tmp_path / "a.tif")
    data = path.read_bytes()
    start = int.from_bytes(data[4:8], "little")
    tags = data[start:] + b"\0" * 4
    moved = data[:4] + len(data).to_bytes(4, "little") + b"CR\2\0" + data[12:]
    path.write_bytes(moved + tags)
    with pytest.raises(LstError, match="it is a raw photo of a camera"):
        load_image(path)


@pytest.mark.parametrize(
    ("bound", "packed"),
    [("MAX_TEXT_CHUNK", True), ("MAX_TEXT_MEMORY", True), ("MAX_TEXT_MEMORY", False)],
)
def test_text_beyond_the_bound_in_a_png_is_named(tmp_path, monkeypatch, bound, packed):
    monkeypatch.setattr(PngImagePlugin, bound, 2**18)
    info = PngInfo()
    info.add_text("Comment", "y" * 300_000, zip=packed)
    path = save(Image.fromarray(PIXELS), tmp_path / "a.png", pnginfo=info)
    with pytest.raises(LstError, match="MiB of text beside the pixels") as caught:
        load_image(path)
    assert caught.value.hint == "save it without metadata"


@looks
def test_an_image_beyond_the_bound_is_refused_with_its_size(tmp_path, monkeypatch, look):
    path = save(Image.fromarray(smooth()), tmp_path / "a.png")
    monkeypatch.setattr("lst_cli.images.decode.MAX_PIXELS", 2400)
    look(path)
    monkeypatch.setattr("lst_cli.images.decode.MAX_PIXELS", 2399)
    with pytest.raises(LstError, match=r"is 60 wide and 40 high, .* are read") as caught:
        look(path)
    assert "cut it into tiles" in (caught.value.hint or "")


def test_a_scan_that_pillow_alone_takes_for_an_attack_is_looked_at(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 13000 14000 255\n")
    assert MAX_PIXELS > 13000 * 14000
    assert upright_size(path) == (14000, 13000)
    path.write_bytes(b"P5 40000 40000 255\n")
    with pytest.raises(LstError, match="40000 wide and 40000 high, 1,600 million"):
        upright_size(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("international", [True, False])
def test_megabytes_of_text_in_a_png_are_no_matter(tmp_path, compressed, international):
    info = PngInfo()
    add = info.add_itxt if international else info.add_text
    add("history", "layer " * 500_000, zip=compressed)
    path = save(Image.fromarray(PIXELS), tmp_path / "a.png", pnginfo=info)
    assert upright_size(path) == (2, 3)
    assert np.asarray(load_image(path)).tolist() == PIXELS.tolist()


def test_a_png_without_exif_is_not_decoded_for_its_size(tmp_path, monkeypatch):
    def fail(image: object) -> None:
        raise AssertionError

    path = save(Image.fromarray(PIXELS), tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    assert upright_size(path) == (2, 3)


@pytest.mark.parametrize("late", [True, False])
def test_exif_may_stand_behind_the_pixels_of_a_png(tmp_path, late):
    path = save(Image.fromarray(smooth()), tmp_path / "a.png", 6)
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    if late:
        path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert upright_size(path) == (60, 40)
    assert load_image(path).size == (40, 60)
