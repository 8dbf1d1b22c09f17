"""`lst train-base`, `lst train-joint` and `lst step`: train one phase, or continue it."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lst_cli import __version__, ranks
from lst_cli.errors import LstError
from lst_cli.files import sha256_of
from lst_cli.modeling.zoo_files import require_network
from lst_cli.settings.diff import (
    ChangedSetting,
    differences,
    network_differences,
    unused_by_pasting,
    unused_sections,
)
from lst_cli.settings.models import EXTEND_REPLACES, Settings
from lst_cli.settings.nested import toml_value
from lst_cli.settings.renamed import REMOVED, WHY_REMOVED
from lst_cli.train.before_training import check_before_training, check_found_images, in_split
from lst_cli.train.initial import find_weights, require_teacher
from lst_cli.train.plan import (
    Events,
    Job,
    TrainingPlan,
    image_budget,
    plan_job,
    require_divisible,
    require_trainable,
)
from lst_cli.workspace.atomic import require_writable
from lst_cli.workspace.layout import PhaseDirectory
from lst_cli.workspace.manifest import PhaseManifest, completed, removed_settings
from lst_cli.workspace.phase_files import drop, put_back, remove_other_banks, set_aside
from lst_cli.workspace.store import Workspace
from lst_cli.workspace.training_log import open_log

if TYPE_CHECKING:
    from torch import Tensor

    from lst_cli.train.phase_run import PhaseRun

ANOTHER_STREAM = (
    "the phase was begun by one process without torchrun: from here on regions are drawn image by "
    "image, so its weights will not be those of a run that was not interrupted"
)
USEFUL_BASE_CLASSES = 110  # the smallest base of the paper's Table 3


@dataclass(frozen=True)
class TrainingOptions:
    """How a phase is begun."""

    weights: str | None = None  # initial weights of the base phase
    restart: bool = False  # whether a phase under way is thrown away
    image_passes: int | None = None  # images to show, instead of so many epochs
    fitted_rows: Callable[[Job], Tensor] | None = None  # as in `Job`


def dry_run(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    image_passes: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> TrainingPlan:
    """The plan of the next phase, without torch and without writing.

    `warn` is told how many training images are not there, with an example. Raises an `LstError` if
    the phase cannot be trained now.
    """
    require_trainable(workspace, phase, settings)
    require_divisible(settings, phase)
    require_network(settings)
    job = plan_job(workspace, phase, settings, image_passes)
    missing = job.inputs.paths.find_missing(workspace.split.train.path)
    if warn is not None and missing:
        warn(f"{missing.sentence}; {in_split(missing).hint}")
    return job.plan


def train_phase(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    options: TrainingOptions | None = None,
    *,
    events: Events | None = None,
) -> PhaseManifest:
    """Train the next phase to its end, from its start or from where it stopped: its manifest."""
    options, events = options or TrainingOptions(), events or Events()
    require_trainable(workspace, phase, settings)
    require_divisible(settings, phase)
    if not ranks.is_first():
        return _follow(workspace, phase, settings, options)
    if options.weights is not None and phase > 0:
        raise LstError("--weights: only the base phase takes initial weights", "lst step")
    options = replace(options, weights=find_weights(options.weights))
    with workspace.locked():
        require_trainable(workspace, phase, settings)
        job = plan_job(workspace, phase, settings, options.image_passes)
        # Everything that is needed is looked at before anything is moved or removed.
        previous = _require_previous(workspace, phase, job.settings)
        manifest = None if options.restart else workspace.manifest(phase)
        begun = manifest is not None
        if manifest is not None:
            _refuse_another_start(job, manifest, previous, options.weights)
        elif job.settings.step.mwg and phase > 0:
            _note_generator(workspace, phase, events)
        if phase == 0:
            source = options.weights or (weights_file(manifest) if manifest else None)
            require_teacher(source, workspace.split, job.settings)
        # A library that does not work is found before the images are read, which takes long.
        trainer = load_trainer()
        require_network(job.settings)
        if phase > 0 or begun:
            # The same files as before, whose digests were compared.
            parts, paths = job.inputs.dataset.parts, job.inputs.paths
            check_found_images(parts, paths, job.data.images(), progress=events.prepare)
        else:
            check_before_training(workspace.split, events.prepare)
        if manifest is None:
            manifest = _first_manifest(job, options, previous)
        by_image = manifest.by_image or ranks.is_launched()
        if begun and by_image and not manifest.by_image:
            events.note(ANOTHER_STREAM)
        for text in job.notes:
            events.note(text)
        directory = workspace.phase(phase)
        require_writable(directory.model, directory.training_state)
        # What a phase leaves that never got a manifest goes too.
        aside = None if begun else set_aside(directory.root, workspace.root)
        weights = options.weights or weights_file(manifest)
        try:
            rows, left_out = options.fitted_rows, manifest.left_out if begun else None
            job = replace(job, weights=weights, events=events, fitted_rows=rows, left_out=left_out)
            job = replace(job, by_image=by_image)
            _compare(job, previous)
            run = trainer(job)
            seconds = run.estimate()
            plan = job.plan if seconds is None else replace(job.plan, seconds=seconds, timed=True)
            events.plan(plan, run.start)
            events.note(f"device: {run.device_name}")
            # Only now has the phase begun: weights that could not be read must not bind the next
            # try.
            found = {"device": run.device_name, "weights": run.weight_report or manifest.weights}
            more = {"left_out": run.left_out, "by_image": by_image}
            manifest = manifest.model_copy(update={**found, **more})
            workspace.save_manifest(manifest)
        except BaseException:
            put_back(aside, directory.root)
            raise
        if (moved := drop(aside)) is not None:
            events.note(moved)
        return _run(workspace, run, manifest, events)


def _follow(
    workspace: Workspace, phase: int, settings: Settings, options: TrainingOptions
) -> PhaseManifest:
    """Train a phase together with the first process, which alone writes."""
    job = plan_job(workspace, phase, settings, options.image_passes)
    previous = _require_previous(workspace, phase, job.settings)
    _compare(job, previous)  # and wait: the first process moves files before it comes here
    begun = workspace.manifest(phase)
    weights, left_out = find_weights(options.weights), None
    if begun is not None:
        weights, left_out = weights or weights_file(begun), begun.left_out
    run = load_trainer()(replace(job, by_image=True, weights=weights, left_out=left_out))
    run.train(lambda report: None)
    _wait()
    return workspace.require_done(phase)


def _compare(job: Job, previous: PhaseManifest | None) -> None:
    """See that all processes train the same phase, from the same model."""
    if ranks.world() > 1:
        from lst_cli.engine.processes import require_same

        code = sorted(Path(__file__).parents[1].rglob("*.py"))
        require_same(
            {
                "code of lst": [sha256_of(path) for path in code],
                "versions of libraries": versions(),
                "settings": job.settings.model_dump(mode="json"),
                "split": job.workspace.split.digest_at(job.plan.phase),
                "model of the phase before": previous and previous.model_sha256,
            }
        )


def _wait() -> None:
    """Wait for the other processes."""
    if ranks.world() > 1:
        from lst_cli.engine.processes import wait

        wait()


def load_trainer() -> Callable[[Job], PhaseRun]:
    """The trainer; an `LstError` if torch or detectron2, which it imports, does not work."""
    from lst_cli.train.phase_run import PhaseRun

    return PhaseRun


def _run(
    workspace: Workspace, run: PhaseRun, manifest: PhaseManifest, events: Events
) -> PhaseManifest:
    directory = workspace.phase(manifest.phase)
    with open_log(directory.log, run.start) as write:

        def on_iteration(report: Any) -> None:
            values = {**report.losses, **report.details}
            write(report.iteration, report.seconds, report.lr, values)
            events.iteration(report)

        seconds = run.train(on_iteration)
    finish = {"done": True, "finished": now(), "seconds": seconds, **digests(directory)}
    done = manifest.model_copy(update={**finish, "bank_sha256": run.leave_bank()})
    workspace.save_manifest(done)
    remove_other_banks(directory, done.bank_sha256)
    directory.training_state.unlink(missing_ok=True)
    _wait()
    return done


def _require_previous(workspace: Workspace, phase: int, settings: Settings) -> PhaseManifest | None:
    """The manifest of the phase before, whose files are whole and of the same network."""
    if phase == 0:
        return None
    previous = workspace.require_model(phase - 1)
    refuse_another_network(workspace, phase, previous, settings)
    if settings.step.mwg:
        workspace.require_generator(phase - 1)
    return previous


def _note_generator(workspace: Workspace, phase: int, events: Events) -> None:
    """Say what a user of the generator may not expect."""
    classes = workspace.split.base_classes
    if classes < USEFUL_BASE_CLASSES:
        events.note(
            f"the generator attends over {classes} base classes, the paper's over "
            f"{USEFUL_BASE_CLASSES} and more: with so few, the attention is of little use"
        )
    missing = workspace.missing_generator(phase)
    if phase > 1 and missing is not None:
        events.note(f"{missing}: a new one is trained")


def _first_manifest(
    job: Job, options: TrainingOptions, previous: PhaseManifest | None
) -> PhaseManifest:
    """The manifest of a phase that begins now; nothing is written."""
    plan, settings, split = job.plan, job.settings, job.workspace.split
    step = settings.step
    return PhaseManifest(
        phase=plan.phase,
        done=False,
        split_sha256=split.digest_at(plan.phase),
        previous_sha256=previous.model_sha256 if previous else None,
        new_classes=plan.new_classes,
        seen_classes=plan.seen_classes,
        new_entries=plan.new_entries,
        replay_entries=plan.replay_entries,
        replay_counts=plan.replay_counts,
        iterations=plan.iterations,
        image_budget=image_budget(settings, plan.phase, options.image_passes),
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
        weights={"source": options.weights} if options.weights else None,
        versions=versions(),
        device="",
        started=now(),
        new_rows=None if plan.phase == 0 else "generated" if step.mwg else step.new_rows,
        banks=_banks(job),
    )


def _banks(job: Job) -> tuple[str, ...]:
    """Digests of the banks of all phases before, if their objects are pasted."""
    if not job.quick or job.settings.step.replay != "bank":
        return ()
    phases = map(job.workspace.require_done, range(job.plan.phase))
    return tuple(one.bank_sha256 or "" for one in phases)


def _refuse_another_start(
    job: Job, before: PhaseManifest, previous: PhaseManifest | None, weights: str | None
) -> None:
    """See that a phase under way can be continued as it was begun."""
    workspace, settings, phase = job.workspace, job.settings, before.phase
    if before.previous_sha256 != (previous.model_sha256 if previous else None):
        raise LstError(
            f"phase {phase} was started from another model of phase {phase - 1}",
            "start it again with --restart",
        )
    extend = workspace.split.extension_at(phase) is not None
    changed = [str(one) for one in changed_settings(before, settings, extend=extend)]
    source = before.weights["source"] if before.weights else "not given"
    if weights is not None and weights != source:
        changed.append(f"--weights was {source}, is now {weights}")
    if not changed:
        for number, (was, is_now) in enumerate(zip(before.banks, _banks(job), strict=False)):
            if was != is_now:
                raise LstError(
                    f"phase {phase} was begun with another bank of phase {number}",
                    "start it again with --restart",
                )
        return
    if removed_settings(before):  # named in `changed`
        raise LstError(
            f"phase {phase} was begun with an option that {WHY_REMOVED}: " + "; ".join(changed),
            "--restart starts the phase again",
        )
    raise LstError(
        f"phase {phase} was begun with other settings: " + "; ".join(changed),
        f"{command_to_continue(workspace, before)} continues it as it was begun; "
        "--restart starts the phase again",
    )


def changed_settings(
    before: PhaseManifest, settings: Settings, *, extend: bool = False
) -> list[ChangedSetting]:
    """Settings that decide about a phase and are not those it was begun with.

    `extend` says whether it is a phase of `lst extend --finetune`.
    """
    if extend:
        settings = settings.for_extension()
    phase, quick = before.phase, extend and settings.extend.image_passes > 0
    unused = {
        *unused_sections(settings.step.mwg, base=phase == 0, later=phase > 0, extend=extend),
        *unused_by_pasting(settings, phase, quick=quick),
    }
    found = differences(completed(before), settings, "weights")
    found = [one for one in found if not unused & {one.key, one.key.partition(".")[0]}]
    if not quick:
        return found
    # These of [step] follow from [extend]; replay also from which images are there.
    own = {f"step.{name}": f"extend.{name}" for name in EXTEND_REPLACES}
    renamed = {own.get(one.key, one.key): one for one in reversed(found)}
    return [one._replace(key=key) for key, one in sorted(renamed.items())]


def digests(directory: PhaseDirectory) -> dict[str, str | None]:
    """The checksums of a finished phase's files, for its manifest."""
    files = {"model": directory.model, "generator": directory.generator,
             "attention": directory.attention}  # fmt: skip
    return {
        f"{name}_sha256": sha256_of(file) if file.exists() else None for name, file in files.items()
    }


def command_to_continue(workspace: Workspace, before: PhaseManifest) -> str:
    """The command that continues a phase under way, with the settings it was begun with."""
    words = [workspace.training_command(before.phase)]
    settings = workspace.settings()
    extend = workspace.split.extension_at(before.phase) is not None
    budget = before.image_budget
    if budget and budget != image_budget(settings, before.phase) and workspace.split.joint:
        words.append(f"--image-passes {budget}")
    for key, was, _ in changed_settings(before, settings, extend=extend):
        from_budget = budget and key.endswith(("epochs", "decay_epochs"))
        if was is not None and not from_budget and key not in REMOVED:
            words.append(f"--set {shlex.quote(f'{key}={toml_value(was)}')}")
    return " ".join(words)


def next_training_command(workspace: Workspace) -> str | None:
    """The command that trains or continues the next phase; None if all phases are trained."""
    upcoming = workspace.next_phase()
    if upcoming is None:
        return None
    manifest = workspace.manifest(upcoming)
    if manifest is None:
        return workspace.training_command(upcoming)
    if manifest.done:
        return f"{workspace.training_command(upcoming)} --restart"
    return command_to_continue(workspace, manifest)


def refuse_another_network(
    workspace: Workspace, phase: int, previous: PhaseManifest, settings: Settings
) -> None:
    """See that a phase grows the network it finds."""
    changed = list(map(str, network_differences(completed(previous), settings)))
    if changed:
        raise LstError(
            f"phase {phase} needs the network of phase {previous.phase}: " + "; ".join(changed),
            f"give the same settings to all phases, in {workspace.layout.settings}",
        )


def weights_file(manifest: PhaseManifest) -> str | None:
    """The `--weights` a phase was begun with; a network's own ImageNet weights are no file."""
    found = manifest.weights or {}
    return str(found["source"]) if "matched" in found else None


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"lst": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "detectron2", "sal-detectron2", "numpy", "timm"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def now() -> str:
    """The time, for a manifest."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
