"""Detections that survive an interrupted evaluation.

Each image that is done becomes a line of a file, below a header that says what the detections
are of. The next run keeps the lines of a file whose header is its own. Each line begins with a
checksum of the rest: one that was damaged is dropped, and its image done again.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lst_cli import __version__
from lst_cli.errors import LstError
from lst_cli.files import open_regular
from lst_cli.progress import Progress
from lst_cli.settings.diff import values
from lst_cli.settings.models import Settings
from lst_cli.workspace.atomic import explain_os_error

Detections = list[dict[str, Any]]
"""What was found in one image, in LVIS results format, the best first."""


_FORMAT = 2


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the detections of a file are of; none of it may differ where they are kept.

    Attributes:
        format: Version of the file's schema.
        lst: Version of the program.
        model: sha256 of the weights.
        images: sha256 of the annotation file that lists the images.
        settings: What else decides about detections, by dotted key.
    """

    format: int = _FORMAT
    lst: str = __version__
    model: str | None
    images: str
    settings: dict[str, Any]

    @property
    def made_with(self) -> dict[str, Any]:
        """What metrics keep of it: which model, under which settings."""
        return {"model_sha256": self.model, **self.settings}


class _Line(msgspec.Struct):
    row: int
    detections: Detections


class _RawLine(msgspec.Struct):
    row: int
    detections: list[msgspec.Raw]


_HEADER, _DECODER = msgspec.json.Decoder(Header), msgspec.json.Decoder(_RawLine)
_Any = TypeVar("_Any")


@dataclass(frozen=True)
class Kept:
    """What an earlier run left.

    Attributes:
        lines: Where the line of each image begins and how long it is, by row.
        size: Bytes of the file that are whole lines; 0 where it must be begun anew.
        refused: Why lines that are there are not kept, or None.
    """

    lines: dict[int, tuple[int, int]] = field(default_factory=dict)
    size: int = 0
    refused: str | None = None


def in_use(trained: Settings, settings: Settings) -> Settings:
    """The settings a model is run with: the network as trained, the test setting of today."""
    return trained.model_copy(update={"eval": settings.eval, "data": settings.data})


def make_header(
    model_sha256: str | None,
    images_sha256: str,
    use: Settings,
) -> Header:
    """Write down what detections depend on.

    Args:
        model_sha256: Of the weights.
        images_sha256: Of the annotation file.
        use: Settings the model is run with; see `in_use`.
    """
    # Compared with what was read from JSON, which has no tuples.
    settings = msgspec.json.decode(msgspec.json.encode(values(use, "detections")))
    return Header(model=model_sha256, images=images_sha256, settings=settings)


def finish_detections(
    path: Path,
    header: Header,
    images: int,
    detect: Callable[[Sequence[int]], Iterable[tuple[int, Detections]]],
    *,
    progress: Progress,
) -> None:
    """Find the objects in all images, of which an earlier run may have done some.

    The file holds them in the end, see `collect_detections`; whoever has done so removes it.

    Args:
        path: Where images that are done are kept.
        header: What the detections are of.
        images: N.
        detect: Finds the objects in the images of the given rows, image by image. Not called
            where nothing is left to do.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If the file cannot be read or written.
    """
    kept = read_kept(path, header, images)
    left = [row for row in range(images) if row not in kept.lines]
    what, done = "images", len(kept.lines)
    if kept.refused:
        what = f"images, anew: {kept.refused}"
    elif done:
        what = f"images, {done:,} kept"
    progress(what, done, images)
    ones = detect(left) if left else ()
    with _appended(path, header, kept.size) as append:
        for row, detections in ones:
            append(_Line(row, detections))
            done += 1
            progress(what, done, images)


def collect_detections(path: Path, header: Header, images: int, to: Path) -> str:
    """Write the detections of all images as a results file, in the order of the images.

    They pass through memory one image at a time: at LVIS's size they are gigabytes.

    Args:
        path: What `finish_detections` left.
        header: What the detections are of.
        images: N.
        to: The results file.

    Returns:
        The SHA-256 of the results file.

    Raises:
        LstError: If a file cannot be read or written.
    """
    digest = hashlib.sha256()
    lines = read_kept(path, header, images).lines
    with explain_os_error(to), path.open("rb") as source, to.open("wb") as target:

        def write(text: bytes) -> None:
            digest.update(text)
            target.write(text)

        separator = b"["
        for row in range(images):
            begin, length = lines[row]
            source.seek(begin)
            line = _verified(source.read(length), _DECODER)
            if line is None:
                raise LstError(f"{path}: changed while it was read", "run the same command again")
            for detection in line.detections:
                write(separator + bytes(detection))
                separator = b",\n"
        write(b"]\n" if separator != b"[" else b"[]\n")
    return digest.hexdigest()


def read_kept(path: Path, header: Header, images: int) -> Kept:
    """Read what an earlier run left.

    Args:
        path: The file, which need not be there.
        header: What the detections should be of.
        images: N.

    Returns:
        The images whose lines are whole.

    Raises:
        LstError: If the file cannot be read.
    """
    lines: dict[int, tuple[int, int]] = {}
    try:
        with open_regular(path) as file:
            first = file.readline()
            end = len(first)
            theirs = _verified(first, _HEADER)
            if theirs is None:
                return Kept(refused="the file of those kept is damaged" if first else None)
            refused = _difference(theirs, header)
            if refused:
                return Kept(refused=refused)
            for text in file:
                if not text.endswith(b"\n"):  # the run died in it
                    break
                line = _verified(text, _DECODER)
                if line is not None and 0 <= line.row < images:
                    lines.setdefault(line.row, (end, len(text)))
                end += len(text)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise LstError(
            f"{path}: cannot be read: {error.strerror}", f"move {path} elsewhere"
        ) from error
    return Kept(lines, end)


def _verified(line: bytes, decoder: msgspec.json.Decoder[_Any]) -> _Any | None:
    """What a line holds; None if it is not as it was written."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != _checksum(text):
        return None
    try:
        return decoder.decode(text)
    except msgspec.DecodeError:
        return None


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _difference(theirs: Header, ours: Header) -> str | None:
    """What an earlier run had otherwise, in few words."""
    if theirs.lst != ours.lst or theirs.format != ours.format:
        return f"lst was version {theirs.lst}"
    if theirs.model != ours.model:
        return "the model has changed"
    if theirs.images != ours.images:
        return "the validation file has changed"
    keys = {**theirs.settings, **ours.settings}
    changed = [
        key
        for key in keys
        if key not in theirs.settings
        or key not in ours.settings
        or theirs.settings[key] != ours.settings[key]
    ]
    return f"{', '.join(changed)} changed" if changed else None


@contextmanager
def _appended(path: Path, header: Header, size: int) -> Iterator[Callable[[_Line], None]]:
    """Open the file behind its first `size` bytes; without any, with the header alone.

    Yields:
        What writes a line, so that it outlives this process.
    """
    encode = msgspec.json.Encoder().encode
    with explain_os_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file: BufferedRandom = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:

        def append(record: Header | _Line) -> None:
            with explain_os_error(path):
                text = encode(record)
                file.write(_checksum(text) + b" " + text + b"\n")
                file.flush()

        with explain_os_error(path):
            file.truncate(size)
            file.seek(size)
        if not size:
            append(header)
        yield append
    finally:
        with explain_os_error(path):
            file.close()
