"""What is recorded in a workspace: the split, and what each phase did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from lst_cli.settings.models import Settings
from lst_cli.settings.renamed import take_removed

# Version of `split.json` and of manifests; raised when an older `lst` could not read them.
FORMAT = 2
FORMATS = (1, 2)  # those that can be read: 1, of lst 0.1, has no checksum

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """A frozen part of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Fields that came later; where they are empty, a record is written and digested as before.
    _later_fields: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _leave_out_empty(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        record: dict[str, Any] = dump(self)
        for name in self._later_fields:
            if not getattr(self, name):
                record.pop(name, None)
        return record


class InputFile(Record):
    """An annotation file."""

    _later_fields = ("skipped",)

    path: str
    sha256: Sha256
    layout: Literal["lvis-v0.5", "lvis-v1", "coco"]
    images: Count
    instances: Count
    skipped: dict[str, Count] = {}  # annotations that `--skip-unusable` left out, by kind of fault


class ClassRecord(Record):
    """A class with its training counts."""

    category_id: int
    name: str
    instances: Count
    images: Count
    frequency: str
    val_instances: Count


class PhasePlan(Record):
    """What a phase t >= 1 trains on, with balanced replay."""

    phase: Count
    classes: Count
    new_entries: Count
    replay_entries: Count
    mean_new_instances: Annotated[float, Field(ge=0)]
    iterations: Count


class Extension(Record):
    """Classes that `lst extend` added, a phase of their own, from a file of their own."""

    _later_fields = ("before",)

    phase: Count
    train: InputFile
    image_dirs: tuple[str, ...]  # where its images are looked for before the split's directories
    # Category ids in class order: the group of the phase. The file may have other ids; its classes
    # are known by name.
    classes: tuple[int, ...]
    val: InputFile | None = None  # of the phase and those after it, where a new one was given
    before: tuple[PhasePlan, ...] = ()  # the plans of all phases before the classes were added


class Split(Record):
    """The class order and its groups, with what `lst extend` added; `up_to` takes that away."""

    _later_fields = ("extensions",)

    format: int = FORMAT
    train: InputFile
    val: InputFile
    image_dirs: tuple[str, ...]
    federated: bool
    base_classes: Count
    classes: tuple[ClassRecord, ...]
    groups: tuple[tuple[int, ...], ...]
    excluded: tuple[ClassRecord, ...]
    left_out_instances: Count
    phases: tuple[PhasePlan, ...]
    extensions: tuple[Extension, ...] = ()

    def find_problem(self) -> str | None:
        """What contradicts itself in it: the key and why; None if nothing does."""
        if not self.groups or not all(self.groups):
            return "groups: there is none, or one is empty"
        if [one for group in self.groups for one in group] != self.class_order:
            return "groups: they do not hold the classes in class order"
        if len(set(self.class_order)) < len(self.classes):
            return "classes: a category_id stands twice"
        if self.base_classes != len(self.groups[0]):
            return f"base_classes: {self.base_classes}, but the first group has another number"
        sizes = [(t, len(group)) for t, group in enumerate(self.groups)]
        if [(plan.phase, plan.classes) for plan in self.phases] != sizes[1:]:
            return "phases: they are not those of the groups"
        for one in self.extensions:
            if not 0 < one.phase < len(sizes) or one.classes != self.groups[one.phase]:
                return f"extensions: the one of phase {one.phase} is not that group"
        return None

    @property
    def skips_unusable(self) -> bool:
        """Whether annotations of the files of `lst split` are left out, see `--skip-unusable`."""
        return bool(self.train.skipped or self.val.skipped)

    @property
    def joint(self) -> bool:
        """Whether `lst split` put all classes into one phase, for joint training."""
        return len(self.up_to(-1).groups) == 1

    @property
    def class_order(self) -> list[int]:
        """Category ids in class order; the position of a class is its label."""
        return [record.category_id for record in self.classes]

    @property
    def left_out(self) -> list[ClassRecord]:
        """Classes without a training instance, in extensions either."""
        return [one for one in self.excluded if one.category_id not in self.class_order]

    @property
    def digest(self) -> str:
        """Digest of what training depends on: the classes and the content of the inputs.

        Where the inputs lie does not count; nor do the plans, which follow from the settings.
        """
        moving = {"path"}
        inputs: dict[str, Any] = {"train": moving, "val": moving, "image_dirs": True}
        # Digests stay what they were when a split was of format 1.
        meaning = self.model_copy(update={"format": 1}).model_dump_json(
            exclude={
                **inputs,
                "phases": True,
                "extensions": {"__all__": {**inputs, "before": True}},
            }
        )
        return hashlib.sha256(meaning.encode()).hexdigest()

    @property
    def base_digest(self) -> str:
        """Digest of what the base phase depends on: the training file's content, its classes."""
        base = len(self.groups[0])
        meaning = [
            self.train.model_dump(mode="json", exclude={"path"}),
            self.left_out_instances,
            [one.model_dump(mode="json", exclude={"val_instances"}) for one in self.classes[:base]],
        ]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()

    def digest_at(self, phase: int) -> str:
        """Digest of what a phase's training depends on, not on what was added after it."""
        return self.up_to(phase).digest

    def up_to(self, phase: int) -> Split:
        """The split without what was added after a phase; with -1, as `lst split` made it.

        So are its `phases`, the plans, where the first extension after the phase kept them.
        """
        later = {added.phase: added.before for added in self.extensions if added.phase > phase}
        if not later:
            return self
        kept = [place for place in range(len(self.groups)) if place not in later]
        groups = tuple(self.groups[place] for place in kept)
        ids = {category_id for group in groups for category_id in group}
        plans = [plan for plan in self.phases if plan.phase not in later]
        renumbered = [plan.model_copy(update={"phase": t}) for t, plan in enumerate(plans, 1)]
        return self.model_copy(
            update={
                "classes": tuple(one for one in self.classes if one.category_id in ids),
                "groups": groups,
                "phases": later[min(later)] or tuple(renumbered),
                "extensions": tuple(one for one in self.extensions if one.phase not in later),
            }
        )

    def extended(self, extension: Extension, records: Sequence[ClassRecord]) -> Split:
        """The split with one more phase, of these classes; later planned phases move up by one.

        It has to come after all earlier extensions. The plans are the caller's to count again.
        """
        place = extension.phase
        first = sum(map(len, self.groups[:place]))
        return self.model_copy(
            update={
                "classes": (*self.classes[:first], *records, *self.classes[first:]),
                "groups": (*self.groups[:place], extension.classes, *self.groups[place:]),
                "extensions": (*self.extensions, extension),
            }
        )

    def extension_at(self, phase: int) -> Extension | None:
        """What was added as a phase, or None for a phase of `lst split`."""
        return next((one for one in self.extensions if one.phase == phase), None)

    def val_at(self, phase: int) -> InputFile:
        """The validation file of a phase: the newest one given up to it."""
        given = [one.val for one in self.up_to(phase).extensions if one.val is not None]
        return given[-1] if given else self.val

    def val_image_dirs_at(self, phase: int) -> tuple[str, ...]:
        """Where the images of a phase's validation file are looked for."""
        given = [one for one in self.up_to(phase).extensions if one.val is not None]
        return (*given[-1].image_dirs, *self.image_dirs) if given else self.image_dirs

    def labels_of(self, phase: int) -> range:
        """Labels of the classes that arrive in a phase."""
        start = sum(map(len, self.groups[:phase]))
        return range(start, start + len(self.groups[phase]))

    def classes_of(self, phase: int) -> tuple[ClassRecord, ...]:
        """The classes that arrive in a phase, in class order."""
        labels = self.labels_of(phase)
        return self.classes[labels.start : labels.stop]

    def seen_classes(self, phase: int) -> int:
        """Number of classes seen up to and including a phase."""
        return self.labels_of(phase).stop

    def phase_of(self, label: int) -> int:
        """The phase in which a class arrives."""
        return next(t for t in range(len(self.groups)) if label < self.seen_classes(t))


class SharedFrom(Record):
    """Where a phase was trained that another workspace took over."""

    workspace: str
    split_sha256: str  # of the split there


FALSE_ALARM_SCORES = (0.3, 0.5)
"""Scores from which a detection of a class that is not there is counted as a false alarm."""


class NewClassCheck(Record):
    """What a class that was added without training finds, before and after its row was fitted."""

    boxes: Count  # that it was learned from
    own_score: tuple[Share, Share]  # mean score of these boxes, before and after
    # Detections in 100 known images without the class, from each of `FALSE_ALARM_SCORES` on.
    alarms_before: tuple[Rate, Rate]
    alarms_after: tuple[Rate, Rate]
    # The old class that these boxes look like most, and their mean score as it.
    nearest: str = ""
    nearest_score: Share = 0.0
    # Ids of the known images that likely show the class, although it is not annotated there.
    unannotated: tuple[int, ...] = ()
    # Annotated boxes that are too small for the network, and that cover their image.
    tiny: Count = 0
    whole_image: Count = 0


class Adopted(Record):
    """An existing model that became the base phase, and what it was compared with."""

    config: str  # as it was given
    weights_sha256: Sha256  # of its tensors
    classes: Count  # of the model, in its order
    named_by: str  # what said which row is which class
    dropped: tuple[str, ...]  # its classes that the training file does not have
    unknown: tuple[str, ...]  # the reverse: classes with annotations that it does not know
    image_passes: Count  # images that were shown to it
    image_passes_of_original: Count  # by its config
    # AP, AP50 and AP75 of masks (segm) and boxes (bbox); empty until evaluated
    original: dict[str, dict[str, float | None]] = {}
    adopted: dict[str, dict[str, float | None]] = {}


class PhaseManifest(Record):
    """What a phase used and did."""

    _later_fields = (
        "bank_sha256",
        "checks",
        "old_alarms",
        "known_images",
        "adopted",
        "left_out",
        "banks",
        "by_image",
    )

    format: int = FORMAT
    phase: Count
    done: bool
    split_sha256: Sha256
    previous_sha256: Sha256 | None
    new_classes: Count
    seen_classes: Count
    new_entries: Count
    replay_entries: Count
    replay_counts: dict[str, Count]
    iterations: Count
    seed: int
    settings: dict[str, Any]
    weights: dict[str, Any] | None
    versions: dict[str, str]
    device: str
    started: str
    finished: str | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    model_sha256: Sha256 | None = None
    # Of the meta weight generator that the phase left, if any, and of what its attention made of
    # the classes; lst 0.1 did not record them.
    generator_sha256: Sha256 | None = None
    attention_sha256: Sha256 | None = None
    bank_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    # How the classifier rows of the new classes were initialized; None in the base phase.
    new_rows: Literal["random", "mean-feature", "generated", "fitted"] | None = None
    # Of each new class, in label order, where their rows were fitted against known images.
    checks: tuple[NewClassCheck, ...] = ()
    known_images: Count = 0  # how many these were
    # False alarms of the mean old class in 100 of them.
    old_alarms: tuple[Rate, ...] = ()
    adopted: Adopted | None = None  # the existing model that it was made from
    shared_from: SharedFrom | None = None  # where the phase was trained, if not here
    image_budget: Count | None = None  # images to be seen, where given instead of epochs
    # Rows of the training images that no objects to paste could be cut out of.
    left_out: tuple[Count, ...] = ()
    banks: tuple[str, ...] = ()  # digests of those of all phases before, where they are pasted
    # Whether random numbers of regions are a stream for each image, so that any number of
    # processes repeats them, and not one for the batch.
    by_image: bool = False

    def find_problem(self, phase: int, split: Split) -> str | None:
        """What contradicts itself or the split: the key and why; None if nothing does."""
        if self.phase != phase:
            return f"phase: it belongs to phase {self.phase}"
        new, seen = len(split.groups[phase]), split.seen_classes(phase)
        if (self.new_classes, self.seen_classes) != (new, seen):
            return f"new_classes, seen_classes: not the split's {new} and {seen}"
        if self.done and self.model_sha256 is None:
            return "model_sha256: the phase is done, and there is none"
        if (self.previous_sha256 is None) != (phase == 0):
            return "previous_sha256: phase 0 alone has none"
        if self.weights is not None and not isinstance(self.weights.get("source"), str):
            return "weights.source: there is none"
        section = self.settings.get(self._section)
        size = section.get("batch_size") if isinstance(section, dict) else None
        if type(size) is not int or size < 1:
            return f"settings.{self._section}.batch_size: {size}"
        return None

    @property
    def _section(self) -> str:
        return "step" if self.phase else "base"

    @property
    def image_passes(self) -> int:
        """Image passes of the whole training: an image that is repeated counts each time."""
        return self.iterations * int(self.settings[self._section]["batch_size"])


def completed(manifest: PhaseManifest) -> dict[str, Any]:
    """Settings of a phase, with today's defaults for those that were added since."""
    table, removed = take_removed(manifest.settings)
    with suppress(ValidationError):  # a value that is refused today: it differs, and is named
        table = Settings.model_validate(table).model_dump(mode="json")
    for key, value in removed.items():
        section, name = key.split(".")
        table[section] = {**table[section], name: value}
    return table


def removed_settings(manifest: PhaseManifest) -> dict[str, Any]:
    """Settings of a phase that were removed since, with their values."""
    _, removed = take_removed(manifest.settings)
    return {key: value for key, value in removed.items() if manifest.phase and key[:4] == "step"}
