"""Detections that survive an interrupted evaluation.

Each image that is done becomes a line of a file, below a header that says what the detections
are of. The next run keeps the lines of a file whose header is its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import Any

import msgspec

from lst_cli import __version__
from lst_cli.config import Settings
from lst_cli.errors import LstError
from lst_cli.workspace.atomic import explain_os_error

Detections = list[dict[str, Any]]
"""What was found in one image, in LVIS results format, the best first."""

Progress = Callable[[str, int, int | None], None]

_FORMAT = 1
_UNRELATED = {  # settings of [eval] that change no detection, or no other than by the shift
    "bins",
    "fixed_detections",
    "calibration",
    "calibration_strength",
    "calibration_images",
}


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
    shift: Sequence[float] | None = None,
) -> Header:
    """Write down what detections depend on.

    Args:
        model_sha256: Of the weights.
        images_sha256: Of the annotation file.
        use: Settings the model is run with; see `in_use`.
        shift: What is taken from the logit of each class.
    """
    settings = {
        "correction of scores": None if shift is None else list(shift),
        "data.min_size_test": use.data.min_size_test,
        "data.max_size_test": use.data.max_size_test,
        **{
            f"eval.{key}": value
            for key, value in use.eval.model_dump(mode="json").items()
            if key not in _UNRELATED
        },
        **{f"model.{key}": value for key, value in use.model.model_dump(mode="json").items()},
        **{f"detectron2.{key}": value for key, value in use.detectron2.items()},
    }
    # Compared with what was read from JSON, which has no tuples.
    settings = msgspec.json.decode(msgspec.json.encode(settings))
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


def collect_detections(path: Path, header: Header, images: int, to: Path) -> None:
    """Write the detections of all images as a results file, in the order of the images.

    They pass through memory one image at a time: at LVIS's size they are gigabytes.

    Args:
        path: What `finish_detections` left.
        header: What the detections are of.
        images: N.
        to: The results file.

    Raises:
        LstError: If a file cannot be read or written.
    """
    lines = read_kept(path, header, images).lines
    with explain_os_error(to), path.open("rb") as source, to.open("wb") as target:
        separator = b"["
        for row in range(images):
            begin, length = lines[row]
            source.seek(begin)
            line = msgspec.json.decode(source.read(length), type=_RawLine)
            for detection in line.detections:
                target.write(separator + bytes(detection))
                separator = b",\n"
        target.write(b"]\n" if separator != b"[" else b"[]\n")


def read_kept(path: Path, header: Header, images: int) -> Kept:
    """Read what an earlier run left.

    Args:
        path: The file, which need not be there.
        header: What the detections should be of.
        images: N.

    Returns:
        The images up to the first line that is not whole: the run may have died in it.

    Raises:
        LstError: If the file cannot be read.
    """
    decode = msgspec.json.Decoder(_RawLine).decode
    lines: dict[int, tuple[int, int]] = {}
    try:
        with path.open("rb") as file:
            first = file.readline()
            size = len(first)
            try:
                theirs = msgspec.json.decode(first, type=Header)
            except msgspec.DecodeError:
                theirs = None
            if theirs is None or not first.endswith(b"\n"):
                return Kept(refused="the file of those kept is damaged" if first else None)
            refused = _difference(theirs, header)
            if refused:
                return Kept(refused=refused)
            for text in file:
                try:
                    line = decode(text)
                except msgspec.DecodeError:
                    break
                if not text.endswith(b"\n") or not 0 <= line.row < images or line.row in lines:
                    break
                lines[line.row] = (size, len(text))
                size += len(text)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise LstError(
            f"{path}: cannot be read: {error.strerror}", f"remove {path} to begin anew"
        ) from error
    return Kept(lines, size)


def _difference(theirs: Header, ours: Header) -> str | None:
    """What an earlier run had otherwise, in few words."""
    if theirs.format != ours.format or theirs.lst != ours.lst:
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
                file.write(encode(record) + b"\n")
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
