"""What earlier evaluations left in a workspace, also those that were interrupted."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from lst_cli import __version__, ranks
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError
from lst_cli.files import open_regular
from lst_cli.progress import Progress, silent
from lst_cli.settings.diff import values
from lst_cli.settings.models import Settings
from lst_cli.workspace.atomic import explain_os_error
from lst_cli.workspace.hints import name_workspace
from lst_cli.workspace.records import load_record
from lst_cli.workspace.store import Workspace


class EvaluationFiles(NamedTuple):
    """Where the evaluation of a phase writes."""

    detections: Path
    metrics: Path
    part: Path  # detections of an evaluation that is under way
    errors: Path  # a directory


def evaluation_files(workspace: Workspace, phase: int, fixed_ap: bool = False) -> EvaluationFiles:
    """The files of a phase's AP, or those of its AP_fixed."""
    of = workspace.phase(phase)
    if fixed_ap:
        return EvaluationFiles(
            of.fixed_detections, of.fixed_metrics, of.fixed_detections_part, of.fixed_errors
        )
    return EvaluationFiles(of.detections, of.metrics, of.detections_part, of.errors)


def load_metrics(workspace: Workspace, phase: int, *, fixed_ap: bool = False) -> Metrics | None:
    """The stored metrics of a phase, or None if it was not evaluated.

    Raises an `LstError` if the file is damaged, or is not of the phase and its model.
    """
    path = evaluation_files(workspace, phase, fixed_ap).metrics
    if not path.exists():
        return None
    hint = eval_command(workspace, phase, fixed_ap)
    metrics = load_record(Metrics, path, hint)
    split, manifest = workspace.split, workspace.manifest(phase)
    model = metrics.made_with.get("model_sha256")
    seen = set(split.class_order[: split.seen_classes(phase)])
    groups = [(number, len(group)) for number, group in enumerate(split.groups[: phase + 1])]
    if metrics.phase != phase:
        raise LstError(f"{path}: phase: it belongs to phase {metrics.phase}", hint)
    if model is not None and manifest is not None and model != manifest.model_sha256:
        raise LstError(f"{path}: made_with.model_sha256: it is of another model", hint)
    for one in (metrics.segm, metrics.bbox):
        found = [(group.phase, group.classes) for group in one.groups]
        if found != groups or not seen >= one.per_class.keys():
            raise LstError(f"{path}: its classes are not those of the split", hint)
    return metrics


def load_all_metrics(workspace: Workspace, phases: Iterable[int]) -> list[Metrics]:
    """The stored metrics of those phases that were evaluated, see `load_metrics`."""
    found = (load_metrics(workspace, phase) for phase in phases)
    return [metrics for metrics in found if metrics is not None]


def stored_detections(
    workspace: Workspace, phase: int, metrics: Metrics, progress: Progress = silent
) -> ResultsFile:
    """The detections that stored metrics are of; reading them shows whether they changed since."""
    path = evaluation_files(workspace, phase, metrics.fixed_ap).detections
    hint = eval_command(workspace, phase, metrics.fixed_ap)
    return ResultsFile(path, progress, metrics.detections_sha256, hint)


def eval_command(workspace: Workspace, phase: int, fixed_ap: bool = False) -> str:
    """The command that evaluates a phase again."""
    words = f"lst eval --phase {phase}{' --fixed-ap' if fixed_ap else ''}"
    return name_workspace(words, workspace.root)


# --- an evaluation under way ---------------------------------------------------------------------
# Each image that is done becomes a line of a file, below a header that says what the detections
# are of. The next run keeps the lines of a file that has its own header. Each line begins with a
# checksum of the rest: a damaged one is left out, and its image done again.

Detections = list[dict[str, Any]]
"""What was found in one image, in LVIS results format, the best first."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the detections of a file depend on; they are kept only if all of it is the same."""

    format: int = 2
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
    detections: list[msgspec.Raw]


_HEADER, _LINE = msgspec.json.Decoder(Header), msgspec.json.Decoder(_Line)
_Any = TypeVar("_Any")


class Kept(NamedTuple):
    """What an earlier run left in a file."""

    lines: dict[int, tuple[int, int]]  # where that of each image begins and its length, by row
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


@dataclass(frozen=True)
class PartialDetections:
    """A file with the detections of those of N images that are done.

    Each of several processes does a share of the images and writes a file of its own beside it. An
    image is done once, also if another number of processes goes on.
    """

    path: Path
    header: Header
    images: int  # N

    def finish(
        self,
        detect: Callable[[Sequence[int]], Iterable[tuple[int, Detections]]],
        progress: Progress,
    ) -> None:
        """Run `detect` on the rows of the images of this process that no earlier run has done."""
        rows = range(ranks.rank(), self.images, ranks.world())
        kept, everything = self.read(), self._lines()
        left = [row for row in rows if row not in everything]
        what, done = "images", len(rows) - len(left)
        if kept.refused:
            what = f"images, again: {kept.refused}"
        elif done:
            what = f"images, {done:,} kept"
        with explain_os_error(self._own):
            self._own.parent.mkdir(parents=True, exist_ok=True)
            self._own.touch()
            os.truncate(self._own, kept.size)
        if not kept.size:
            self._append(self.header)
        found = detect(left) if left else ()
        progress(what, done, len(rows))  # after the network is loaded: time is counted from here
        for row, detections in found:
            self._append({"row": row, "detections": detections})
            done += 1
            progress(what, done, len(rows))

    def _append(self, record: object) -> None:
        """Write a line that outlives this process."""
        text = msgspec.json.encode(record)
        with explain_os_error(self._own), self._own.open("ab") as file:
            file.write(_checksum(text) + b" " + text + b"\n")

    @property
    def _own(self) -> Path:
        """The file of this process."""
        number = ranks.rank()
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _files(self) -> list[Path]:
        return [self.path, *self.path.parent.glob(f"{self.path.name}.*")]

    def _lines(self) -> dict[int, tuple[Path, int, int]]:
        """The file of each image that is done, and where in it; by row."""
        found: dict[int, tuple[Path, int, int]] = {}
        for path in self._files():
            found |= {row: (path, *place) for row, place in self._read(path).lines.items()}
        return found

    def remove(self) -> None:
        """Remove the files, once the detections are elsewhere."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def collect(self, to: Path) -> str:
        """Write the detections of all images as a results file and give its SHA-256.

        One image at a time is in memory: at LVIS's size all detections are gigabytes.
        """
        digest = hashlib.sha256()
        lines = self._lines()
        with explain_os_error(to), to.open("wb") as target, ExitStack() as stack:
            sources = {path: stack.enter_context(path.open("rb")) for path in self._files()}

            def write(text: bytes) -> None:
                digest.update(text)
                target.write(text)

            separator = b"["
            for row in range(self.images):
                path, begin, length = lines[row]
                sources[path].seek(begin)
                line = _verified(sources[path].read(length), _LINE)
                if line is None:
                    changed = f"{path}: changed while it was read"
                    raise LstError(changed, "run the same command again")
                for detection in line.detections:
                    write(separator + bytes(detection))
                    separator = b",\n"
            write(b"]\n" if separator != b"[" else b"[]\n")
        return digest.hexdigest()

    def read(self) -> Kept:
        """Read what an earlier run left for this process; there may be no file."""
        return self._read(self._own)

    def _read(self, path: Path) -> Kept:
        lines: dict[int, tuple[int, int]] = {}
        try:
            with open_regular(path) as file:
                first = file.readline()
                theirs = _verified(first, _HEADER)
                if theirs is None:
                    return Kept({}, refused="the file of those kept is damaged" if first else None)
                if theirs != self.header:
                    return Kept({}, refused=_difference(theirs, self.header))
                end = len(first)
                for text in file:
                    if not text.endswith(b"\n"):  # the run ended in it
                        break
                    line = _verified(text, _LINE)
                    if line is not None and 0 <= line.row < self.images:
                        lines.setdefault(line.row, (end, len(text)))
                    end += len(text)
        except FileNotFoundError:
            return Kept({})
        except OSError as error:
            why = f"{path}: cannot be read: {error.strerror}"
            raise LstError(why, f"move {path} elsewhere") from error
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
    """What was different in an earlier run, in few words."""
    if (theirs.lst, theirs.format) != (ours.lst, ours.format):
        return f"lst was version {theirs.lst}"
    if theirs.model != ours.model:
        return "the model has changed"
    if theirs.images != ours.images:
        return "the validation file has changed"
    one, other = theirs.settings, ours.settings
    changed = [key for key in {**one, **other} if one.get(key, ...) != other.get(key, ...)]
    return f"{', '.join(changed)} changed"
