"""Image files: found, looked at and decoded to what the model takes.

Decoding uses Pillow alone, so that every image comes out the same on every
machine, whatever its file format says about colour.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lst_cli.data.image_finder import ImageFinder, find_image
from lst_cli.errors import LstError
from lst_cli.files import open_regular

__all__ = [
    "ImageFinder",
    "ImageSizeError",
    "check_image_size",
    "find_image",
    "read_image",
    "upright_size",
]

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
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageSizeError(LstError):
    """An image has another size than its annotation file states."""


def read_image(path: Path, expected_height: int, expected_width: int) -> npt.NDArray[np.uint8]:
    """Decode an image into RGB, upright as its annotations see it.

    Annotators mostly saw what a viewer shows, which is the image turned as its
    EXIF orientation says; some tools show the pixels as stored. The stated size
    tells which: if the turned image has it, the image is turned (also by 180
    degrees or mirrored, where both sizes agree and the viewer's way is the
    likelier); if only the stored image has it, it stays as stored.

    Grey, palette, CMYK and YCbCr images are converted. Transparency is dropped,
    not blended: the colours below it count. Of 16 bits the upper 8 are kept.
    Of several frames the first is read.

    Args:
        path: The file.
        expected_height: Height in pixels as the annotation file states it.
        expected_width: Width in pixels as the annotation file states it.

    Returns:
        Pixels, uint8, shape (height, width, 3), red first, writable.

    Raises:
        ImageSizeError: If the image has another size than stated.
        LstError: If the file cannot be read or decoded, or is cut short.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        turn = _turn(path, image.size, orientation, expected_height, expected_width)
        pixels = _to_rgb(path, image)
        return np.array(pixels.transpose(_UPRIGHT[orientation]) if turn else pixels)


def check_image_size(path: Path, expected_height: int, expected_width: int) -> None:
    """Compare an image's size with the stated one, reading only its header.

    Raises:
        ImageSizeError: If the header tells another size.
        LstError: If the header cannot be read.
    """
    with _opened(path) as image:
        if image.size == (expected_width, expected_height):
            return  # as stored, or turned by 180 degrees; asking EXIF may decode a PNG
        _turn(path, image.size, _orientation(image), expected_height, expected_width)


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as a viewer shows it, from its header.

    `read_image` turns an image upright when these are stated.

    Raises:
        LstError: If the header cannot be read.
    """
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with open_regular(path) as file, Image.open(file) as image:
            yield image
    except FileNotFoundError as error:
        raise LstError(f"no such image: {path}", "run lst check") from error
    except (
        OSError,  # also Pillow's own for unknown formats and cut files
        SyntaxError,  # broken PNG
        ValueError,
        EOFError,
        IndexError,
        TypeError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise LstError(
            f"cannot decode the image {path}: {_reason(path, error)}",
            "copy or download it again; lst check --decode finds all such images",
        ) from error


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "cannot identify image file"
    return str(error) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1  # broken EXIF says nothing about the pixels
    return orientation if orientation in _UPRIGHT else 1


def _turn(path: Path, size: tuple[int, int], orientation: int, height: int, width: int) -> bool:
    """Tell whether EXIF's orientation is to be applied.

    Raises:
        ImageSizeError: If the image has the stated size neither way.
    """
    stored = size
    upright = (size[1], size[0]) if orientation >= 5 else size
    if upright == (width, height):
        return orientation != 1
    if stored == (width, height):
        return False
    raise ImageSizeError(
        f"image {path} is {upright[0]} wide and {upright[1]} high, but the annotation file says "
        f"{width} and {height}",
        "use the images the annotations were made for, or correct width and height",
    )


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        values = np.array(image)
        # Pillow itself would clip at 255. Older versions give 16-bit PNG as "I".
        if image.mode != "I" or image.format == "PNG" or values.max(initial=0) > 255:
            values = np.clip(values, 0, 65535) >> 8
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise LstError(
            f"image {path} holds floating-point numbers, which have no agreed white",
            "save it with 8 bits a channel",
        )
    if image.mode == "P":
        # Straight to RGB Pillow warns about palettes with transparency.
        image = image.convert("RGBA")
    return image.convert("RGB")
