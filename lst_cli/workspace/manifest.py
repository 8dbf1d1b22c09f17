"""What a workspace remembers: the split, and what each phase did."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lst_cli.errors import LstError
from lst_cli.workspace.atomic import write_text

FORMAT = 1
"""Version of the files in a workspace; raised when an older `lst` could not read them."""


class Record(BaseModel):
    """A frozen part of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputFile(Record):
    """An annotation file, and how to tell whether it is still the same."""

    path: str
    sha256: str
    layout: Literal["lvis-v0.5", "lvis-v1", "coco"]
    images: int
    instances: int


class ClassRecord(Record):
    """A class with its training counts."""

    category_id: int
    name: str
    instances: int
    images: int
    frequency: str
    val_instances: int


class PhasePlan(Record):
    """What a phase t >= 1 trains on, with balanced replay."""

    phase: int
    classes: int
    new_entries: int
    replay_entries: int
    mean_new_instances: float
    iterations: int


class Split(Record):
    """The class order and its groups; written once, before anything is trained."""

    format: int = FORMAT
    train: InputFile
    val: InputFile
    image_dirs: tuple[str, ...]
    federated: bool
    base_classes: int
    classes: tuple[ClassRecord, ...]
    groups: tuple[tuple[int, ...], ...]
    excluded: tuple[ClassRecord, ...]
    left_out_instances: int
    phases: tuple[PhasePlan, ...]

    @property
    def class_order(self) -> list[int]:
        """Category ids in class order; the position of a class is its label."""
        return [record.category_id for record in self.classes]

    @property
    def digest(self) -> str:
        """Digest of what a phase's training rests on: the classes and the content of the inputs.

        Where the inputs lie does not count, so that a data set can be moved; nor do the counted
        plans, which follow the settings.
        """
        moving = {"path"}
        meaning = self.model_dump_json(
            exclude={"train": moving, "val": moving, "image_dirs": True, "phases": True}
        )
        return hashlib.sha256(meaning.encode()).hexdigest()

    def labels_of(self, phase: int) -> range:
        """Labels of the classes that arrive in a phase."""
        start = sum(len(group) for group in self.groups[:phase])
        return range(start, start + len(self.groups[phase]))

    def seen_classes(self, phase: int) -> int:
        """Number of classes seen up to and including a phase."""
        return self.labels_of(phase).stop


class PhaseManifest(Record):
    """What a phase used and did."""

    format: int = FORMAT
    phase: int
    done: bool
    split_sha256: str
    previous_sha256: str | None
    new_classes: int
    seen_classes: int
    new_entries: int
    replay_entries: int
    replay_counts: dict[str, int]
    iterations: int
    seed: int
    settings: dict[str, Any]
    weights: dict[str, Any] | None
    versions: dict[str, str]
    device: str
    started: str
    finished: str | None = None
    seconds: float | None = None
    model_sha256: str | None = None


AnyRecord = TypeVar("AnyRecord", bound=Record)


def save_record(record: Record, path: Path) -> None:
    """Write a manifest atomically."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def load_record(kind: type[AnyRecord], path: Path, mend: str) -> AnyRecord:
    """Read a manifest.

    Args:
        kind: The manifest's model.
        path: Its file.
        mend: The command that writes it anew, for the error.

    Raises:
        LstError: If the file is cut short, of another shape, or of another format version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise LstError(
                f"{path}: format version {found}, but this lst reads version {FORMAT}",
                "use the lst that wrote the workspace, or start a new one with -w DIR",
            )
        return kind.model_validate(content)
    except OSError as error:
        raise LstError(f"{path}: cannot be read: {error.strerror}", mend) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LstError(f"{path}: {key}: {first['msg']}", mend) from error
    except ValueError as error:
        raise LstError(f"{path}: not valid JSON, perhaps cut short: {error}", mend) from error
