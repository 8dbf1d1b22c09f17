"""`lst split`: class order, groups and a first look at balance."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lst_cli.annotations.read import Dataset
from lst_cli.check.check import check_pair
from lst_cli.check.fields import usable_instances
from lst_cli.check.images import check_shared_images
from lst_cli.display.class_plots import plot_class_counts, plot_replay_balance
from lst_cli.display.tables import ReplayBalance, ReportClass
from lst_cli.errors import LstError
from lst_cli.images.finder import ImageFinder
from lst_cli.inputs import (
    ImagePaths,
    TrainingInput,
    label_files,
    label_instances,
    read_training_files,
)
from lst_cli.modeling.zoo_files import require_config
from lst_cli.phases import replay
from lst_cli.phases.bins import frequency_of
from lst_cli.phases.classes import labels_of, order_classes, split_classes
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import read_checked, refuse_errors
from lst_cli.train.plan import (
    counted_per_epoch,
    pasted_per_epoch,
    phase_data,
    require_growable,
    scheduled,
)
from lst_cli.workspace import manifest
from lst_cli.workspace.atomic import write_bytes
from lst_cli.workspace.layout import MANIFEST
from lst_cli.workspace.manifest import ClassRecord, InputFile, PhasePlan, Split
from lst_cli.workspace.phase_files import drop, set_aside
from lst_cli.workspace.records import load_record
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class SplitRequest:
    """What is split into how many phases."""

    train: Path
    val: Path
    image_dirs: Sequence[Path]
    base: int | None  # b, the classes of phase 0; None for all of them (joint training)
    phases: int  # T, the phases after it
    skip_unusable: bool = False


def split_dataset(
    workspace: Workspace,
    request: SplitRequest,
    settings: Settings,
    *,
    force: bool = False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Split, list[ReplayBalance]]:
    """Sort the classes, divide them into phases, and write the workspace.

    With `force`, finished phases that were trained on another split are moved to `replaced/`, and
    others are removed; otherwise an `LstError` refuses their loss. `warn` is called with each
    problem that makes numbers wrong without stopping anything. Returns the split, and how balanced
    the training set of each later phase is.
    """
    require_config(settings)
    if request.base is not None:
        require_growable(settings)
    train, val = read_datasets(
        request.train, request.val, skip_unusable=request.skip_unusable, warn=warn
    )
    dirs = request.image_dirs
    if warn is not None:
        finder = ImageFinder(dirs)
        warn_of_missing_images((train, val), finder, warn)
        for problem in check_shared_images(train, val, finder):
            warn(problem.sentence)
    split, inputs = make_split(train, val, dirs, request.base, request.phases, settings)
    extended = _with_extensions(workspace, split)
    if extended is not split:
        inputs = label_files(extended, read_training_files(workspace, extended))
        plans = plan_phases(extended, inputs.occurrences, settings)
        split = extended.model_copy(update={"phases": plans})
    return split, write_split(workspace, split, inputs, settings, force=force)


def read_datasets(
    train: Path,
    val: Path,
    *,
    skip_unusable: bool = False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Dataset, Dataset]:
    """Read both annotation files; an `LstError` if they cannot be split."""
    train_set = read_checked(train, training=True, skip_unusable=skip_unusable, warn=warn)
    val_set = read_checked(val, training=False, skip_unusable=skip_unusable, warn=warn)
    refuse_errors(check_pair(train_set, val_set), f"{train} and {val}")
    return train_set, val_set


def warn_of_missing_images(
    files: Sequence[Dataset], finder: ImageFinder, warn: Callable[[str], None]
) -> None:
    """Look for the images of annotation files by name, which takes a second or two."""
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
    """Write a split that `make_split` decided, with its plots; returns the balances of the phases.

    Without `force` an `LstError` if phases of another split would be lost.
    """
    balances = measure_balance(inputs.occurrences, split, settings)
    with workspace.locked():
        others = _holds_other_phases(workspace, split, force)
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
    known: Collection[int] | None = None,
) -> tuple[Split, TrainingInput]:
    """Decide the split from annotations alone, and label the training annotations by it.

    Where the category ids that a model knows are given, these classes are the base, whatever `base`
    is; without later phases the others are left out.
    """
    usable = usable_instances(train)
    ids = train.categories.ids
    counts = np.bincount(train.instances.category_index[usable], minlength=len(ids))
    order = order_classes(ids, counts.astype(np.int64))
    if known is not None:
        is_known = np.isin(ids[order], list(known))
        base = int(is_known.sum())
        others = order[~is_known] if phases else order[:0]
        order = np.concatenate([order[is_known], others])
    base, phases = (len(order), 0) if base is None else (base, phases)
    groups = split_classes(len(order), base, phases)
    inputs = label_instances(train, ids[order].tolist())
    images = np.zeros(len(ids), dtype=np.int64)
    images[order] = inputs.occurrences.image_counts()
    in_val = val.categories.ids[val.instances.category_index[usable_instances(val)]]
    rows = labels_of(in_val, ids.tolist())
    val_counts = np.bincount(rows[rows >= 0], minlength=len(ids))
    records = [
        ClassRecord(
            category_id=int(ids[row]),
            name=name,
            instances=int(counts[row]),
            images=int(images[row]),
            frequency=train.categories.frequencies[row] or frequency_of(int(images[row])),
            val_instances=int(val_counts[row]),
        )
        for row, name in enumerate(train.categories.names)
    ]
    excluded = np.setdiff1d(np.arange(len(ids)), order)
    split = Split(
        train=input_file(train),
        val=input_file(val),
        image_dirs=tuple(str(Path(directory).resolve()) for directory in image_dirs),
        federated=val.federated,
        base_classes=base,
        classes=tuple(records[row] for row in order),
        groups=tuple(tuple(int(ids[order[label]]) for label in group) for group in groups),
        excluded=tuple(records[row] for row in excluded),
        left_out_instances=int((~usable).sum()),
        phases=(),
    )
    plans = plan_phases(split, inputs.occurrences, settings)
    return split.model_copy(update={"phases": plans}), inputs


def plan_phases(
    split: Split, occurrences: replay.Occurrences, settings: Settings
) -> tuple[PhasePlan, ...]:
    """Count what each phase t >= 1 trains on."""
    instances = occurrences.instance_counts()
    plans = []
    for phase in range(1, len(split.groups)):
        new, data = split.labels_of(phase), phase_data(split, occurrences, phase, settings)
        plans.append(
            PhasePlan(
                phase=phase,
                classes=len(new),
                new_entries=len(data) - data.replay_entries,
                replay_entries=data.replay_entries,
                mean_new_instances=float(replay.mean_new_instances(instances, new)),
                iterations=scheduled(settings, phase, len(data))[1],
            )
        )
    return tuple(plans)


def measure_balance(
    occurrences: replay.Occurrences, split: Split, settings: Settings
) -> list[ReplayBalance]:
    """Instances of each class before and after balancing, for each phase t >= 1.

    Also for the base phase, if objects are pasted there.
    """
    first = 0 if settings.base.paste_objects else 1
    phases = range(first, len(split.groups))
    return [balance_of(occurrences, split, phase, settings) for phase in phases]


def balance_of(
    occurrences: replay.Occurrences, split: Split, phase: int, settings: Settings
) -> ReplayBalance:
    """Instances of each class before and after balancing, for one phase."""
    new, schedule = split.labels_of(phase), settings.schedule(phase)
    data = phase_data(split, occurrences, phase, settings)
    before = occurrences.instance_counts()[: new.stop]
    after = counted_per_epoch(data, new.stop, settings)
    pasted = before[:0].astype(np.float64)
    if schedule.paste_objects:
        pasted = after + pasted_per_epoch(data, new, settings, after)
    sampler = settings.base.sampler if phase == 0 else settings.step.sampler
    kind = settings.step.replay if sampler == "samples" else sampler
    every = (before.tolist(), after.tolist(), new.start, kind, pasted.tolist())
    return ReplayBalance(phase, *every)


def report_classes(split: Split) -> list[ReportClass]:
    """The classes of a split in class order, each with its phase."""
    return [
        ReportClass(record.category_id, record.name, record.instances, record.images, phase)
        for phase in range(len(split.groups))
        for record in split.classes_of(phase)
    ]


def input_file(dataset: Dataset) -> InputFile:
    """What a split records about a file."""
    return InputFile(
        path=str(dataset.path.resolve()),
        sha256=dataset.sha256,
        layout=dataset.layout,
        images=len(dataset.images.ids),
        instances=int(usable_instances(dataset).sum()),
        skipped={kind: len(rows) for kind, rows in dataset.skipped.items()},
    )


def _with_extensions(workspace: Workspace, made: Split) -> Split:
    """A split that was made again, with the classes that `lst extend` added to it since.

    A split of other classes or files gets none; `_holds_other_phases` refuses the loss.
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


def _holds_other_phases(workspace: Workspace, split: Split, force: bool) -> bool:
    """Whether there are phases of another split, which are refused unless `force` is given.

    The manifests of the phases are compared, so that a split that was moved, damaged or removed
    can be made again.
    """
    others = False
    for path in sorted(workspace.layout.phases.glob(f"*/{MANIFEST}")):
        hint = f"put the file back, or move {path.parent} elsewhere"
        found = load_record(manifest.PhaseManifest, path, hint, manifest.FORMATS)
        others |= found.split_sha256 != split.digest_at(found.phase)
    before = _split_before(workspace)
    unlike = before is not None and bool(before.extensions) and split.extensions == ()
    lost = "phases trained on" if others else "classes added to"
    if (others or unlike) and not force:
        raise LstError(
            f"{workspace.root} holds {lost} another split",
            "choose a new workspace with -w DIR, or move these to replaced/ with --force",
        )
    return others
