"""What a file is that Pillow is not asked to decode, by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from lst_cli.files import kind_by_start

HEAD = 1024
"""How many bytes show what a file is."""

_READ = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

# fmt: off
_NOT_READ = (
    ".heic", ".heif", ".hif", ".jxl", ".psd", ".svg",
    # raw photos of cameras
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srf", ".srw", ".x3f",
)
# fmt: on

_CONVERT = "convert it to JPEG or PNG under the same name"
_FRAMES = "save its frames as JPEG or PNG"
_AGAIN = "copy or download it again"
_DOWNLOAD = "download the image itself"
_UNPACK = "unpack it, and give the images in it"
_HINTS = {
    "pointer": "git lfs pull",
    "image": _CONVERT,
    "arrays": "save each image in it as a PNG",
    "packed": _UNPACK,
    "pages": "export its pages as JPEG or PNG",
    "video": _FRAMES,
}

_RAW = "a raw photo of a camera"
_RAW_PHOTO = re.compile(rb"(?s)(?:II\*\0|MM\0\*)....CR|II(?:U\0|RO|RS)|MMOR")
_OPENED = re.compile(rb"\xff\xd8|\x89PNG|BM|GIF8|II\*\0|MM\0\*|\0\0\0\x0cjP  |(?s:RIFF....WEBP)")
_AVIF = "an AVIF image"
_START = rb"(?is)[\xef\xbb\xbf \t\r\n]*"  # of text, which a byte order mark may begin
_KINDS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern), what, hint)
    for pattern, what, hint in (
        (rb"(?s)....ftypavi[fs]", _AVIF, _CONVERT),
        (rb"(?s)....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", "a HEIC photo", _CONVERT),
        (rb"(?s)....ftypcrx ", _RAW, _CONVERT),
        (rb"(?s)....ftyp", "a video", _FRAMES),
        (rb"RIFF", "a video or sound", _FRAMES),
        (rb"(?s).{128}DICM", "a DICOM image", _CONVERT),
        (rb"(?s).{40} EMF", "a drawing (EMF)", _CONVERT),
        (rb"(?s).{257}ustar", "a tar archive", _UNPACK),
        (rb"\xff\xfe|\xfe\xff", "text", _DOWNLOAD),
        (rb"\0+\Z", "nothing but zeros", _AGAIN),
        (rb"\Z", "empty", _AGAIN),
        (_START + rb"<(?:!doctype html|html|head|body)", "a web page", _DOWNLOAD),
        (_START + rb".*<svg", "an SVG drawing", _CONVERT),
        (_START + rb"<", "XML", _DOWNLOAD),
        (_START + rb"[{[]", "JSON", _DOWNLOAD),
    )
)
_NO_TEXT = re.compile(rb"[\0-\x08\x0b\x0e-\x1f]")


@cache
def formats() -> tuple[str, ...]:
    """The formats that are decoded, as far as this Pillow knows them, by Pillow's names.

    No others: some decoders of Pillow start other programs, and few are safe for unknown files.
    """
    from PIL import Image

    Image.init()
    return tuple(name for name in _READ if name in Image.OPEN)


@cache
def suffixes() -> tuple[str, ...]:
    """How the names of these formats end, in small letters."""
    from PIL import Image

    read = {*formats(), "MPO"}  # several JPEGs in one
    return tuple(sorted(end for end, name in Image.registered_extensions().items() if name in read))


def is_picture_name(name: str, *, read: bool = True) -> bool:
    """Tell whether a name ends as those of pictures do: of those that are read, or of any."""
    return name.lower().endswith(suffixes() if read else (*suffixes(), *_NOT_READ))


def describe(head: bytes) -> tuple[str, str] | None:
    """What a file with these first `HEAD` bytes is that is no image to decode, and what to do.

    None where nothing is known, or where it begins like an image that is decoded.

    Example:
        >>> describe(b"<!DOCTYPE html><html>")
        ('it is a web page', 'download the image itself')
    """
    if _RAW_PHOTO.match(head):
        return _sentence(_RAW, _CONVERT)
    if _OPENED.match(head):
        return None
    if found := kind_by_start(head):
        return _sentence(found[0], _HINTS.get(found[1], _AGAIN))
    for pattern, what, hint in _KINDS:
        if pattern.match(head):
            damaged = what == _AVIF and "AVIF" in formats()
            return None if damaged else _sentence(what, hint)
    try:
        head[: HEAD - 4].decode()
    except UnicodeDecodeError:
        return None
    return None if _NO_TEXT.search(head) else _sentence("text", _DOWNLOAD)


def describe_tiff(head: bytes, tags: Mapping[int, Any]) -> tuple[str, str] | None:
    """What a TIFF is that is no image of its own, and what to do; None for an image.

    Raw photos are TIFFs that begin with a small picture of themselves, whose tags these are.
    """
    kind, maker, parts, dng = 254, 271, 330, 50706
    small = tags.get(kind, 0) == 1
    if _RAW_PHOTO.match(head) or dng in tags or (maker in tags and (small or parts in tags)):
        return _sentence(_RAW, _CONVERT)
    return _sentence("a small copy of an image", _CONVERT) if small else None


def _sentence(what: str, hint: str) -> tuple[str, str]:
    also = f"; {', '.join(formats())} are read" if hint == _CONVERT else ""
    return f"it is {what}{also}", hint
