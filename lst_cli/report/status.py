"""`lst status`: what is done, what is next."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    """One phase of a workspace.

    Attributes:
        phase: t; 0 is the base.
        state: What became of it; outdated if the phase before it was trained again.
        classes: Classes that arrive in it.
        instances: (fewest, most) training instances of these.
        entries: Entries an epoch, replay included; None for a base not begun.
        iterations: Optimizer updates of the whole phase.
        iterations_done: How many of these are done, by the log of a phase under way.
        image_passes: Images shown by these, of a phase begun; one seen twice counts twice.
        seconds: Training time.
        megabytes: Size of its directory.
        ap: Mask AP over all classes seen, a fraction; None if not evaluated.
        ap_new: Mask AP over its own classes when it was learned.
        added: Whether `lst extend` added it.
    """

    phase: int
    state: State
    classes: int
    instances: tuple[int, int]
    entries: int | None
    iterations: int | None
    iterations_done: int
    image_passes: int | None
    seconds: float | None
    megabytes: float
    ap: float | None
    ap_new: float | None
    added: bool


@dataclass(frozen=True)
class Status:
    """A workspace at a glance.

    Attributes:
        workspace: Its directory.
        classes: K.
        joint: Whether the split is for joint training.
        image_passes: Images that the finished phases showed together.
        next_command: What to type next; None if nothing is left.
        phases: All phases of the split.
    """

    workspace: str
    classes: int
    joint: bool
    image_passes: int
    next_command: str | None
    phases: tuple[PhaseStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """The status for `--json`."""
        return asdict(self)


def read_status(workspace: Workspace) -> Status:
    """Look at a workspace.

    Raises:
        LstError: If it holds no split, or a manifest is damaged.
    """
    split = workspace.split
    upcoming = workspace.next_phase()
    phases = tuple(_phase_status(workspace, phase, upcoming) for phase in range(len(split.groups)))
    return Status(
        workspace=str(workspace.root),
        classes=len(split.classes),
        joint=split.joint,
        image_passes=sum(one.image_passes or 0 for one in phases if one.state == "done"),
        next_command=next_command(workspace),
        phases=phases,
    )


def next_command(workspace: Workspace) -> str | None:
    """What to type next; None where everything is trained, evaluated and in the report."""
    training = next_training_command(workspace)
    if training is not None:
        return training
    evaluated = [workspace.phase(phase).metrics.exists() for phase in workspace.done_phases()]
    # `lst eval` alone judges the last phase. Who wants no more goes on to the report.
    if evaluated[-1]:
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
    counts = [split.classes[label].instances for label in split.labels_of(phase)]
    metrics = load_metrics(workspace, phase)
    state: State = "waiting"
    if manifest is not None and manifest.done:
        state = "done" if phase in workspace.done_phases() else "outdated"
    elif phase == upcoming:
        state = "next" if manifest is None else "under way"
    plan = split.phases[phase - 1] if phase > 0 else None
    entries = plan.new_entries + plan.replay_entries if plan else None
    iterations = plan.iterations if plan else None
    if manifest is not None:
        entries = manifest.new_entries + manifest.replay_entries
        iterations = manifest.iterations
    done = logged_iterations(workspace.phase(phase).log) if state == "under way" else 0
    if manifest is not None and manifest.done:
        done = manifest.iterations
    root = workspace.phase(phase).root
    size = sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) if root.exists() else 0
    return PhaseStatus(
        phase=phase,
        state=state,
        classes=len(counts),
        instances=(min(counts), max(counts)),
        entries=entries,
        iterations=iterations,
        iterations_done=done,
        image_passes=manifest.image_passes if manifest else None,
        seconds=manifest.seconds if manifest else None,
        megabytes=size / 1e6,
        ap=metrics.segm.AP if metrics else None,
        ap_new=metrics.segm.new if metrics else None,
        added=split.extension_at(phase) is not None,
    )
