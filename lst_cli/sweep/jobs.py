"""The jobs of a sweep: which workspaces are trained, in which order, on how many images.

Deciding only: nothing is written here, and torch is not needed. A workspace is named by a digest
of what it is trained on, so that one of other settings or other data is another workspace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import usable_instances
from lst_cli.compare.paired import Setting
from lst_cli.errors import LstError
from lst_cli.images.finder import HERE
from lst_cli.inputs import TrainingInput
from lst_cli.phases.bins import parse_bins
from lst_cli.settings.diff import values
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Settings
from lst_cli.split.split import make_split, plan_phases
from lst_cli.sweep.plan import PlannedRun, SweepPlan
from lst_cli.text import did_you_mean
from lst_cli.train.budget import count_iterations, scheduled
from lst_cli.train.plan import require_growable, split_data
from lst_cli.workspace.layout import SweepLayout
from lst_cli.workspace.manifest import Split

Kind = Literal["base", "lst", "joint"]
Splits = tuple[Split, TrainingInput]


@dataclass(frozen=True)
class PhaseCount:
    """Length of a phase.

    Attributes:
        settings: How it is trained, after a budget was spent.
        image_passes: The budget; None for the epochs of the settings.
        iterations: Optimizer updates.
        shown: Images that are shown in all.
    """

    settings: Settings
    image_passes: int | None
    iterations: int
    shown: int


@dataclass(frozen=True)
class Job:
    """One workspace of a sweep: a run with one of its seeds, or a base phase that runs share.

    Attributes:
        name: What progress and errors call it.
        kind: What is trained in it.
        root: Its directory.
        seed: Its seed.
        run: The run; None for a shared base phase.
        settings: How it is trained and evaluated.
        words: `key=value` words that stand for these, for its `lst.toml`.
        weights: Initial weights of its first phase; None for the network's own.
        split: Its classes and phases.
        inputs: The training annotations in terms of the split.
        phases: Length of each of its phases.
        base: The job whose base phase it takes over; None if it trains its own.
        users: Names of the jobs that take over its base phase.
        same_as: Name of an earlier job in whose directory it lies, as the two are the same.
    """

    name: str
    kind: Kind
    root: Path
    seed: int
    run: PlannedRun | None
    settings: Settings
    words: tuple[str, ...]
    weights: str | None
    split: Split
    inputs: TrainingInput
    phases: tuple[PhaseCount, ...]
    base: Job | None = None
    users: tuple[str, ...] = ()
    same_as: str = ""

    @property
    def image_passes(self) -> int:
        """Images that all its phases show together, a shared one included."""
        return sum(phase.shown for phase in self.phases)


@dataclass(frozen=True)
class Sweep:
    """All work of a sweep.

    Attributes:
        plan: What was asked for.
        layout: Where it lies.
        jobs: In the order of work: a base phase comes before the runs that share it.
        every: The jobs of all runs of the plan, those that were not selected too, and after them
            seeds that are not asked for this time and have a workspace.
    """

    plan: SweepPlan
    layout: SweepLayout
    jobs: tuple[Job, ...]
    every: tuple[Job, ...]

    def is_asked_for(self, job: Job) -> bool:
        """Whether the plan has the seed of a run."""
        return job.run is not None and job.seed in self.plan.seeds_of(job.run)


def plan_jobs(
    plan: SweepPlan,
    train: Dataset,
    val: Dataset,
    root: Path,
    only: Sequence[str] = (),
    locate: Callable[[Job], Path] = lambda job: job.root,
) -> Sweep:
    """Decide what is trained where.

    Runs that learn phase by phase share a base phase if it would be the same: the same classes,
    seed, initial weights and settings. The first seed of all runs comes before the second.

    Args:
        plan: What is asked for.
        train: Training annotations.
        val: Validation annotations.
        root: The directory of the sweep.
        only: Names of the runs to make; all, if empty.
        locate: Tells where the workspace of a job lies, if not in its own directory.

    Raises:
        LstError: If a run does not fit the data or its budget, or `only` names none.
    """
    names = [run.name for run in plan.runs]
    for name in only:
        if name not in names:
            raise LstError(
                f"--only {name}: no such run{did_you_mean(name, names)}",
                f"choose among {', '.join(names)}",
            )
    layout = SweepLayout(root)
    planner = _Planner(plan, train, val, layout, locate)
    every = [
        planner.job(run, plan.seeds_of(run)[turn])
        for turn in range(max(len(plan.seeds_of(run)) for run in plan.runs))
        for run in plan.runs
        if turn < len(plan.seeds_of(run))
    ]
    earlier = [
        planner.job(run, seed)
        for seed in layout.seeds()
        for run in plan.runs
        if run.seeds is None and seed not in plan.seeds_of(run)
    ]
    chosen: dict[Path, Job] = {}  # a workspace that two runs have in common is made once
    for job in every:
        if job.run is not None and (not only or job.run.name in only):
            chosen.setdefault(job.root, job)
    jobs: dict[Path, Job] = {}
    for job in chosen.values():
        if job.base is not None and job.base.root not in jobs:
            users = [one.name for one in chosen.values() if _base_root(one) == job.base.root]
            jobs[job.base.root] = replace(job.base, users=tuple(users))
        jobs[job.root] = job
    every += [job for job in earlier if job.root.exists()]
    return Sweep(plan, layout, tuple(jobs.values()), tuple(every))


def run_differences(sweep: Sweep) -> dict[str, tuple[str, tuple[Setting, ...]]]:
    """In what each run differs from the first of its kind.

    Returns:
        By the name of a run: what tables call that first one, and the differences, at least one.
    """
    found: dict[str, tuple[str, tuple[Setting, ...]]] = {}
    firsts: dict[str, Job] = {}
    for job in sweep.every:
        first = firsts.setdefault(job.kind, job)
        one, other = _described(first, job), _described(job, first)
        differs = tuple(
            Setting(key=key, first=value, this=other[key])
            for key, value in one.items()
            # Settings that only one of them uses are ignored.
            if other.get(key, value) != value
        )
        if differs and job.run is not None and first.run is not None:
            found.setdefault(job.run.name, (first.run.title, differs))
    return found


def used_settings(kind: Kind, settings: Settings) -> dict[str, Any]:
    """Settings that decide a job's weights and results, by dotted key.

    Args:
        kind: What is trained.
        settings: How; sections that such a job never reads are left out, and its seed.
    """
    unused: tuple[str, ...] = () if settings.step.mwg else ("mwg",)
    if kind != "lst":
        unused = ("step", "mwg")
    return {
        key: value
        for key, value in values(settings, "weights", "detections", "display").items()
        if key != "seed" and key.partition(".")[0] not in unused
    }


def _base_root(job: Job) -> Path | None:
    return job.base.root if job.base is not None else None


def _described(job: Job, other: Job) -> dict[str, str]:
    """What decides the results of a run, to be compared with the same of another."""
    table = {"classes of the phases": " + ".join(str(len(group)) for group in job.split.groups)}
    lengths: tuple[str, ...] = ()
    if any(phase.image_passes for phase in (*job.phases, *other.phases)):
        # Where one has a budget, images are compared, and not the epochs that they make.
        lengths = ("epochs", "decay_epochs", "image_passes")
        table["image passes"] = " + ".join(f"{phase.shown:,}" for phase in job.phases)
    for key, value in used_settings(job.kind, job.settings).items():
        if key.rpartition(".")[2] not in lengths:
            table[key] = value if isinstance(value, str) else json.dumps(value)
    return table


@dataclass
class _Planner:
    """Makes jobs; what jobs have in common is made once."""

    plan: SweepPlan
    train: Dataset
    val: Dataset
    layout: SweepLayout
    locate: Callable[[Job], Path]
    splits: dict[tuple[int | None, int], Splits] = field(default_factory=dict)
    counted: dict[tuple[str, int], tuple[PhaseCount, ...]] = field(default_factory=dict)
    made: dict[str, Job] = field(default_factory=dict)

    def job(self, run: PlannedRun, seed: int) -> Job:
        settings = self._settings(run, seed)
        split, inputs = self._split_of(run, settings)
        phases = self._phases(run, seed)
        used = used_settings(run.kind, settings)
        budgets = [phase.image_passes for phase in phases]
        # Evaluation is not training: with another `eval` a run stays where it is.
        trained = {key: value for key, value in used.items() if not key.startswith("eval.")}
        weights = self.plan.data.weights
        digest = _digest([split.digest, weights, trained, budgets])
        job = Job(
            name=f"{run.name}-seed{seed}",
            kind=run.kind,
            root=self.layout.run(run.name, digest, seed),
            seed=seed,
            run=run,
            settings=settings,
            words=self.plan.words_of(run, seed),
            weights=weights,
            split=split,
            inputs=inputs,
            phases=phases,
            base=self._base_of(run, seed, split.base_classes) if run.kind == "lst" else None,
        )
        first = self.made.setdefault(_digest([digest, used, seed]), job)
        if first.name != job.name:
            return replace(job, root=self.locate(first), same_as=first.name)
        return replace(job, root=self.locate(job))

    def _settings(self, run: PlannedRun, seed: int) -> Settings:
        settings = self.plan.settings_of(run, seed)
        with _named(self.plan, run):
            parse_bins(settings.eval.bins, "eval.bins")
            if run.kind == "lst":
                require_growable(settings)
        return settings

    def _base_of(self, run: PlannedRun, seed: int, base_classes: int) -> Job:
        """The base phase of a run; one phase after it stands for however many there are."""
        words = self.plan.words_of(run, seed, without=("step", "mwg", "eval"))
        settings = load_settings(None, words)
        split, inputs = self._split(base_classes, 1, settings)
        weights = self.plan.data.weights
        digest = _digest([split.digest, weights, used_settings("base", settings)])
        job = Job(
            name=f"base-{digest}-seed{seed}",
            kind="base",
            root=self.layout.base(digest, seed),
            seed=seed,
            run=None,
            settings=settings,
            words=words,
            weights=weights,
            split=split,
            inputs=inputs,
            phases=(_count(split, inputs, 0, settings, None),),
        )
        return replace(job, root=self.locate(job))

    def _split_of(self, run: PlannedRun, settings: Settings) -> Splits:
        if run.kind == "joint":
            return self._split(None, 0, settings)
        b = run.b or self.plan.common.b
        if isinstance(b, float):
            rows = self.train.instances.category_index[usable_instances(self.train)]
            b = max(1, round(b * len(np.unique(rows))))
        with _named(self.plan, run):
            return self._split(b, run.phases or self.plan.common.phases, settings)

    def _split(self, base: int | None, phases: int, settings: Settings) -> Splits:
        key = (base, phases)
        if key not in self.splits:
            images = self.plan.data.images or HERE
            self.splits[key] = make_split(self.train, self.val, images, base, phases, settings)
        split, inputs = self.splits[key]
        # The classes are the same for all; how long they are learned is not.
        return split.model_copy(update={"phases": plan_phases(split, settings)}), inputs

    def _phases(self, run: PlannedRun, seed: int) -> tuple[PhaseCount, ...]:
        key = (run.name, seed)
        if key not in self.counted:
            settings = self._settings(run, seed)
            split, inputs = self._split_of(run, settings)
            budgets = self._budgets(run, seed, len(split.groups))
            self.counted[key] = tuple(
                _count(split, inputs, phase, settings, budget)
                for phase, budget in enumerate(budgets)
            )
        return self.counted[key]

    def _budgets(self, run: PlannedRun, seed: int, phases: int) -> Sequence[int | None]:
        if run.budget_of is None:
            return [run.image_passes] * phases
        other = self.plan.run(run.budget_of)
        # The number of images does not depend on the seed.
        theirs = [phase.shown for phase in self._phases(other, seed)]
        if run.kind == "joint":
            return [sum(theirs)]
        if len(theirs) != phases:
            raise LstError(
                f"{self.plan.source}: run {run.name}: budget-of: run {other.name} has "
                f"{len(theirs) - 1} phase(s) after the base phase, this one {phases - 1}",
                "give both the same phases, or leave budget-of out",
            )
        # A base phase of the same settings is shared, whatever its budget.
        return [None, *theirs[1:]]


def _count(
    split: Split, inputs: TrainingInput, phase: int, settings: Settings, budget: int | None
) -> PhaseCount:
    entries = len(split_data(split, inputs, phase, settings))
    settings = scheduled(settings, phase, entries, budget)
    iterations = count_iterations(settings, phase, entries)
    shown = iterations * settings.schedule(phase).batch_size
    return PhaseCount(settings, budget, iterations, shown)


@contextmanager
def _named(plan: SweepPlan, run: PlannedRun) -> Iterator[None]:
    """Say in an error which run it is about."""
    try:
        yield
    except LstError as error:
        raise LstError(f"{plan.source}: run {run.name}: {error.message}", error.hint) from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
