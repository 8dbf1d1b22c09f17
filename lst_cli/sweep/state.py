"""How far the workspaces of a sweep are, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lst_cli.ap.metrics import Metrics
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import load_metrics
from lst_cli.evaluate.resumable import make_header
from lst_cli.phases.bins import parse_bins
from lst_cli.sweep.jobs import Job, Sweep
from lst_cli.train.plan import NOMINAL_SOURCE, nominal_seconds_per_image
from lst_cli.train.train import changed_settings, weights_file
from lst_cli.workspace.store import Workspace
from lst_cli.workspace.training_log import logged_iterations


class Outlook(NamedTuple):
    """What is left of a job.

    Attributes:
        job: The job.
        state: How far it is, in a word or two.
        seconds: How long what is left of its own training may take, a shared base phase left out.
    """

    job: Job
    state: str
    seconds: float


def look_ahead(sweep: Sweep) -> tuple[list[Outlook], str]:
    """Count what a sweep would train, in the order of work; nothing is written.

    Returns:
        What is left, and what the estimates of time rest on.
    """
    rates = _measured_rates(sweep)
    found = [_job_outlook(sweep, job, rates) for job in sweep.jobs]
    return found, "the rate of what is finished here" if rates else NOMINAL_SOURCE


def locate(job: Job) -> Path:
    """Where the workspace of a job lies: what another version of lst trained for it is used.

    Digests are others where a version has other settings; before 0.2.0, runs had none.
    """
    if job.root.exists():
        return job.root
    names = (job.name, f"{job.name}-????????") if job.run else (f"*-seed{job.seed}",)
    earlier = [root for name in names for root in sorted(job.root.parent.glob(name))]
    return next((root for root in earlier if _is_trained_so(root, job)), job.root)


def find_metrics(job: Job, phase: int) -> Metrics | None:
    """The metrics of a phase, if it was evaluated as the job asks for.

    A user may have typed `lst eval` with other settings in a workspace of the sweep.

    Args:
        job: The job.
        phase: One of its phases.
    """
    wanted = job.settings
    try:
        found = load_metrics(Workspace(job.root), phase)
    except LstError:
        return None
    if found is None:
        return None
    bins = [(one.low, one.high) for one in parse_bins(wanted.eval.bins)]
    as_asked = [(one.low, one.high) for one in found.segm.bins] == bins and all(
        found.made_with.get(key) == value
        for key, value in make_header(None, "", wanted).settings.items()
        if key.startswith("eval.")
    )
    return found if as_asked else None


def left_to_evaluate(sweep: Sweep, job: Job) -> list[int]:
    """Phases of a run whose evaluation is asked for and missing."""
    if job.run is None:
        return []
    last = len(job.phases) - 1
    wanted = range(last + 1) if sweep.plan.evaluate == "all" else [last]
    return [phase for phase in wanted if find_metrics(job, phase) is None]


def is_finished(sweep: Sweep, job: Job) -> bool:
    """Whether nothing is left of a job."""
    try:
        if job.kind == "base":
            users = [one.root for one in sweep.jobs if one.name in job.users]
            return 0 in done_phases(job.root) or all(0 in done_phases(root) for root in users)
        trained = len(done_phases(job.root)) == len(job.phases)
        return trained and not left_to_evaluate(sweep, job)
    except LstError:
        return False


def done_phases(root: Path) -> list[int]:
    """Finished phases of a workspace; none if there is no workspace yet.

    Raises:
        LstError: If it is damaged.
    """
    workspace = Workspace(root)
    return workspace.done_phases() if workspace.layout.split.exists() else []


def _is_trained_so(root: Path, job: Job) -> bool:
    """Whether what is trained in a workspace, and there is something, was trained as in a job."""
    workspace = Workspace(root)
    try:
        if not workspace.layout.split.exists() or workspace.split.digest != job.split.digest:
            return False
        begun = [one for phase in range(len(job.phases)) if (one := workspace.manifest(phase))]
        if not begun or (job.kind == "lst" and begun[-1].phase == 0):
            return False  # of a base phase alone nobody knows what is to follow
        return weights_file(begun[0]) == job.weights and not any(
            changed_settings(one, job.phases[one.phase].settings) for one in begun
        )
    except LstError:
        return False


def _job_outlook(sweep: Sweep, job: Job, rates: Mapping[bool, float]) -> Outlook:
    workspace = Workspace(job.root)
    if is_finished(sweep, job):
        return Outlook(job, "done", 0.0)
    try:
        done = done_phases(job.root)
        begun = bool(done) or (workspace.layout.split.exists() and workspace.manifest(0))
    except LstError as error:
        return Outlook(job, f"damaged: {error.message}", 0.0)
    state = f"{len(done)} of {len(job.phases)} phases done" if begun else "to be done"
    left = range(max(1 if job.kind == "lst" else 0, len(done)), len(job.phases))
    if not left:
        state = "to be evaluated"
    nominal = nominal_seconds_per_image(job.settings)
    seconds = 0.0
    for phase in left:
        share = 1 - _done_share(workspace, phase, job.phases[phase].iterations)
        seconds += share * job.phases[phase].shown * rates.get(phase > 0, nominal)
    return Outlook(job, state, seconds)


def _done_share(workspace: Workspace, phase: int, iterations: int) -> float:
    """How much of a phase under way is done; what nothing was saved of has to be done again."""
    directory = workspace.phase(phase)
    if not directory.training_state.exists():
        return 0.0
    return min(1.0, logged_iterations(directory.log) / iterations)


def _measured_rates(sweep: Sweep) -> dict[bool, float]:
    """Seconds an image took, in later phases (True) and in the first (False)."""
    seconds = {False: 0.0, True: 0.0}
    images = {False: 0, True: 0}
    for root in {job.root for job in (*sweep.every, *sweep.jobs)}:
        try:
            manifests = [Workspace(root).require_done(phase) for phase in done_phases(root)]
        except LstError:
            continue
        for manifest in manifests:
            if manifest.seconds and manifest.image_passes and manifest.shared_from is None:
                seconds[manifest.phase > 0] += manifest.seconds
                images[manifest.phase > 0] += manifest.image_passes
    return {later: seconds[later] / images[later] for later in images if images[later]}
