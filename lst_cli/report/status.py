"""`lst status`: what is done, what is next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from lst_cli.display.tables import Column, Table, format_value
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_all_metrics, load_metrics
from lst_cli.files import read_regular
from lst_cli.report.data import REPORT_JSON
from lst_cli.train.train import next_training_command
from lst_cli.workspace.store import Workspace
from lst_cli.workspace.training_log import logged_iterations

State = Literal["done", "under way", "next", "waiting", "outdated"]


@dataclass(frozen=True)
class PhaseStatus:
    """One phase of a workspace."""

    phase: int
    state: State  # outdated, if the phase before it was trained again
    classes: int  # that arrive in it
    instances: tuple[int, int]  # fewest and most training instances of these
    entries: int | None  # an epoch, replay included; None for a base not begun
    iterations: int | None  # of the whole phase
    iterations_done: int  # by the log, of a phase under way
    image_passes: int | None  # of a phase begun; an image seen twice counts twice
    seconds: float | None  # of training
    megabytes: float  # of its directory
    ap: float | None  # mask AP over all classes seen; None if not evaluated
    ap_new: float | None  # mask AP over its own classes when it was learned
    added: bool  # by `lst extend`
    adopted: bool  # by `lst adopt`


@dataclass(frozen=True)
class Status:
    """A workspace at a glance."""

    workspace: str
    classes: int
    joint: bool
    image_passes: int  # of all finished phases
    next_command: str | None  # None if nothing is left
    phases: tuple[PhaseStatus, ...]


def read_status(workspace: Workspace) -> Status:
    """Look at a workspace."""
    split, upcoming = workspace.split, workspace.next_phase()
    phases = tuple(_phase_status(workspace, phase, upcoming) for phase in range(len(split.groups)))
    return Status(
        workspace=str(workspace.root),
        classes=len(split.classes),
        joint=workspace.joint,
        image_passes=sum(one.image_passes or 0 for one in phases if one.state == "done"),
        next_command=next_command(workspace),
        phases=phases,
    )


def status_table(status: Status) -> Table:
    """Make the table of `lst status`: a row a phase."""

    def name(one: PhaseStatus) -> str:
        if one.phase == 0:
            return "joint" if status.joint else "base adopted" if one.adopted else "base"
        return f"{one.phase} added" if one.added else str(one.phase)

    def instances(one: PhaseStatus) -> str:
        return f"{one.instances[1]:,} to {one.instances[0]:,}"

    def iterations(one: PhaseStatus) -> str | int | None:
        if one.state != "under way":
            return one.iterations
        return f"{one.iterations_done:,} of {format_value('integer', one.iterations)}"

    columns = (
        Column("phase", "phase", "text", name),
        Column("state", "state", "text"),
        Column("classes", "classes", "integer"),
        Column("instances", "instances", "integer", instances),
        Column("entries", "samples", "integer"),
        Column("iterations", "iterations", "integer", iterations),
        Column("image_passes", "image passes", "integer"),
        Column("seconds", "time", "seconds"),
        Column("megabytes", "size", "integer", lambda one: f"{one.megabytes:,.0f} MB"),
        Column("ap", "AP"),
        Column("ap_new", "AP new"),
    )
    passes = f"{status.image_passes:,} image passes so far"
    title = f"{status.workspace}: {status.classes:,} classes, {passes}"
    return Table.of(title, status.phases, columns)


def next_command(workspace: Workspace) -> str | None:
    """What to type next; None where everything is trained, evaluated and in the report."""
    training = next_training_command(workspace)
    if training is not None:
        return training
    evaluated = [workspace.phase(phase).metrics.exists() for phase in workspace.done_phases()]
    if evaluated[-1]:  # the others may be left out
        return None if _is_reported(workspace) else "lst report"
    return "lst eval --all-phases" if len(evaluated) > 1 and not any(evaluated) else "lst eval"


def _is_reported(workspace: Workspace) -> bool:
    """Whether the report rests on the newest evaluations."""
    try:
        reported = json.loads(read_regular(workspace.layout.report / REPORT_JSON))["metrics"]
        known = load_all_metrics(workspace, workspace.done_phases())
    except (LstError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(reported == [metrics.model_dump(mode="json") for metrics in known])


def _phase_status(workspace: Workspace, phase: int, upcoming: int | None) -> PhaseStatus:
    split = workspace.split
    manifest = workspace.manifest(phase)
    counts = [record.instances for record in split.classes_of(phase)]
    metrics = load_metrics(workspace, phase)
    state: State = "waiting"
    done = 0
    if manifest is not None and manifest.done:
        state = "done" if phase in workspace.done_phases() else "outdated"
        done = manifest.iterations
    elif phase == upcoming:
        state = "next" if manifest is None else "under way"
        done = logged_iterations(workspace.phase(phase).log) if manifest else 0
    length = manifest or (split.phases[phase - 1] if phase > 0 else None)
    files = [path for path in workspace.phase(phase).root.rglob("*") if path.is_file()]
    return PhaseStatus(
        phase=phase,
        state=state,
        classes=len(counts),
        instances=(min(counts), max(counts)),
        entries=length.new_entries + length.replay_entries if length else None,
        iterations=length.iterations if length else None,
        iterations_done=done,
        image_passes=manifest.image_passes if manifest else None,
        seconds=manifest.seconds if manifest else None,
        megabytes=sum(path.stat().st_size for path in files) / 1e6,
        ap=metrics.segm.AP if metrics else None,
        ap_new=metrics.segm.new if metrics else None,
        added=split.extension_at(phase) is not None,
        adopted=manifest is not None and manifest.adopted is not None,
    )
