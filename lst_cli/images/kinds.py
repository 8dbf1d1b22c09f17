"""What a file is that Pillow is not asked to decode, told from its first bytes."""

from __future__ import annotations

from functools import cache

_CONVERT = "convert it to JPEG or PNG under the same name"
_UNPACK = "unpack it, and give the images in it"
_AGAIN = "copy or download it again"
_DOWNLOAD = "download the image itself"

HEAD = 1024
"""How many bytes tell what a file is."""

_READ = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "git lfs pull"),
    (b"DDS ", "a DDS texture", _CONVERT),
    (b"8BPS", "a Photoshop file (PSD)", _CONVERT),
    (b"%!PS", "PostScript (EPS)", _CONVERT),
    (b"%PDF", "a PDF", "export its pages as JPEG or PNG"),
    (b"icns", "an icon (ICNS)", _CONVERT),
    (b"\0\0\1\0", "an icon (ICO)", _CONVERT),
    (b"\0\0\2\0\0", "a TGA image", _CONVERT),
    (b"\0\0\x0a\0\0", "a TGA image", _CONVERT),
    (b"\xff\x0a", "a JPEG XL image", _CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", _CONVERT),
    (b"\x76\x2f\x31\x01", "an OpenEXR image", _CONVERT),
    (b"#?RADIANCE", "a Radiance HDR image", _CONVERT),
    (b"qoif", "a QOI image", _CONVERT),
    (b"gimp xcf", "a GIMP file (XCF)", _CONVERT),
    (b"FUJIFILMCCD-RAW", "a raw photo of a camera", _CONVERT),
    (b"\x0a\x05\x01", "a PCX image", _CONVERT),
    (b"SIMPLE  =", "a FITS image", _CONVERT),
    (b"\x01\xda", "an SGI image", _CONVERT),
    (b"\x59\xa6\x6a\x95", "a Sun raster image", _CONVERT),
    (b"\x93NUMPY", "a numpy array", _CONVERT),
    (b"\x89HDF", "an HDF5 file", "save each image in it as a PNG"),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ", "compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x1aE\xdf\xa3", "a video", "save its frames as JPEG or PNG"),
)
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


def is_picture_name(name: str) -> bool:
    """Tell whether a name ends as those of pictures do."""
    return name.lower().endswith(suffixes())


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
    if found is None:
        return None
    what, hint = found
    also = f"; {', '.join(formats())} are read" if hint == _CONVERT else ""
    return f"it is {what}{also}", hint


def _find(head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty", _AGAIN
    if head.startswith(_OPENED):
        return None
    for start, what, hint in _STARTS:
        if head.startswith(start):
            return what, hint
    if head[4:8] == b"ftyp":
        return _box_file(head[8:12])
    if head.startswith(b"RIFF"):
        return None if head[8:12] == b"WEBP" else ("a video or sound", "save its frames as PNG")
    if head[128:132] == b"DICM":
        return "a DICOM image", _CONVERT
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
        return "a raw photo of a camera", _CONVERT
    return "a video", "save its frames as JPEG or PNG"


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
