"""What `lst extend` adds to a split: decided and checked here, done in `extend.extend`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset
from lst_cli.ap.metrics import Way
from lst_cli.check.check import check_annotations
from lst_cli.check.fields import usable_instances
from lst_cli.check.images import check_images, check_shared_images
from lst_cli.errors import LstError
from lst_cli.extend.box_sizes import BoxSizes
from lst_cli.extend.new_classes import NewClasses, choose_new_classes, listed, quoted
from lst_cli.images.finder import ImageFinder
from lst_cli.inputs import TrainingInput
from lst_cli.phases.bins import frequency_of
from lst_cli.phases.classes import assign_category_ids
from lst_cli.progress import Progress
from lst_cli.settings.models import Settings
from lst_cli.split.split import input_file
from lst_cli.text import first_few
from lst_cli.train.before_training import refuse_errors
from lst_cli.workspace.manifest import ClassRecord, Extension, NewClassCheck, Split
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class NewFiles:
    """The annotated images of new classes, as a user names them."""

    train: Path
    image_dirs: Sequence[Path] = ()  # of both files, before those of the split
    val: Path | None = None  # a validation file for this phase and those after it
    names: Sequence[str] = ()  # the classes to learn; by default all annotated ones
    skip_unusable: bool = False  # whether annotations that cannot be used are left out
    anyway: bool = False  # whether a class is added even if it cannot be told from others


@dataclass(frozen=True, eq=False)
class Addition:
    """A split with one more phase."""

    split: Split
    phase: int
    new: NewClasses  # in the file they come with
    notes: tuple[str, ...]  # what a user should know of it, a sentence each
    anyway: bool  # as in `NewFiles`
    sizes: tuple[BoxSizes, ...] = ()  # of the boxes of each new class


@dataclass(frozen=True, eq=False)
class NewPhase:
    """A phase of new classes that is to be learned; it need not be in the workspace's split yet."""

    workspace: Workspace
    phase: int
    split: Split  # with the phase
    settings: Settings  # of today
    inputs: TrainingInput  # with the classes of the phase
    progress: Progress


@dataclass(frozen=True)
class Learned:
    """How rows of new classes came about without training."""

    way: Way
    device: str
    # As in the manifest; empty where no known image was read.
    checks: tuple[NewClassCheck, ...] = ()
    known_images: int = 0
    old_alarms: tuple[float, ...] = ()
    bank_sha256: str | None = None  # of the bank that was written, if any


# Mean score of the boxes that a class was learned from, below which it would never be seen.
LEAST_OWN_SCORE = 0.05
# The same, below which the class needs a lower threshold than that of `lst predict`.
LOW_OWN_SCORE = 0.6
# Mean score of the boxes of a new class as an old one, from which it looks like that class.
LIKE_OLD_SCORE = 0.5
# Share of known images that seem to show a class from which this is likely more than chance.
MANY_UNANNOTATED = 0.1


def refuse_background(names: Sequence[str], learned: Learned) -> None:
    """See that all new classes, with these names, can be told from what the model knows.

    Raises:
        LstError: If the boxes of a class score too low after its row was fitted.
    """
    low = {
        name: check
        for name, check in zip(names, learned.checks, strict=False)
        if check.own_score[1] < LEAST_OWN_SCORE
    }
    if not low:
        return
    worst = min(low, key=lambda name: low[name].own_score[1])
    check = low[worst]
    others = {_lookalike(each) for each in low.values()}
    other = others.pop() if len(others) == 1 else "the background or classes of the workspace"
    hint = "annotate more or clearer images, train with --finetune"
    if check.nearest_score >= LIKE_OLD_SCORE:
        hint = f"leave it out if it is the same as {quoted(check.nearest)}, train with --finetune"
    elif _likely_unannotated(check, learned.known_images):
        hint = f"annotate it in the training images, {len(check.unannotated)} of which likely show"
        hint += " it, and add these to the --train file"
    raise LstError(
        f"{listed(list(low))} cannot be told from {other}: without false alarms the "
        f"boxes of {quoted(worst)} score {check.own_score[1]:.3f} on average",
        f"{hint}, or add it with --anyway",
    )


def describe_checks(names: Sequence[str], learned: Learned, *, anyway: bool) -> Iterator[str]:
    """What a user should know of new classes with these names, a sentence each."""
    for name, check in zip(names, learned.checks, strict=False):
        if check.nearest_score >= LIKE_OLD_SCORE:
            yield (
                f"{quoted(name)} looks like {quoted(check.nearest)}: its boxes score "
                f"{check.nearest_score:.2f} as that class"
            )
        if _likely_unannotated(check, learned.known_images):
            images = count_of(len(check.unannotated), "image", "images")
            which = first_few([*map(str, check.unannotated)], 3)
            effect = (
                "the row was not fitted against such regions; they still count as false alarms"
                if anyway
                else "such regions count as false alarms"
            )
            yield (
                f"{quoted(name)} is likely shown, but not annotated, in {images} of the "
                f"{learned.known_images} training images (ids {which}), or it looks like their "
                f"background: {effect}"
            )


def _lookalike(check: NewClassCheck) -> str:
    if check.nearest_score < LIKE_OLD_SCORE:
        return "the background"
    return f"class {quoted(check.nearest)}"


def _likely_unannotated(check: NewClassCheck, images: int) -> bool:
    return len(check.unannotated) >= max(MANY_UNANNOTATED * images, 1)


def add_phase(split: Split, phase: int, train: Dataset, val: Dataset, files: NewFiles) -> Addition:
    """Decide what a file adds to a split; nothing is read or written.

    The split is without this extension, and `phase` its place there. `val` is the validation file
    of the phase, new or not. The plans of the phases are the caller's to count again.

    Raises:
        LstError: If a class cannot be learned, or a new validation file does not know the classes
            of the workspace.
    """
    if files.val is not None:
        _refuse_other_classes(val, split)
    new = choose_new_classes(train, _known(split), files.names)
    ids = _category_ids(split, train, val, new)
    records = _records(train, val, new, ids)
    extension = Extension(
        phase=phase,
        train=input_file(train),
        image_dirs=tuple(str(Path(directory).resolve()) for directory in files.image_dirs),
        classes=tuple(ids),
        val=None if files.val is None else input_file(val),
        before=split.phases,
    )
    return Addition(
        split=split.extended(extension, records),
        phase=phase,
        new=new,
        notes=(*new.notes, *_notes(train, val, new, records)),
        anyway=files.anyway,
    )


def check_addition(
    addition: Addition, train: Dataset, val: Dataset, progress: Progress
) -> tuple[str, ...]:
    """See that everything an extension needs is there and usable, images included.

    Returns:
        What a user should know of images that are learned from and evaluated on.

    Raises:
        LstError: If there is any error.
    """
    split, extension = addition.split, addition.split.extensions[-1]
    finder = ImageFinder(extension.image_dirs, behind=split.image_dirs)
    val_finder = ImageFinder(split.val_image_dirs_at(addition.phase))
    files = [(train, finder), *([(val, val_finder)] if extension.val else [])]
    for dataset, finder_of in files:
        training, path = dataset is train, str(dataset.path)
        problems = check_annotations(dataset, training=training)
        refuse_errors(problems, path, f"correct {path}")
        rows = addition.new.image_rows if training else None
        missing = check_images(dataset, finder_of, rows=rows, progress=progress)
        refuse_errors(missing, path, "give the directory of the images with --images DIR")
    shared = check_shared_images(train, val, finder, val_finder=val_finder)
    return tuple(problem.sentence for problem in shared)


def _known(split: Split) -> dict[str, str]:
    """Names of the workspace's classes, and the phase of each in words."""
    known: dict[str, str] = {}
    for label, record in enumerate(split.classes):
        phase = split.phase_of(label)
        known.setdefault(record.name, "base phase" if phase == 0 else f"phase {phase}")
    return known


def _category_ids(split: Split, train: Dataset, val: Dataset, new: NewClasses) -> list[int]:
    pairs = zip(val.categories.names, val.categories.ids.tolist(), strict=True)
    in_val = dict(reversed(list(pairs)))  # the first of a name
    left_out = {record.name: record.category_id for record in split.left_out}
    return assign_category_ids(
        [train.categories.names[row] for row in new.rows],
        train.categories.ids[new.rows].tolist(),
        taken=split.class_order,
        used=[*split.class_order, *left_out.values(), *val.categories.ids.tolist()],
        named=[in_val, left_out],
    )


def _records(
    train: Dataset, val: Dataset, new: NewClasses, ids: Sequence[int]
) -> list[ClassRecord]:
    in_val = val.categories.ids[val.instances.category_index[usable_instances(val)]]
    return [
        ClassRecord(
            category_id=number,
            name=train.categories.names[row],
            instances=int(instances),
            images=int(images),
            frequency=train.categories.frequencies[row] or frequency_of(int(images)),
            val_instances=int(np.count_nonzero(in_val == number)),
        )
        for row, number, instances, images in zip(
            new.rows.tolist(), ids, new.instances, new.images, strict=True
        )
    ]


def _refuse_other_classes(val: Dataset, split: Split) -> None:
    names = dict(zip(val.categories.ids.tolist(), val.categories.names, strict=True))
    wrong = [record for record in split.classes if names.get(record.category_id) != record.name]
    if not wrong:
        return
    differences = [
        f"{one.category_id} {quoted(one.name)} "
        + (f"(there {quoted(names[one.category_id])})" if one.category_id in names else "(none)")
        for one in wrong
    ]
    raise LstError(
        f"{val.path}: other categories than in the workspace: {first_few(differences, 2)}",
        "give a validation file that has all classes of the workspace under their ids",
    )


def _notes(
    train: Dataset, val: Dataset, new: NewClasses, records: Sequence[ClassRecord]
) -> list[str]:
    """Sentences about new classes with another id than in their file, and without ground truth."""
    notes = []
    own = train.categories.ids[new.rows].tolist()
    moved = [
        f"{quoted(record.name)} {number} -> {record.category_id}"
        for record, number in zip(records, own, strict=True)
        if record.category_id != number
    ]
    if moved:
        shown = first_few(moved, 5)
        notes.append(f"category ids that differ from {train.path.name}: {shown}")
    without = [record.name for record in records if not record.val_instances]
    if without:
        notes.append(
            f"no object in {val.path.name}, so that they get no AP: {listed(without)}; "
            "--val gives another validation file"
        )
    return notes
