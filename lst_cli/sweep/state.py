"""How far the workspaces of a sweep are, and whether they are still those of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lst_cli.ap.metrics import Metrics
from lst_cli.errors import LstError
from lst_cli.evaluate.calibrate import settings_in_series
from lst_cli.evaluate.evaluate import load_metrics
from lst_cli.evaluate.resumable import in_use, make_header
from lst_cli.phases.bins import parse_bins
from lst_cli.settings.models import NO_MATTER
from lst_cli.settings.nested import flatten
from lst_cli.sweep.jobs import Job, Sweep, unused_sections
from lst_cli.sweep.plan import SweepPlan
from lst_cli.train.plan import NOMINAL_SOURCE, nominal_seconds_per_image
from lst_cli.train.train import changed_settings, weights_file
from lst_cli.workspace.layout import SweepLayout
from lst_cli.workspace.store import Workspace
from lst_cli.workspace.training_log import logged_iterations


@dataclass(frozen=True)
class JobOutlook:
    """What is left of a job.

    Attributes:
        job: The job.
        state: How far it is, in a word or two.
        seconds: How long what is left of its own training may take, a shared base phase left out.
    """

    job: Job
    state: str
    seconds: float


@dataclass(frozen=True)
class Outlook:
    """What a sweep would do now.

    Attributes:
        jobs: In the order of work.
        seconds_from: What the estimates rest on.
    """

    jobs: tuple[JobOutlook, ...]
    seconds_from: str

    @property
    def seconds(self) -> float:
        """How long everything may take."""
        return sum(one.seconds for one in self.jobs)


def look_ahead(sweep: Sweep) -> Outlook:
    """Count what a sweep would train; nothing is written."""
    rates = _measured_rates(sweep)
    found = tuple(_job_outlook(sweep, job, rates) for job in sweep.jobs)
    source = "the rate of what is finished here" if rates else NOMINAL_SOURCE
    return Outlook(found, source)


def find_other_seeds(plan: SweepPlan, layout: SweepLayout) -> list[tuple[str, int]]:
    """Seeds that the plan does not ask for this time, and that lie in the sweep's directory.

    A run whose seeds stand in the plan has no others. All others have the same: one that is the
    very same as another run lies in the other's directory.

    Returns:
        Name of the run and seed, the first seed of all runs before the second.
    """
    runs = [run for run in plan.runs if run.seeds is None]
    found = sorted({seed for run in runs for seed in layout.seeds(run.name)})
    return [(run.name, seed) for seed in found for run in runs if seed not in plan.seeds_of(run)]


def refuse_another(job: Job) -> None:
    """See that a workspace, if there is one, was made for this very job.

    Raises:
        LstError: If its split, its settings or what its phases were trained with are others.
    """
    workspace = Workspace(job.root)
    mend = f"put the plan back, choose another --dir, or move {job.root} elsewhere"
    if workspace.layout.split.exists() and workspace.split.digest != job.split.digest:
        raise LstError(f"{job.root} holds a split of other data or other phases", mend)
    first = workspace.manifest(0) if workspace.layout.split.exists() else None
    if first is None:
        return
    changed = []
    if weights_file(first) != job.weights:
        changed = [f"weights were {weights_file(first)}, are now {job.weights}"]
    elif workspace.layout.settings.exists():
        changed = _changed(job)
    done = workspace.done_phases()
    for phase in done if not changed else ():
        changed = changed_settings(workspace.require_done(phase), job.phases[phase].settings)
        if changed:
            break
    if changed:
        raise LstError(f"{job.root} was made with other settings: {'; '.join(changed)}", mend)


def is_refused(job: Job) -> bool:
    """Whether another job's work lies in the directory of this one; see `refuse_another`."""
    try:
        refuse_another(job)
    except LstError:
        return True
    return False


def evaluated_otherwise(job: Job) -> bool:
    """Whether what is evaluated in a workspace was so under another test setting or other bins."""
    workspace = Workspace(job.root)
    return workspace.layout.settings.exists() and workspace.settings().eval != job.settings.eval


def find_metrics(job: Job, phase: int) -> Metrics | None:
    """What a phase was found to be worth, if it was judged as the job wants it to be.

    Whoever types `lst eval` in a workspace of the sweep may have judged it by another test setting.

    Args:
        job: The job.
        phase: One of its phases.
    """
    workspace = Workspace(job.root)
    try:
        if evaluated_otherwise(job) or (record := load_metrics(workspace, phase)) is None:
            return None
    except LstError:
        return None
    found = Metrics.model_validate(record)
    wanted = settings_in_series(job.settings, phase)
    bins = [(one.low, one.high) for one in parse_bins(wanted.eval.bins)]
    if [(one.low, one.high) for one in found.segm.bins] != bins:
        return None
    if found.made_with:  # older evaluations did not record it
        way = found.calibration.way if found.calibration is not None else "none"
        if way != wanted.eval.calibration:
            return None
        made = make_header(None, "", in_use(job.phases[phase].settings, wanted)).settings
        for key, value in made.items():
            if key.startswith("eval.") and found.made_with.get(key) != value:
                return None
    return found


def left_to_evaluate(sweep: Sweep, job: Job) -> list[int]:
    """Phases of a run whose evaluation is asked for and missing."""
    if job.run is None:
        return []
    last = len(job.phases) - 1
    wanted = range(last + 1) if sweep.plan.evaluate == "all" else [last]
    return [phase for phase in wanted if find_metrics(job, phase) is None]


def is_finished(sweep: Sweep, job: Job) -> bool:
    """Whether nothing is left of a job, and what is there was made for it."""
    workspace = Workspace(job.root)
    try:
        refuse_another(job)
        if job.kind == "base":
            users = [Workspace(one.root) for one in sweep.jobs if one.name in job.users]
            return _has_base(workspace) or all(map(_has_base, users))
        trained = workspace.layout.split.exists() and workspace.next_phase() is None
        return trained and not left_to_evaluate(sweep, job)
    except LstError:
        return False


def _has_base(workspace: Workspace) -> bool:
    return workspace.layout.split.exists() and workspace.is_done(0)


def _changed(job: Job) -> list[str]:
    """Settings that the job's workspace was made with and that differ, a line for each."""
    settings = (Workspace(job.root).settings(), job.settings)
    was, wanted = (dict(flatten(one.model_dump(mode="json"))) for one in settings)
    unused = unused_sections(job.kind, job.settings)
    return [
        f"{key} was {was.get(key, 'not given')!r}, is now {wanted.get(key, 'not given')!r}"
        for key in sorted(was.keys() | wanted.keys())
        if was.get(key) != wanted.get(key)
        and key not in NO_MATTER
        and key.partition(".")[0] not in (*unused, "eval")  # see `find_metrics`
    ]


def _job_outlook(sweep: Sweep, job: Job, rates: Mapping[bool, float]) -> JobOutlook:
    workspace = Workspace(job.root)
    first = 1 if job.kind == "lst" else 0
    done: list[int] = []
    state = "to be done"
    try:
        refuse_another(job)
    except LstError as error:
        return JobOutlook(job, f"refused: {error.message}", 0.0)
    if is_finished(sweep, job):
        return JobOutlook(job, "done", 0.0)
    if workspace.layout.split.exists():
        done = workspace.done_phases()
        if done or workspace.manifest(0) is not None:
            state = f"{len(done)} of {len(job.phases)} phases done"
    left = range(max(first, len(done)), len(job.phases))
    if not left:
        state = "to be evaluated"
    nominal = nominal_seconds_per_image(job.settings)
    seconds = 0.0
    for phase in left:
        share = 1 - _done_share(workspace, phase, job.phases[phase].iterations)
        seconds += share * job.phases[phase].shown * rates.get(phase > 0, nominal)
    return JobOutlook(job, state, seconds)


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
    roots: Iterable[Job] = {job.root: job for job in (*sweep.every, *sweep.jobs)}.values()
    for job in roots:
        workspace = Workspace(job.root)
        if not workspace.layout.split.exists():
            continue
        for phase in workspace.done_phases():
            manifest = workspace.require_done(phase)
            if manifest.seconds and manifest.image_passes and manifest.shared_from is None:
                seconds[phase > 0] += manifest.seconds
                images[phase > 0] += manifest.image_passes
    return {later: seconds[later] / images[later] for later in images if images[later]}
