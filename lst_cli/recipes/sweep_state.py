"""How far the workspaces of a sweep are, and whether they are still those of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lst_cli.config import Settings
from lst_cli.errors import LstError
from lst_cli.recipes.plan import NOMINAL_SOURCE, nominal_seconds_per_image
from lst_cli.recipes.sweep_jobs import NO_MATTER, Job, Sweep
from lst_cli.recipes.train import changed_settings, weights_file
from lst_cli.tables import flatten
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class JobOutlook:
    """What is left of a job.

    Attributes:
        job: The job.
        state: How far it is, in a word or two.
        iterations: Optimizer updates of its own training that are left, a shared base phase and
            what an interrupted phase has done left out.
        image_passes: Images that these show.
        seconds: How long they may take.
    """

    job: Job
    state: str
    iterations: int
    image_passes: int
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
    found = tuple(_job_outlook(job, rates) for job in sweep.jobs)
    source = "the rate of what is finished here" if rates else NOMINAL_SOURCE
    return Outlook(found, source)


def refuse_another(job: Job) -> None:
    """See that a workspace, if there is one, was made for this very job.

    Raises:
        LstError: If its split, its settings or what its phases were trained with are others.
    """
    workspace = Workspace(job.root)
    mend = f"put the plan back, choose another --dir, or remove {job.root}"
    if workspace.layout.split.exists() and workspace.split.digest != job.split.digest:
        raise LstError(f"{job.root} holds a split of other data or other phases", mend)
    first = workspace.manifest(0) if workspace.layout.split.exists() else None
    if first is None:
        return
    changed = []
    if weights_file(first) != job.weights:
        changed = [f"weights were {weights_file(first)}, are now {job.weights}"]
    elif workspace.layout.settings.exists():
        changed = _changed(workspace.settings(), job.settings)
    done = workspace.done_phases()
    for phase in done if not changed else ():
        changed = changed_settings(workspace.require_done(phase), job.phases[phase].settings)
        if changed:
            break
    if changed:
        raise LstError(f"{job.root} was made with other settings: {'; '.join(changed)}", mend)


def evaluated_otherwise(job: Job) -> bool:
    """Whether what is evaluated in a workspace was so under another test setting or other bins."""
    workspace = Workspace(job.root)
    return workspace.layout.settings.exists() and workspace.settings().eval != job.settings.eval


def _changed(before: Settings, now: Settings) -> list[str]:
    was, wanted = (dict(flatten(one.model_dump(mode="json"))) for one in (before, now))
    return [
        f"{key} was {was.get(key, 'not given')!r}, is now {wanted.get(key, 'not given')!r}"
        for key in sorted(was.keys() | wanted.keys())
        if was.get(key) != wanted.get(key)
        and key not in NO_MATTER
        and not key.startswith("eval.")  # see `evaluated_otherwise`
    ]


def _job_outlook(job: Job, rates: Mapping[bool, float]) -> JobOutlook:
    workspace = Workspace(job.root)
    first = 1 if job.kind == "lst" else 0
    done: list[int] = []
    state = "to be done"
    if workspace.layout.split.exists():
        try:
            refuse_another(job)
        except LstError as error:
            return JobOutlook(job, f"refused: {error.message}", 0, 0, 0.0)
        done = workspace.done_phases()
        if done or workspace.manifest(0) is not None:
            state = f"{len(done)} of {len(job.phases)} phases done"
    left = range(max(first, len(done)), len(job.phases))
    if not left:
        last = len(job.phases) - 1
        evaluated = job.kind == "base" or (
            workspace.phase(last).metrics.exists() and not evaluated_otherwise(job)
        )
        state = "done" if evaluated else "to be evaluated"
    nominal = nominal_seconds_per_image(job.settings)
    return JobOutlook(
        job,
        state,
        sum(job.phases[phase].iterations for phase in left),
        sum(job.phases[phase].shown for phase in left),
        sum(job.phases[phase].shown * rates.get(phase > 0, nominal) for phase in left),
    )


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
