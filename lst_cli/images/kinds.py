"""What a file is that Pillow is not asked to decode, told from its first bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from lst_cli.files import kind_by_start

_CONVERT = "convert it to JPEG or PNG under the same name"
_FRAMES = "save its frames as JPEG or PNG"
_AGAIN = "copy or download it again"
_DOWNLOAD = "download the image itself"
_HINTS = {
    "pointer": "git lfs pull",
    "image": _CONVERT,
    "arrays": "save each image in it as a PNG",
    "packed": "unpack it, and give the images in it",
    "pages": "export its pages as JPEG or PNG",
    "video": _FRAMES,
}

_RAW = "a raw photo of a camera"
HEAD = 1024
"""How many bytes tell what a file is."""

_READ = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

# fmt: off
_NOT_READ = (
    ".heic", ".heif", ".hif", ".jxl", ".psd", ".svg",
    # raw photos of cameras
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srf", ".srw", ".x3f",
)
# fmt: on
_OPENED = (b"\xff\xd8", b"\x89PNG", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def formats() -> tuple[str, ...]:
    """The formats that are decoded, as far as this Pillow knows them, by Pillow's names.

    No others: some of Pillow's decoders start other programs, and few of them were made for bytes
    from strangers.
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
    """What a file is that is no image of a format that is decoded, and what to do.

    Args:
        head: Its first `HEAD` bytes.

    Returns:
        None where nothing is known, or where it begins like an image that is decoded.

    Example:
        >>> describe(b"<!DOCTYPE html><html>")
        ('it is a web page', 'download the image itself')
    """
    found = _find(head)
    return None if found is None else _sentence(*found)


def describe_tiff(head: bytes, tags: Mapping[int, Any]) -> tuple[str, str] | None:
    """What a TIFF is that is no image of its own, and what to do; None for an image.

    Raw photos are TIFFs that begin with a small picture of themselves.

    Args:
        head: Its first bytes.
        tags: Those of its first picture.
    """
    kind, maker, parts, dng = 254, 271, 330, 50706
    small = tags.get(kind, 0) == 1
    if _is_raw(head) or dng in tags or (maker in tags and (small or parts in tags)):
        return _sentence(_RAW, _CONVERT)
    return _sentence("a small copy of an image", _CONVERT) if small else None


def _is_raw(head: bytes) -> bool:
    canon = head.startswith((b"II*\0", b"MM\0*")) and head[8:10] == b"CR"
    return canon or head.startswith((b"IIU\0", b"IIRO", b"IIRS", b"MMOR"))


def _sentence(what: str, hint: str) -> tuple[str, str]:
    also = f"; {', '.join(formats())} are read" if hint == _CONVERT else ""
    return f"it is {what}{also}", hint


def _find(head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty", _AGAIN
    if _is_raw(head):
        return _RAW, _CONVERT
    if head.startswith(_OPENED):
        return None
    if found := kind_by_start(head):
        what, sort = found
        return what, _HINTS.get(sort, _AGAIN)
    if head[4:8] == b"ftyp":
        return _box_file(head[8:12])
    if head.startswith(b"RIFF"):
        return None if head[8:12] == b"WEBP" else ("a video or sound", _FRAMES)
    if head[128:132] == b"DICM":
        return "a DICOM image", _CONVERT
    if head[40:44] == b" EMF":
        return "a drawing (EMF)", _CONVERT
    if head[257:262] == b"ustar":
        return "a tar archive", _HINTS["packed"]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text", _DOWNLOAD
    if not head.strip(b"\0"):
        return "nothing but zeros", _AGAIN
    return _text(head)


def _box_file(brand: bytes) -> tuple[str, str] | None:
    if brand in (b"avif", b"avis"):
        # Some Pillows decode it; where this one does, it is damaged.
        return None if "AVIF" in formats() else ("an AVIF image", _CONVERT)
    if brand in _HEIC:
        return "a HEIC photo", _CONVERT
    if brand == b"crx ":
        return _RAW, _CONVERT
    return "a video", _FRAMES


def _text(head: bytes) -> tuple[str, str] | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page", _DOWNLOAD
    if b"<svg" in start:
        return "an SVG drawing", _CONVERT
    if start.startswith(b"<"):
        return "XML", _DOWNLOAD
    if start.startswith((b"{", b"[")):
        return "JSON", _DOWNLOAD
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        try:
            head[: HEAD - 4].decode()
        except UnicodeDecodeError:
            return None
        return "text", _DOWNLOAD
    return None
