"""Detections that survive an interrupted evaluation.

Each image that is done becomes a line of a file, below a header that says what the detections
are of. The next run keeps the lines of a file that has its own header. Each line begins with a
checksum of the rest: a damaged one is dropped, and its image done again.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """What the detections of a file are of; they are kept only if all of it is the same."""

    format: int = _FORMAT
    lst: str = __version__
    model: str | None  # sha256 of the weights
    images: str  # sha256 of the annotation file that lists the images
    settings: dict[str, Any]  # what else decides about detections, by dotted key

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
    """What an earlier run left."""

    # where the line of each image begins and how long it is, by row
    lines: dict[int, tuple[int, int]] = field(default_factory=dict)
    size: int = 0  # bytes of the file that are whole lines; 0 if it has to be started again
    refused: str | None = None  # why lines that are there are not kept


def inference_settings(trained: Settings, settings: Settings) -> Settings:
    """The settings a model is run with: the network as trained, the rest of today."""
    today = {"eval": settings.eval, "data": settings.data, "device": settings.device}
    return trained.model_copy(update=today)


def make_header(model_sha256: str | None, images_sha256: str, use: Settings) -> Header:
    """Write down what detections depend on; see `inference_settings` for the settings."""
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
    """Find the objects in all of N images, some of which an earlier run may have done.

    Afterwards the file holds all of them, see `collect_detections`; the caller removes it.

    Args:
        path: Where images that are done are kept.
        header: What the detections are of.
        images: N.
        detect: Finds the objects in the images of some rows, image by image. Not called if
            nothing is left to do.
        progress: Images done.

    Raises:
        LstError: If the file cannot be read or written.
    """
    kept = read_kept(path, header, images)
    left = [row for row in range(images) if row not in kept.lines]
    what, done = "images", len(kept.lines)
    if kept.refused:
        what = f"images, again: {kept.refused}"
    elif done:
        what = f"images, {done:,} kept"
    progress(what, done, images)
    found = detect(left) if left else ()
    with _appended(path, header, kept.size) as append:
        for row, detections in found:
            append(_Line(row, detections))
            done += 1
            progress(what, done, images)


def collect_detections(path: Path, header: Header, images: int, to: Path) -> str:
    """Write the detections that `finish_detections` left as a results file, ordered by image.

    They pass through memory one image at a time: at LVIS's size they are gigabytes.

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
    """Read what an earlier run left of N images; there may be no file.

    Raises:
        LstError: If the file cannot be read.
    """
    lines: dict[int, tuple[int, int]] = {}
    try:
        with open_regular(path) as file:
            first = file.readline()
            theirs = _verified(first, _HEADER)
            if theirs is None:
                return Kept(refused="the file of those kept is damaged" if first else None)
            if theirs != header:
                return Kept(refused=_difference(theirs, header))
            end = len(first)
            for text in file:
                if not text.endswith(b"\n"):  # the run ended in it
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


def _difference(theirs: Header, ours: Header) -> str:
    """What an earlier run had otherwise, in few words."""
    if (theirs.lst, theirs.format) != (ours.lst, ours.format):
        return f"lst was version {theirs.lst}"
    if theirs.model != ours.model:
        return "the model has changed"
    if theirs.images != ours.images:
        return "the validation file has changed"
    missing = object()
    changed = [
        key
        for key in {**theirs.settings, **ours.settings}
        if theirs.settings.get(key, missing) != ours.settings.get(key, missing)
    ]
    return f"{', '.join(changed)} changed"


@contextmanager
def _appended(path: Path, header: Header, size: int) -> Iterator[Callable[[_Line], None]]:
    """Open the file behind its first `size` bytes; without any, write the header.

    Yields:
        What writes a line so that it outlives this process.
    """
    with explain_os_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:

        def append(record: Header | _Line) -> None:
            with explain_os_error(path):
                text = msgspec.json.encode(record)
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
