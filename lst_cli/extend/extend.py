"""`lst extend`: classes that nobody planned, learned from a few annotated images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lst_cli.annotations.read import read_dataset
from lst_cli.ap.metrics import Way
from lst_cli.check.masks import read_usable, tell_skipped
from lst_cli.errors import LstError
from lst_cli.extend.box_sizes import describe_sizes, finest_stride, measure_boxes
from lst_cli.extend.plan import (
    Addition,
    Learned,
    NewFiles,
    NewPhase,
    add_phase,
    check_addition,
    describe_checks,
    refuse_background,
)
from lst_cli.inputs import TrainingInput, label_files, read_training_files, read_unchanged
from lst_cli.progress import Progress
from lst_cli.settings.models import Settings
from lst_cli.split.split import plan_phases
from lst_cli.train.bank import leave_bank
from lst_cli.train.plan import Events, Job, require_growable
from lst_cli.train.train import (
    TrainingOptions,
    digests,
    next_training_command,
    now,
    refuse_another_network,
    train_phase,
    versions,
)
from lst_cli.workspace.manifest import PhaseManifest, Split
from lst_cli.workspace.phase_files import drop, set_aside
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from torch import Tensor

# See `InstantClasses.write`.
Learn = Callable[[NewPhase, bool], Learned]


def load_learning(rows: Way | None = None, *, fitted: bool = True) -> Learn:
    """What writes the model of new classes without training; see `InstantClasses.write`.

    It needs torch and detectron2, which take seconds to import.
    """
    from lst_cli.extend.instant import InstantClasses

    def learn(new: NewPhase, anyway: bool) -> Learned:
        learned = InstantClasses(new).write(rows, fitted=fitted, anyway=anyway)
        given = (new.workspace, new.split, new.phase, new.inputs, new.settings)
        return replace(learned, bank_sha256=leave_bank(*given, new.progress))

    return learn


def extend_workspace(
    workspace: Workspace,
    settings: Settings,
    files: NewFiles,
    *,
    finetune: bool = False,
    events: Events | None = None,
    learn: Learn | None = None,
) -> PhaseManifest:
    """Add a phase of new classes behind the phases that are done.

    Planned phases that are not begun move up by one. Whatever stops it, nothing that was there
    is lost, and the same call continues it. The phase is learned instantly, by `learn`, with the
    settings of the phase before but for device and data; to `finetune` is to train it, by the
    settings in [extend].

    Returns:
        The manifest of the finished phase.

    Raises:
        LstError: If no phase can be added now, or a file or class is refused.
    """
    events = events or Events()
    place_for_phase(workspace)  # before anything is read, or the workspace's directory made
    with workspace.locked():
        phase = place_for_phase(workspace)
        adopted = workspace.require_done(0).adopted
        if adopted is not None and not adopted.adopted:
            events.note("lst adopt has not evaluated its models yet: run the same lst adopt again")
        require_growable(workspace.trained_settings(phase - 1))
        addition, inputs = _decide(workspace, phase, settings, files, events.prepare)
        if not finetune and workspace.manifest(phase) is not None:
            raise LstError(
                f"phase {phase} is being trained on these classes", next_training_command(workspace)
            )
        previous = workspace.require_model(phase - 1)
        workspace.require_generator(phase - 1)
        if finetune:
            refuse_another_network(workspace, phase, previous, settings)
        for note in addition.notes:
            events.note(note)
        for file in (addition.split.extensions[-1].train, addition.split.extensions[-1].val):
            if file is not None and file.skipped:
                events.note(f"{Path(file.path).name}: {tell_skipped(file.skipped)}")
        if not finetune:
            return _add_instantly(workspace, addition, settings, inputs, events, learn)
        workspace.save_split(addition.split)
    how = TrainingOptions(fitted_rows=fitted_rows)
    return train_phase(workspace, phase, settings, how, events=events)


def fitted_rows(job: Job) -> Tensor:
    """Rows for a phase to begin with, as they would be without training; see `InstantClasses`."""
    from lst_cli.extend.instant import InstantClasses

    workspace, progress = job.workspace, job.events.prepare
    given = (workspace, job.plan.phase, workspace.split, job.settings, job.inputs, progress)
    return InstantClasses(NewPhase(*given)).first_rows()


def place_for_phase(workspace: Workspace) -> int:
    """Where a phase can be added: behind those that are done.

    An extension that was not finished keeps its place.

    Raises:
        LstError: If the base is not trained, a planned phase is under way, or a later phase
            was grown from what is done.
    """
    upcoming, hint = workspace.next_phase(), next_training_command(workspace)
    if upcoming == 0:
        raise LstError("the base phase must be trained first", hint)
    split = workspace.split
    place = len(split.groups) if upcoming is None else upcoming
    for later in range(place, len(split.groups)):
        manifest = workspace.manifest(later)
        added = split.extension_at(later) is not None
        if manifest is not None and manifest.done:
            raise LstError(f"phase {later} was built on a model that no longer exists", hint)
        if manifest is not None and not added:
            raise LstError(f"phase {later} is under way", hint)
        if added and later > place:
            raise LstError(
                f"phase {place} comes first: classes were added after it, in phase {later}", hint
            )
    return place


def _decide(
    workspace: Workspace, phase: int, settings: Settings, files: NewFiles, progress: Progress
) -> tuple[Addition, TrainingInput]:
    """What is added, checked; and all training annotations with it."""
    split = workspace.split
    before = split.up_to(phase - 1)
    read = read_usable if files.skip_unusable else read_dataset
    train = read(files.train)
    val = read(files.val) if files.val else read_unchanged(before.val_at(phase - 1), workspace)
    addition = add_phase(before, phase, train, val, files)
    pending = split.extension_at(phase)
    if pending is not None and split.digest != addition.split.digest:
        waiting = ", ".join(_names(split, phase))
        raise LstError(
            f"phase {phase} was added before, from {pending.train.path}, and is not finished: "
            f"{waiting}",
            next_training_command(workspace),
        )
    shared = check_addition(addition, train, val, progress)
    split = addition.split
    inputs = label_files(split, [*read_training_files(workspace, before), train])
    plans = plan_phases(split, inputs.occurrences, settings)
    split = split.model_copy(update={"phases": plans})
    stride = finest_stride(workspace.trained_settings(phase - 1))
    sizes = measure_boxes(inputs, split.labels_of(phase), settings.data, stride)
    remarks = describe_sizes(_names(split, phase), sizes, stride)
    notes = (*addition.notes, *shared, *remarks)
    return replace(addition, split=split, notes=notes, sizes=sizes), inputs


def _names(split: Split, phase: int) -> list[str]:
    return [record.name for record in split.classes_of(phase)]


def _add_instantly(
    workspace: Workspace,
    addition: Addition,
    settings: Settings,
    inputs: TrainingInput,
    events: Events,
    learn: Learn | None,
) -> PhaseManifest:
    phase, split = addition.phase, addition.split
    # The network and its generator are those of the phase before; so are their settings.
    settings = workspace.trained_settings(phase - 1).model_copy(
        update={"device": settings.device, "data": settings.data}
    )
    directory = workspace.phase(phase)
    drop(set_aside(directory.root, workspace.root))  # of a run that was cut short
    # Only now is it sure that it is needed. The time it takes to load is none of learning.
    learn = learn or load_learning()
    started, began = now(), time.perf_counter()
    new = NewPhase(workspace, phase, split, settings, inputs, events.prepare)
    learned = learn(new, addition.anyway)
    seconds = time.perf_counter() - began
    names = _names(split, phase)
    if not addition.anyway:
        try:
            refuse_background(names, learned)
        except LstError:
            drop(set_aside(directory.root, workspace.root))
            raise
    for note in describe_checks(names, learned, anyway=addition.anyway):
        events.note(note)
    missing = workspace.missing_generator(phase)
    if learned.way == "mean-feature" and missing is not None:
        events.note(
            f"{missing}: the rows of the new classes are their mean "
            "features (imprinting); `lst step --mwg` trains a generator"
        )
    manifest = PhaseManifest(
        phase=phase,
        done=True,
        split_sha256=split.digest_at(phase),
        previous_sha256=workspace.require_done(phase - 1).model_sha256,
        new_classes=len(split.groups[phase]),
        seen_classes=split.seen_classes(phase),
        new_entries=split.phases[phase - 1].new_entries,
        replay_entries=0,
        replay_counts={},
        iterations=0,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
        weights=None,
        versions=versions(),
        device=learned.device,
        started=started,
        finished=now(),
        seconds=seconds,
        **digests(directory),
        bank_sha256=learned.bank_sha256,
        new_rows=learned.way,
        checks=tuple(
            check.model_copy(update={"tiny": one.tiny, "whole_image": one.whole_image})
            for check, one in zip(learned.checks, addition.sizes, strict=False)
        ),
        known_images=learned.known_images,
        old_alarms=learned.old_alarms,
    )
    # The model first: a split never promises a phase that had to be given up. The manifest
    # last: it makes the phase done.
    workspace.save_split(split)
    workspace.save_manifest(manifest)
    return manifest
