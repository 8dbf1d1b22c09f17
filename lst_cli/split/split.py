"""`lst split`: class order, groups and a first look at balance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import usable_instances
from lst_cli.check.image_overlap import check_shared_images
from lst_cli.check.same_classes import check_pair
from lst_cli.display.class_plots import plot_class_counts, plot_replay_balance
from lst_cli.display.records import ReplayBalance, ReportClass
from lst_cli.errors import LstError
from lst_cli.images.decode import ImageFinder
from lst_cli.inputs import (
    ImagePaths,
    TrainingInput,
    label_files,
    label_instances,
    read_training_files,
)
from lst_cli.phases.bins import frequency_of
from lst_cli.phases.labels import LabelMap
from lst_cli.phases.order import order_classes
from lst_cli.phases.replay import (
    Occurrences,
    instances_per_class,
    mean_new_instances,
    replay_counts,
    step_data,
)
from lst_cli.phases.split import split_classes
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import read_checked, refuse_errors
from lst_cli.train.budget import count_iterations, scheduled
from lst_cli.workspace.atomic import write_bytes
from lst_cli.workspace.layout import MANIFEST
from lst_cli.workspace.manifest import (
    FORMATS,
    ClassRecord,
    InputFile,
    PhaseManifest,
    PhasePlan,
    Split,
)
from lst_cli.workspace.records import load_record
from lst_cli.workspace.replaced import drop, set_aside
from lst_cli.workspace.store import Workspace

IntArray = npt.NDArray[np.int64]


def split_dataset(
    workspace: Workspace,
    *,
    train: Path,
    val: Path,
    image_dirs: Sequence[Path],
    base: int | None,
    phases: int,
    settings: Settings,
    skip_unusable: bool = False,
    force: bool = False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Split, list[ReplayBalance]]:
    """Order the classes, cut them into phases, and write the workspace.

    Args:
        workspace: Where to write.
        train: Training annotations.
        val: Validation annotations, for `lst eval`.
        image_dirs: Where the images lie; they are not opened here.
        base: b, classes of phase 0; None for all, which leaves no later phase (joint training).
        phases: T, phases after it.
        settings: For the seed and the lengths of the phases.
        skip_unusable: Whether annotations that cannot be used are left out.
        force: Whether phases trained on another split may be moved to `replaced/`; those that
            are not finished are removed.
        warn: Told what makes numbers wrong without stopping anything.

    Returns:
        The split, and how balanced each later phase's training set is.

    Raises:
        LstError: If a file or a number is refused, or phases of another split would be lost.
    """
    train_set, val_set = read_datasets(train, val, skip_unusable=skip_unusable, warn=warn)
    if warn is not None:
        finder = ImageFinder(image_dirs)
        warn_of_missing_images((train_set, val_set), finder, warn)
        for problem in check_shared_images(train_set, val_set, finder):
            warn(problem.sentence)
    split, inputs = make_split(train_set, val_set, image_dirs, base, phases, settings)
    extended = _with_extensions(workspace, split)
    if extended is not split:
        inputs = label_files(extended, read_training_files(workspace, extended))
        split = extended.model_copy(update={"phases": plan_phases(extended, settings)})
    return split, write_split(workspace, split, inputs, settings, force=force)


def read_datasets(
    train: Path,
    val: Path,
    *,
    skip_unusable: bool = False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Dataset, Dataset]:
    """Read both annotation files and see that they can be split.

    Raises:
        LstError: If a file is refused, or the two do not go together.
    """
    train_set = read_checked(train, training=True, skip_unusable=skip_unusable, warn=warn)
    val_set = read_checked(val, training=False, skip_unusable=skip_unusable, warn=warn)
    refuse_errors(check_pair(train_set, val_set), f"{train} and {val}")
    return train_set, val_set


def warn_of_missing_images(
    files: Sequence[Dataset], finder: ImageFinder, warn: Callable[[str], None]
) -> None:
    """Look for the images of annotation files by name, which takes a second or two.

    Args:
        files: The files.
        finder: Where to look.
        warn: Told how many images are not there, with an example.
    """
    for file in files:
        missing = ImagePaths(file.images, (finder,)).find_missing(file.path)
        if missing is not None:
            warn(f"{missing.sentence}; {missing.hint}")


def write_split(
    workspace: Workspace,
    split: Split,
    inputs: TrainingInput,
    settings: Settings,
    *,
    force: bool = False,
) -> list[ReplayBalance]:
    """Write a split that was decided on, with its plots.

    Args:
        workspace: Where to write.
        split: As `make_split` gives it.
        inputs: The training annotations in its terms.
        settings: For the seed and the lengths of the phases.
        force: Whether phases trained on another split may be moved to `replaced/`; those that
            are not finished are removed.

    Returns:
        How balanced each later phase's training set is.

    Raises:
        LstError: If phases of another split would be lost.
    """
    balances = measure_balance(inputs.occurrences, split, settings)
    with workspace.locked():
        others = _refuse_losing_phases(workspace, split, force)
        write_bytes(workspace.layout.class_plot, plot_class_counts(report_classes(split)))
        if balances:
            write_bytes(workspace.layout.balance_plot, plot_replay_balance(balances))
        else:
            workspace.layout.balance_plot.unlink(missing_ok=True)  # of an earlier split
        aside = set_aside(workspace.layout.phases, workspace.root) if others else None
        workspace.save_split(split)
        drop(aside)
    return balances


def make_split(
    train: Dataset,
    val: Dataset,
    image_dirs: Sequence[Path],
    base: int | None,
    phases: int,
    settings: Settings,
) -> tuple[Split, TrainingInput]:
    """Decide the split from annotations alone; nothing is written.

    See `split_dataset` for the arguments.

    Returns:
        The split, and the training annotations in its terms.
    """
    usable = usable_instances(train)
    rows = train.instances.category_index[usable]
    counts = np.bincount(rows, minlength=len(train.categories.ids)).astype(np.int64)
    order = order_classes(train.categories.ids, counts)
    base, phases = (len(order), 0) if base is None else (base, phases)
    groups = split_classes(len(order), base, phases)
    inputs = label_instances(train, LabelMap(train.categories.ids[order].tolist()))
    images = np.zeros(len(counts), dtype=np.int64)
    images[order] = inputs.occurrences.image_counts()
    records = _records(train, val, counts, images)
    excluded = np.setdiff1d(np.arange(len(counts)), order)
    split = Split(
        train=input_file(train),
        val=input_file(val),
        image_dirs=tuple(str(Path(directory).resolve()) for directory in image_dirs),
        federated=val.federated,
        base_classes=base,
        classes=tuple(records[row] for row in order),
        groups=tuple(
            tuple(int(train.categories.ids[order[label]]) for label in group) for group in groups
        ),
        excluded=tuple(records[row] for row in excluded),
        left_out_instances=int((~usable).sum()),
        phases=(),
    )
    split = split.model_copy(update={"phases": plan_phases(split, settings)})
    return split, inputs


def plan_phases(split: Split, settings: Settings) -> tuple[PhasePlan, ...]:
    """Count what each phase t >= 1 trains on."""
    instances = np.array([record.instances for record in split.classes], dtype=np.int64)
    images = np.array([record.images for record in split.classes], dtype=np.int64)
    plans = []
    for phase in range(1, len(split.groups)):
        new = split.labels_of(phase)
        new_entries = int(images[new.start : new.stop].sum())
        replayed = int(replay_counts(instances, images, new, settings.step.replay).sum())
        entries = new_entries + replayed
        chosen = scheduled(settings, phase, entries)
        iterations = count_iterations(chosen, phase, entries)
        plans.append(
            PhasePlan(
                phase=phase,
                classes=len(new),
                new_entries=new_entries,
                replay_entries=replayed,
                mean_new_instances=float(mean_new_instances(instances, new)),
                iterations=iterations,
            )
        )
    return tuple(plans)


def measure_balance(
    occurrences: Occurrences, split: Split, settings: Settings
) -> list[ReplayBalance]:
    """Instances a class before and after balancing, for each phase t >= 1."""
    balances = []
    for phase in range(1, len(split.groups)):
        new = split.labels_of(phase)
        data = step_data(occurrences, new, phase, settings.seed, settings.step.replay)
        after = instances_per_class(data.epoch_entries(0), occurrences, new.stop)
        before = occurrences.instance_counts()[: new.stop]
        balances.append(
            ReplayBalance(phase, before.tolist(), after.tolist(), new.start, settings.step.replay)
        )
    return balances


def report_classes(split: Split) -> list[ReportClass]:
    """The classes of a split in class order, each with its phase."""
    return [
        ReportClass(record.category_id, record.name, record.instances, record.images, phase)
        for phase in range(len(split.groups))
        for record in (split.classes[label] for label in split.labels_of(phase))
    ]


def _records(train: Dataset, val: Dataset, counts: IntArray, images: IntArray) -> list[ClassRecord]:
    classes = len(train.categories.ids)
    rows = LabelMap(train.categories.ids.tolist()).to_labels(
        val.categories.ids[val.instances.category_index[usable_instances(val)]]
    )
    in_val = np.bincount(rows[rows >= 0], minlength=classes)
    return [
        ClassRecord(
            category_id=int(train.categories.ids[row]),
            name=train.categories.names[row],
            instances=int(counts[row]),
            images=int(images[row]),
            frequency=train.categories.frequencies[row] or frequency_of(int(images[row])),
            val_instances=int(in_val[row]),
        )
        for row in range(classes)
    ]


def input_file(dataset: Dataset) -> InputFile:
    """How a file is remembered."""
    return InputFile(
        path=str(dataset.path.resolve()),
        sha256=dataset.sha256,
        layout=dataset.layout,
        images=len(dataset.images.ids),
        instances=int(usable_instances(dataset).sum()),
        skipped={kind: len(rows) for kind, rows in dataset.skipped.items()},
    )


def _with_extensions(workspace: Workspace, made: Split) -> Split:
    """A split that was made again, with what `lst extend` added to it since.

    A split of other classes or files gets nothing: `_refuse_losing_phases` speaks of the loss.
    """
    before = _split_before(workspace)
    if before is None or not before.extensions or before.up_to(-1).digest != made.digest:
        return made
    moved = ("train", "val", "image_dirs")
    return before.model_copy(update={name: getattr(made, name) for name in moved})


def _split_before(workspace: Workspace) -> Split | None:
    try:
        return workspace.split
    except LstError:  # none, or damaged
        return None


def _refuse_losing_phases(workspace: Workspace, split: Split, force: bool) -> bool:
    """See that no phase of another split is lost by accident.

    The manifests of the phases are asked, so that a split that was moved, damaged or removed can
    be made again. A damaged manifest is no other split, and is refused as such.

    Returns:
        Whether there are phases of another split.
    """
    found = [
        load_record(
            PhaseManifest, path, f"put the file back, or move {path.parent} elsewhere", FORMATS
        )
        for path in sorted(workspace.layout.phases.glob(f"*/{MANIFEST}"))
    ]
    others = any(one.split_sha256 != split.digest_at(one.phase) for one in found)
    before = _split_before(workspace)
    unlike = before is not None and bool(before.extensions) and split.extensions == ()
    lost = "phases trained on" if others else "classes added to"
    if (others or unlike) and not force:
        raise LstError(
            f"{workspace.root} holds {lost} another split",
            "choose a new workspace with -w DIR, or move these out of the way with --force",
        )
    return others
