"""Image files, looked at and decoded to what the model takes.

Only Pillow decodes, so that an image is the same on every machine, whatever its file format says
about colour.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from lst_cli.errors import LstError
from lst_cli.files import open_regular
from lst_cli.images.kinds import HEAD, describe, describe_tiff, formats

MAX_PIXELS = 200_000_000
"""The largest image that is read. Decoding takes four bytes a pixel, in each worker."""

# Pillow's own bound is lower than ours and names no size; from here on it refuses absurd ones.
Image.MAX_IMAGE_PIXELS = 2**32
# Text beside the pixels, which scanners and image editors write by the megabyte.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**28

_ORIENTATION = 0x0112
# How each EXIF orientation is undone. 5 to 8 swap height and width.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STORED = {**_UPRIGHT, 6: _UPRIGHT[8], 8: _UPRIGHT[6]}
FIND_ALL = "; lst check --decode finds all such images"
_AGAIN = f"copy or download it again{FIND_ALL}"
_REPLACE = "put the image itself in its place, or correct file_name in the annotation file"
_SMALLER = "make it smaller, or cut it into tiles, and its annotations with it"


class ImageSizeError(LstError):
    """An image has another size than its annotation file states."""


def load_image(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image into RGB, upright as its annotations see it.

    Annotators mostly saw what a viewer shows, which is the image turned as its EXIF orientation
    says; some tools show the pixels as stored. The stated size, height and width in pixels, tells
    which: if the turned image has it, the image is turned (also by 180 degrees or mirrored, where
    both sizes agree and the viewer's way is likelier); if only the stored image has it, it stays as
    stored. Without a size it is turned.

    Grey, palette, CMYK and YCbCr images are converted. Transparency is dropped, not blended: the
    colours below it count. Of 16 bits the upper 8 are kept. Of several frames the first is read.

    Raises an `ImageSizeError` if the image has another size than stated, and another `LstError` if
    the file cannot be read or decoded, is cut short, or has more than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        turn = size is None or _turn(path, image, orientation, size)
        pixels = _to_rgb(path, image)
        pixels.load()
        turned = image.format == "TIFF"  # by Pillow
        if orientation == 1 or turn == turned:
            return pixels
        return pixels.transpose((_UPRIGHT if turn else _STORED)[orientation])


def check_image_size(path: Path, size: tuple[int, int]) -> None:
    """Compare an image's size with the stated one, with `load_image`'s errors, by its header."""
    with _opened(path) as image:
        if image.size != size[::-1]:  # else as stored, or turned by 180 degrees
            _turn(path, image, _orientation(image), size)  # asking EXIF may decode a PNG


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as a viewer shows it, from its header."""
    with _opened(path) as image:
        return _upright(image, _orientation(image))


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image; whatever a decoder raises below this line becomes one sentence."""
    try:
        with open_regular(path) as file:
            head = file.read(16)
            file.seek(0)
            with Image.open(file, formats=formats()) as image:
                tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
                if tags is not None and (found := describe_tiff(head, tags)):
                    raise LstError(f"cannot decode the image {path}: {found[0]}", found[1])
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise LstError(
                        f"image {path} is {width} wide and {height} high, "
                        f"{width * height / 1e6:,.0f} million pixels; images of up to "
                        f"{MAX_PIXELS / 1e6:,.0f} million are read",
                        _SMALLER,
                    )
                yield image
    except LstError:
        raise
    except FileNotFoundError as error:
        raise LstError(f"no such image: {path}", "run lst check") from error
    except Exception as error:  # of damaged bytes Pillow's decoders raise every kind
        reason, hint = _reason(path, error)
        raise LstError(f"cannot decode the image {path}: {reason}", hint) from error


def _reason(path: Path, error: Exception) -> tuple[str, str]:
    """What is wrong with a file that cannot be decoded, and what to do."""
    if isinstance(error, MemoryError):
        return "there is not enough memory", "close other programs, or set data.workers lower"
    if isinstance(error, OSError) and error.strerror:
        if error.errno in (errno.EACCES, errno.EPERM):
            return error.strerror.lower(), "make it readable"
        other = error.errno in (errno.EINVAL, errno.EISDIR)
        return (error.strerror, _REPLACE) if other else (error.strerror.lower(), _AGAIN)
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS / 1e6:,.0f} million pixels", _SMALLER
    if isinstance(error, UnidentifiedImageError):
        what = None
        with suppress(OSError), open_regular(path) as file:
            what = describe(file.read(HEAD))
        return what or ("it is damaged, or no image", _AGAIN)
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if "MAX_TEXT" in reason:  # as Pillow calls it
        most = PngImagePlugin.MAX_TEXT_MEMORY // 2**20
        return f"it has more than {most} MiB of text beside the pixels", "save it without metadata"
    return reason, _AGAIN


def _orientation(image: ImageFile.ImageFile) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        if not _may_say_more(image):
            return 1
        image.load()  # which also reads what comes after the pixels
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except OSError:
        raise
    except Exception:  # broken EXIF says nothing about the pixels
        return 1
    if orientation not in _UPRIGHT:
        return 1
    if image.format == "TIFF":
        image.load()  # which turns it upright, whatever its size was said to be before
    return int(orientation)


def _may_say_more(image: ImageFile.ImageFile) -> bool:
    """Whether text or EXIF stands anywhere in a PNG; only the heads of its parts are read."""
    file = image.fp
    if file is None:
        return True
    before = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(length + 4, 1)
        return False
    finally:
        file.seek(before)


def _upright(image: ImageFile.ImageFile, orientation: int) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if orientation >= 5 and image.format != "TIFF" else (height, width)


def _turn(path: Path, image: ImageFile.ImageFile, orientation: int, size: tuple[int, int]) -> bool:
    """Tell whether EXIF's orientation is to be applied to get the stated size."""
    upright = height, width = _upright(image, orientation)
    if upright == size:
        return True
    if orientation >= 5 and upright == size[::-1]:
        return False
    raise ImageSizeError(
        f"image {path} is {width} wide and {height} high, but the annotation file says "
        f"{size[1]} and {size[0]}",
        "use the images the annotations were made for, or correct width and height",
    )


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.array(image)
        # Pillow itself would clip at 255. Older versions give 16-bit PNG as "I".
        if image.mode != "I" or image.format == "PNG" or values.max(initial=0) > 255:
            values = np.clip(values, 0, 65535) >> 8
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise LstError(
            f"image {path} holds floating-point numbers: such images are not supported",
            "save it with 8 bits a channel",
        )
    if image.mode == "P":
        # Straight to RGB Pillow warns about palettes with transparency.
        image = image.convert("RGBA")
    return image.convert("RGB")
