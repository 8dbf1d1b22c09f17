"""`lst hold-out`: set a part of a training set aside, to choose settings on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from lst_cli.annotations.json_stream import RAW, ListStream
from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import usable_instances
from lst_cli.check.images import images_listed_twice
from lst_cli.errors import LstError
from lst_cli.phases.bins import frequency_of
from lst_cli.phases.classes import NO_LABEL
from lst_cli.phases.hold_out import BoolArray, HoldOutRule, hold_out
from lst_cli.phases.replay import Occurrences
from lst_cli.progress import Progress, silent, stage
from lst_cli.train.before_training import read_checked
from lst_cli.workspace.atomic import explain_os_error, replacing

_OUT = "give another --out"
_FIELDS: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Part:
    """What is in one of the two files."""

    path: Path
    images: int
    instances: int  # objects that training or evaluation counts
    classes: int  # classes with such an object
    rare: int  # of these: rare in the training part, however many objects they have here


@dataclass(frozen=True)
class HeldOut:
    """The two files that were written."""

    train: Part
    val: Part  # what was set aside; its classes are those that can be evaluated
    demoted: tuple[int, ...]  # category_ids of classes that became rare, ascending
    skipped: Mapping[str, int]  # annotations that cannot be used and are not counted, by fault

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = {"format": 1, **asdict(self)}
        for name in ("train", "val"):
            found[name]["path"] = str(found[name]["path"])
        return found


def hold_out_file(
    train: Path,
    directory: Path,
    rule: HoldOutRule,
    *,
    skip_unusable: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> HeldOut:
    """Write `train.json` and `val.json`, which together hold every image of a training file.

    Everything is copied unchanged. Only a class's `image_count`, `instance_count` and `frequency`,
    where it has them, are those of the smaller training set, in both files. Annotations that cannot
    be used are copied with `skip_unusable` and not counted. `force` replaces files of these names,
    but never the annotation file itself.
    """
    if not 0 <= rule.share <= 1:  # also refuses nan
        raise LstError(f"the share to set aside is {rule.share}", "give a --share from 0 to 1")
    files = directory / "train.json", directory / "val.json"
    _refuse_overwriting(train, directory, files, force)
    dataset = read_checked(train, training=True, skip_unusable=skip_unusable, progress=progress)
    labels = np.where(usable_instances(dataset), dataset.instances.category_index, NO_LABEL)
    occurrences = Occurrences.of(
        dataset.instances.image_index.astype(np.int64),
        labels.astype(np.int64),
        len(dataset.categories),
    )
    cut = hold_out(occurrences, len(dataset.images), rule)
    _keep_together(cut.held, images_listed_twice(dataset.images))
    stays, held = occurrences.within(~cut.held), occurrences.within(cut.held)
    if not held.image_counts().any():
        reason = "no image has an object that training would count"
        if occurrences.instance_counts().any():
            reason = (
                f"no object can be set aside: with --rare {rule.rare} each image with one holds a "
                "class that is rare already or would become so, or the share is less than one image"
            )
        hint = "give a smaller --rare, a larger --share, or a larger training set"
        raise LstError(f"{train}: {reason}", hint)
    _write(dataset, cut.held, stays, files, stage(progress, f"writing {directory}"))
    is_rare = stays.image_counts() < rule.rare
    return HeldOut(
        train=_part(files[0], ~cut.held, stays, is_rare),
        val=_part(files[1], cut.held, held, is_rare),
        demoted=tuple(sorted(dataset.categories.ids[cut.demoted].tolist())),
        skipped={kind: len(rows) for kind, rows in dataset.skipped.items()},
    )


def _keep_together(held: BoolArray, twice: dict[int, int]) -> None:
    """Put an image that is listed again where its first entry is: in training, if either is."""
    for row, first in twice.items():
        held[first] &= held[row]
    for row, first in twice.items():
        held[row] = held[first]


def _part(path: Path, inside: BoolArray, occurrences: Occurrences, is_rare: BoolArray) -> Part:
    occurs = occurrences.image_counts() > 0
    return Part(
        path,
        images=int(inside.sum()),
        instances=int(occurrences.instance_counts().sum()),
        classes=int(occurs.sum()),
        rare=int((occurs & is_rare).sum()),
    )


def _refuse_overwriting(
    train: Path, directory: Path, files: tuple[Path, Path], force: bool
) -> None:
    with _explain(directory):
        if directory.exists() and not directory.is_dir():
            raise LstError(f"{directory} is not a directory", _OUT)
        for file in files:
            if not file.exists():
                continue
            if train.exists() and file.samefile(train):
                raise LstError(f"{file} is the training file itself", _OUT)
            if file.is_dir():
                raise LstError(f"{file} is a directory", _OUT)
            if not force:
                raise LstError(f"{file} exists", f"{_OUT}, or replace it with --force")


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    """As `explain_os_error`, with hints for a command without a workspace."""
    try:
        with explain_os_error(path):
            yield
    except LstError as error:
        if "-w DIR" in (error.hint or ""):
            raise LstError(error.message, _OUT) from error
        raise


def _write(
    dataset: Dataset,
    held: BoolArray,
    stays: Occurrences,
    files: tuple[Path, Path],
    progress: Progress,
) -> None:
    """Copy each record to its file; both files get all classes, with new counts."""
    counts = np.stack([stays.image_counts(), stays.instance_counts()], axis=1).tolist()
    is_held = {"images": held, "annotations": held[dataset.instances.image_index]}
    lists = dict.fromkeys(("images", "annotations", "categories"), RAW)
    stream = ListStream(dataset.path, lists, everything=True, progress=progress, digest=True)
    with _explain(files[0].parent), _replacing_both(files) as parts:
        for key, first, records in stream:
            raw = [bytes(record) for record in records]
            if first < 0:  # not a list
                for part in parts:
                    part.put(key, raw[0])
            elif key in is_held:
                out = is_held[key][first : first + len(raw)].tolist()
                for part, wanted in zip(parts, (False, True), strict=True):
                    own = zip(raw, out, strict=True)
                    part.extend(key, [record for record, flag in own if flag == wanted])
            else:
                if key == "categories":
                    raw = [_recount(one, *counts[row]) for row, one in enumerate(raw, first)]
                for part in parts:
                    part.extend(key, raw)
        if stream.sha256 != dataset.sha256:
            raise LstError(
                f"{dataset.path} changed while it was read", "run the same command again"
            )


def _recount(record: bytes, images: int, instances: int) -> bytes:
    """Put the counts of the training part into a class; other fields stay to the letter."""
    fields = _FIELDS.decode(record)
    new = {
        "image_count": images, "instance_count": instances, "frequency": frequency_of(images),
    }  # fmt: skip
    for key in new.keys() & fields.keys():
        fields[key] = msgspec.Raw(msgspec.json.encode(new[key]))
    return msgspec.json.encode(fields)


@contextmanager
def _replacing_both(files: tuple[Path, Path]) -> Iterator[tuple[_JsonFile, _JsonFile]]:
    """Write two files that belong together.

    A new file is never beside an old one, which would have images in both, not even after the
    process is killed; and unless it is killed, neither is alone.
    """
    train, val = files
    written: os.stat_result | None = None
    try:
        with replacing(val) as new_val, replacing(train) as new_train:
            with new_train.open("wb") as first, new_val.open("wb") as second:
                parts = _JsonFile(train, first), _JsonFile(val, second)
                yield parts
                for part in parts:
                    part.finish()
            written = new_train.stat()
            with _explain(val):
                val.unlink(missing_ok=True)
    except BaseException:
        if written is not None and train.exists() and os.path.samestat(train.stat(), written):
            train.unlink()
        raise


class _JsonFile:
    """A JSON object of lists, written piece by piece; errors name `path`, not the open file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._list: str | None = None  # the list that is open
        self._before = b"{"  # what is written before the next key
        self._between = b"\n"  # and before the next record of the list

    def extend(self, key: str, records: list[bytes]) -> None:
        """Add records to a list, which stays open as long as no other key comes."""
        if key != self._list:
            self.put(key, b"[")
            self._list, self._between, self._before = key, b"\n", b"],\n"
        if records:
            self._write(self._between + b",\n".join(records))
            self._between = b",\n"

    def put(self, key: str, value: bytes) -> None:
        """Add anything else."""
        self._write(self._before + msgspec.json.encode(key) + b": " + value)
        self._before = b",\n"

    def finish(self) -> None:
        """Close the object and flush the file."""
        self._write(b"{}\n" if self._before == b"{" else self._before.rstrip(b",\n") + b"}\n")
        with explain_os_error(self._path):
            self._file.flush()

    def _write(self, data: bytes) -> None:
        with explain_os_error(self._path):
            self._file.write(data)
