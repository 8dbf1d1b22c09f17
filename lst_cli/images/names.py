"""What an annotation file calls an image, and the same name as another system spells it."""

from __future__ import annotations

import html
import posixpath
import re
import unicodedata
from functools import cached_property
from itertools import chain
from urllib.parse import unquote, urlsplit

from lst_cli.images.kinds import is_picture_name

COCO_NAME = re.compile(r"(?:COCO_\w+_)?\d{12}\.\w+")
"""Names that no two images of COCO share."""

_COCO_2014 = re.compile(r"^COCO_(?:train|val|test)\d{4}_(\d{12}\.\w+)$")
_PART = re.compile(r"(train|val|test)(?:id|idation)?(\d*)", re.IGNORECASE)
# Windows writes a backslash, URLs a plus, and some tools "_" for what Windows does not allow.
_OTHER_LETTERS = str.maketrans({"\\": "/", "+": " ", **dict.fromkeys(':*?"<>|', "_")})
_QUOTED = 3  # times that a name may have been quoted
_WRONG_CODES = ("cp1252", "latin-1", "cp437")  # as which browsers and zip programs read UTF-8
_UNSEEN = re.compile(r"[\ufe00-\ufe0f]|(?<=i)\u0307")  # which form a letter has; the dot of I


def spell(name: str) -> list[str]:
    r"""The parts of a path in letters that every system keeps.

    Names with the same parts differ only in letter case, quoting as in a URL or in HTML, the
    Unicode form of letters, letters that are not seen, UTF-8 read as another code, separators, or
    spaces around a part.

    Example:
        >>> spell("Train\\my%20Photo.JPG"), spell("./train/my photo.jpg ")
        (['train', 'my photo.jpg'], ['train', 'my photo.jpg'])
    """
    for _ in range(_QUOTED):
        if "%" in name or "&" in name:
            name = html.unescape(unquote(name))
    if not name.isascii():
        name = unicodedata.normalize("NFKC", _read_again(name))
        name = "".join(one for one in name if unicodedata.category(one) != "Cf")
        name = _UNSEEN.sub("", name.casefold()).replace("\u0131", "i")
    name = name.translate(_OTHER_LETTERS).casefold()
    return [part for one in name.split("/") if (part := one.strip()) not in ("", ".", "..")]


def _read_again(name: str) -> str:
    """A name in UTF-8 that was read as another code."""
    for code in _WRONG_CODES:
        try:
            return name.encode(code).decode()
        except UnicodeError:
            continue
    return name


def spell_loosely(key: str) -> str:
    """What stays of a name in `spell`'s letters through tools that rename images.

    Their ends, separators and zeros before a number, the codes of Roboflow and Label Studio.

    Example:
        >>> spell_loosely("1a2b3c4d-my_photo-007_jpg.rf.8b1c.jpg"), spell_loosely("my photo 7.png")
        ('my photo 7', 'my photo 7')
    """
    while is_picture_name(key, read=False) and "." in key.strip("."):
        key = key.rpartition(".")[0]
    key = re.sub(r"^[0-9a-f]{8}-|([._][a-z]{3,4})?\.rf\.[0-9a-f]+$", "", key)
    words = re.findall(r"\d+|[^\W\d_]+", key)
    return " ".join(word.lstrip("0") or "0" if word.isdecimal() else word for word in words)


def part_of(directory: str) -> str:
    """Which part of a data set a directory's name says it holds: "train", "val2017"; else ""."""
    match = _PART.fullmatch(directory)
    return f"{match[1]}{match[2]}".lower() if match else ""


class ImageName:
    """What an annotation file calls one image; either may be empty, or name no file."""

    def __init__(self, file_name: str, coco_url: str) -> None:
        self.file_name = file_name
        own = _from_url if "://" in file_name else _split
        named = [one for one in (own(file_name), _from_url(coco_url)) if one is not None]
        # Its names with a directory, as (directory, name); the directory may be absolute.
        self.full = tuple(dict.fromkeys(one for one in named if one[0] not in ("", "/")))
        # Its names without one, the best first.
        names = [(name, _COCO_2014.sub(r"\1", name)) for _, name in named]
        self.bare = tuple(dict.fromkeys(chain.from_iterable(names)))
        # Whether no other image can have its name.
        self.is_unique = bool(self.bare) and COCO_NAME.fullmatch(self.bare[0]) is not None
        # The parts of the data set that its directories name; none if the name is unique.
        parts = () if self.is_unique else [part_of(posixpath.basename(one)) for one, _ in self.full]
        self.parts = frozenset(parts) - {""}

    @cached_property
    def spelled(self) -> list[tuple[list[str], str, str]]:
        """For each name the directories it is said to lie in, its key, and the name itself."""
        folders = {name: folder for folder, name in reversed(self.full)}
        found = []
        for name in self.bare:
            *said, key = spell(f"{folders.get(name, '')}/{name}") or [""]
            found.append((said, key, name))
        return found

    def contradicts(self, part: str) -> bool:
        """Tell whether it is said to lie in another part of the data set than this."""
        return bool(part and self.parts) and part not in self.parts

    def __str__(self) -> str:
        names = dict.fromkeys([posixpath.join(*one) for one in self.full] + list(self.bare))
        return " or ".join(
            name if len(name) <= 120 else f"{name[:60]}...{name[-60:]} ({len(name)} letters)"
            for name in names
        )


def _split(path: str) -> tuple[str, str] | None:
    """Directory and name; None if no file can have this path."""
    folder, name = posixpath.split(path.replace("\\", "/"))
    folder = posixpath.normpath(folder) if folder not in ("", ".") else ""
    return None if name in ("", ".", "..") or "\0" in path else (folder, name)


def _from_url(url: str) -> tuple[str, str] | None:
    """The last directory and the name in a URL; None if there is none or it is no URL."""
    if not url:
        return None
    try:
        _, host, path, query, fragment = urlsplit(url.replace("\\", "/"))
    except ValueError:  # http://[
        return None
    if not is_picture_name(path) and is_picture_name(query or fragment):
        path = url.rpartition(f"//{host}/")[2]  # "?" or "#" in the name, not quoted
    found = _split(unquote(path))
    return found and (posixpath.basename(found[0]), found[1])
