"""Files that a user names: only regular ones are opened, and every name fits the file system."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from lst_cli.errors import LstError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")

LONGEST_NAME = 255
"""Bytes that the usual file systems allow in one name."""

_KINDS = (
    (stat.S_ISREG, "a file of the kernel"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_KERNEL = (Path("/proc"), Path("/sys"))

# First bytes of a file, what it is, and of which sort.
_STARTS: tuple[tuple[bytes | tuple[bytes, ...], str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "pointer"),
    (b"\x89PNG", "a PNG image", "image"),
    (b"\xff\xd8\xff", "a JPEG image", "image"),
    (b"DDS ", "a DDS texture", "image"),
    (b"8BPS", "a Photoshop file (PSD)", "image"),
    (b"%!PS", "PostScript (EPS)", "image"),
    (b"icns", "an icon (ICNS)", "image"),
    (b"\0\0\1\0", "an icon (ICO)", "image"),
    ((b"\0\0\2\0\0", b"\0\0\x0a\0\0"), "a TGA image", "image"),
    (b"\xff\x0a", "a JPEG XL image", "image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", "image"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image", "image"),
    (b"#?RADIANCE", "a Radiance HDR image", "image"),
    (b"qoif", "a QOI image", "image"),
    (b"gimp xcf", "a GIMP file (XCF)", "image"),
    (b"FUJIFILMCCD-RAW", "a raw photo of a camera", "image"),
    (b"\x0a\x05\x01", "a PCX image", "image"),
    (b"SIMPLE  =", "a FITS image", "image"),
    (b"\x01\xda", "an SGI image", "image"),
    (b"\x59\xa6\x6a\x95", "a Sun raster image", "image"),
    (b"\x93NUMPY", "a numpy array", "arrays"),
    (b"\x89HDF", "an HDF5 file", "arrays"),
    (b"PK\x03\x04", "a zip archive", "packed"),
    (b"\x1f\x8b", "compressed by gzip", "packed"),
    (b"BZh", "compressed by bzip2", "packed"),
    (b"\xfd7zXZ", "compressed by xz", "packed"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "packed"),
    (b"7z\xbc\xaf", "a 7z archive", "packed"),
    (b"Rar!", "a RAR archive", "packed"),
    (b"%PDF", "a PDF", "pages"),
    ((b"\x1aE\xdf\xa3", b"FLV\x01"), "a video", "video"),
    (b"II\xbc\x01", "a JPEG XR image", "image"),
    (b"AT&TFORM", "a DjVu document", "pages"),
    (b"\xd7\xcd\xc6\x9a", "a drawing (WMF)", "image"),
    ((b"PF\n", b"Pf\n"), "a PFM image", "image"),
    (b"P7\n", "a PAM image", "image"),
    (b"\0\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)", "other"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program", "pages"),
    (b"SQLite format 3", "a database (SQLite)", "other"),
    (b"ID3", "a sound", "other"),
    (b"GGUF", "a GGUF file of a language model", "other"),
    ((b"MZ", b"\x7fELF"), "a program", "other"),
)


def kind_by_start(head: bytes) -> tuple[str, str] | None:
    """What a file is by its first bytes, and of which sort.

    Example:
        >>> kind_by_start(b"BZh9"), kind_by_start(b"?")
        (('compressed by bzip2', 'packed'), None)
    """
    return next(((what, sort) for start, what, sort in _STARTS if head.startswith(start)), None)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading, if it is a regular file or a link to one.

    Everything else raises an `OSError`: pipes, devices, sockets, the kernel's files in /proc and
    /sys, names that no file can have, and files that are missing or cannot be read.
    """
    require_regular(path)
    # What was a file a moment ago may be a pipe now, which must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        _refuse_others(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(path: str | Path) -> None:
    """Raise as `open_regular` does, for libraries that open a file themselves."""
    try:
        found = Path(path).stat()
    except OSError as error:
        if not (link := Path(path)).is_symlink():
            raise
        reason = f"it is a link to {link.readlink()}, which cannot be reached"
        raise OSError(errno.EINVAL, reason, str(path)) from error
    except ValueError as error:  # a null byte, or letters that are no text
        raise OSError(errno.EINVAL, f"no file can have this name ({error})", str(path)) from error
    _refuse_others(found, path)


def read_regular(path: str | Path) -> bytes:
    """Read a whole file; see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _refuse_others(found: os.stat_result, path: str | Path) -> None:
    if stat.S_ISREG(found.st_mode) and found.st_dev not in kernel_devices():
        return
    number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
    kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
    raise OSError(number, f"it is {kind}, not a regular file", str(path))


@cache
def kernel_devices() -> frozenset[int]:
    """Device numbers, as of `stat`, of file systems whose files the kernel makes up."""
    return frozenset(place.stat().st_dev for place in _KERNEL if place.is_mount())


def scheme_of(path: str) -> str | None:
    """Scheme of an address, in small letters; None for a path, or where a file has this name."""
    found = _ADDRESS.match(path)
    return None if found is None or os.path.lexists(path) else found[1].lower()


def hint_for_missing(path: str, usual: str) -> str:
    """What to do about a path that leads nowhere."""
    return "give the whole path: ~ is known to the shell alone" if path[:1] == "~" else usual


def refuse_address(path: str) -> None:
    """Raise an `LstError` if this is an address and not a path: nothing is downloaded."""
    scheme = scheme_of(path)
    if scheme is None:
        return
    if scheme == "file":
        rest = unquote(path.partition(":")[2]).lstrip("/")
        raise LstError(f"{path}: is a URL, not a path", f"give /{rest}")
    raise LstError(
        f"{path}: is a URL; lst reads only local files",
        "download it first, then give the file or directory",
    )


def shorten_name(name: str) -> str:
    """Cut a file name, without directory, to what file systems allow; one that fits stays.

    A digest of the whole name takes the place of what is cut, so that two long names differ.

    Example:
        >>> shorten_name("a.png"), len(shorten_name("x" * 300 + ".png"))
        ('a.png', 255)
    """
    data = os.fsencode(name)
    if len(data) <= LONGEST_NAME:
        return name
    suffix = os.fsencode(Path(name).suffix)
    if len(suffix) > 16:
        suffix = b""
    end = b"-" + hashlib.sha256(data).hexdigest()[:12].encode() + suffix
    # A letter of several bytes is not cut in two.
    return os.fsdecode(data[: LONGEST_NAME - len(end)].decode("utf-8", "ignore").encode() + end)
