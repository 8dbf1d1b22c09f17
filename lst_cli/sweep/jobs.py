"""What a sweep comes to: which workspaces are trained, in which order, on how many images.

Deciding only: nothing is written here, and torch is not needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import usable_instances
from lst_cli.compare.paired import Setting
from lst_cli.errors import LstError
from lst_cli.evaluate.calibrate import require_correctable
from lst_cli.inputs import TrainingInput
from lst_cli.phases.bins import parse_bins
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import NO_MATTER, Settings
from lst_cli.settings.nested import flatten
from lst_cli.split.split import make_split, plan_phases
from lst_cli.sweep.plan import PlannedRun, SweepPlan
from lst_cli.text import did_you_mean
from lst_cli.train.budget import count_iterations, scheduled
from lst_cli.train.plan import require_growable, split_data
from lst_cli.workspace.layout import SweepLayout
from lst_cli.workspace.manifest import Split

# Settings that decide nothing about the weights of a base phase.
NOT_OF_THE_BASE = ("step", "mwg", "eval")


@dataclass(frozen=True)
class PhaseCount:
    """What training a phase means.

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
        phases: What training each of its phases means.
        base: The job whose base phase it takes over; None if it trains its own.
        users: Names of the jobs that take over its base phase.
        same_as: Name of an earlier job in whose directory it lies, since it would be the very same.
    """

    name: str
    kind: Literal["base", "lst", "joint"]
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
        every: The jobs of all runs of the plan, those that were not selected too.
        earlier: Jobs of seeds that were asked for another time; they are not to be done.
    """

    plan: SweepPlan
    layout: SweepLayout
    jobs: tuple[Job, ...]
    every: tuple[Job, ...]
    earlier: tuple[Job, ...] = ()


def plan_jobs(
    plan: SweepPlan,
    train: Dataset,
    val: Dataset,
    root: Path,
    only: Sequence[str] = (),
    earlier: Sequence[tuple[str, int]] = (),
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
        earlier: Names of runs and seeds that were asked for another time.

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
    planner = _Planner(plan, train, val, SweepLayout(root))
    every = [
        planner.job(run, plan.seeds_of(run)[turn])
        for turn in range(max(len(plan.seeds_of(run)) for run in plan.runs))
        for run in plan.runs
        if turn < len(plan.seeds_of(run))
    ]
    made = tuple(planner.job(plan.run(name), seed) for name, seed in earlier)
    chosen = [job for job in every if job.run is not None and (not only or job.run.name in only)]
    jobs: list[Job] = []
    bases: dict[Path, list[str]] = {}
    # What two runs would do alike is done once.
    chosen = list({job.root: job for job in reversed(chosen)}.values())[::-1]
    for job in chosen:
        if job.base is not None:
            bases.setdefault(job.base.root, []).append(job.name)
    for job in chosen:
        if job.base is not None and job.base.root in bases:
            users = tuple(bases.pop(job.base.root))
            jobs.append(replace(job.base, users=users))
        jobs.append(job)
    return Sweep(plan, SweepLayout(root), tuple(jobs), tuple(every), made)


def planned_differences(sweep: Sweep) -> list[tuple[str, str, tuple[Setting, ...]]]:
    """In what each run will differ from the first of its kind.

    Returns:
        Name of the run, name of that first one, and what differs; runs that differ in nothing
        are left out.
    """
    found, firsts, known = [], dict[str, Job](), set[str]()
    for job in sweep.jobs:
        if job.run is None or job.run.name in known:
            continue
        known.add(job.run.name)
        first = firsts.setdefault(job.kind, job)
        assert first.run is not None
        if differs := setting_differences(first, job):
            found.append((job.run.name, first.run.name, differs))
    return found


def setting_differences(first: Job, this: Job) -> tuple[Setting, ...]:
    """In what two runs of one kind differ, as they are planned."""
    known = [_described(job) for job in (first, this)]
    keys = dict.fromkeys(key for table in known for key in table)
    return tuple(
        Setting(key=key, first=known[0][key], this=known[1][key])
        for key in keys
        # What one of them has no use for is no difference.
        if all(key in table for table in known) and known[0][key] != known[1][key]
    )


def unused_sections(kind: Literal["base", "lst", "joint"], settings: Settings) -> tuple[str, ...]:
    """Sections of the settings that a job never reads, however they are set.

    Args:
        kind: What is trained.
        settings: How.
    """
    if kind != "lst":
        return ("step", "mwg")
    return () if settings.step.mwg else ("mwg",)


def _described(job: Job) -> dict[str, str]:
    table = {"classes of the phases": " + ".join(str(len(group)) for group in job.split.groups)}
    budgets = [str(phase.image_passes) for phase in job.phases if phase.image_passes is not None]
    table["image passes"] = ", ".join(budgets) or "as the epochs say"
    unused = unused_sections(job.kind, job.settings)
    for key, value in flatten(job.settings.model_dump(mode="json")):
        if key not in (*NO_MATTER, "seed") and key.partition(".")[0] not in unused:
            table[key] = value if isinstance(value, str) else json.dumps(value)
    return table


class _Planner:
    """Makes jobs, and what they have in common once."""

    def __init__(self, plan: SweepPlan, train: Dataset, val: Dataset, layout: SweepLayout) -> None:
        self.plan, self.train, self.val, self.layout = plan, train, val, layout
        rows = train.instances.category_index[usable_instances(train)]
        self.classes = len(np.unique(rows))
        self.splits: dict[tuple[int | None, int], tuple[Split, TrainingInput]] = {}
        self.counted: dict[tuple[str, int], tuple[PhaseCount, ...]] = {}
        self.made: dict[str, Job] = {}

    def job(self, run: PlannedRun, seed: int) -> Job:
        settings = self._settings(run, seed)
        split, inputs = self._split_of(run, settings)
        job = Job(
            name=f"{run.name}-seed{seed}",
            kind=run.kind,
            root=self.layout.run(run.name, seed),
            seed=seed,
            run=run,
            settings=settings,
            words=self.plan.words_of(run, seed),
            weights=self.plan.data.weights,
            split=split,
            inputs=inputs,
            phases=self._phases(run, seed),
            base=self._base_of(run, seed, split.base_classes) if run.kind == "lst" else None,
        )
        unused = unused_sections(run.kind, settings)
        first = self.made.setdefault(
            _digest(
                [
                    job.kind,
                    settings.model_dump(mode="json", exclude={*unused, "device"}),
                    split.groups,
                    [phase.image_passes for phase in job.phases],
                ]
            ),
            job,
        )
        return job if first is job else replace(job, root=first.root, same_as=first.name)

    def _settings(self, run: PlannedRun, seed: int) -> Settings:
        settings = self.plan.settings_of(run, seed)
        with _named(self.plan, run):
            parse_bins(settings.eval.bins)
            if run.kind == "lst":
                require_growable(settings)
            else:
                require_correctable(0, settings)
        return settings

    def _base_of(self, run: PlannedRun, seed: int, base_classes: int) -> Job:
        """The base phase of a run; one phase after it stands for however many there are."""
        words = self.plan.words_of(run, seed, without=NOT_OF_THE_BASE)
        settings = load_settings(None, words)
        table = settings.model_dump(mode="json", exclude={*NOT_OF_THE_BASE, "device", "seed"})
        table["data"].pop("workers")
        table["base"].pop("save_every")
        digest = _digest([table, base_classes, self.plan.data.weights])
        alone, inputs = self._split(base_classes, 1, settings)
        return Job(
            name=f"base-{digest}-seed{seed}",
            kind="base",
            root=self.layout.base(digest, seed),
            seed=seed,
            run=None,
            settings=settings,
            words=words,
            weights=self.plan.data.weights,
            split=alone,
            inputs=inputs,
            phases=(_count(alone, inputs, 0, settings, None),),
        )

    def _split_of(self, run: PlannedRun, settings: Settings) -> tuple[Split, TrainingInput]:
        if run.kind == "joint":
            return self._split(None, 0, settings)
        b = run.b or self.plan.common.b
        base = max(1, round(b * self.classes)) if isinstance(b, float) else b
        with _named(self.plan, run):
            return self._split(base, run.phases or self.plan.common.phases, settings)

    def _split(
        self, base: int | None, phases: int, settings: Settings
    ) -> tuple[Split, TrainingInput]:
        key = (base, phases)
        if key not in self.splits:
            images = self.plan.data.images or (Path(),)
            self.splits[key] = make_split(self.train, self.val, images, base, phases, settings)
        split, inputs = self.splits[key]
        # The classes are the same for all; how long they are learned is not.
        return split.model_copy(update={"phases": plan_phases(split, settings)}), inputs

    def _phases(self, run: PlannedRun, seed: int) -> tuple[PhaseCount, ...]:
        key = (run.name, seed)
        if key not in self.counted:
            settings = self._settings(run, seed)
            split, inputs = self._split_of(run, settings)
            budgets = self._budgets(run, seed, settings, split, inputs)
            self.counted[key] = tuple(
                _count(split, inputs, phase, settings, budget)
                for phase, budget in enumerate(budgets)
            )
        return self.counted[key]

    def _budgets(
        self,
        run: PlannedRun,
        seed: int,
        settings: Settings,
        split: Split,
        inputs: TrainingInput,
    ) -> Sequence[int | None]:
        phases = len(split.groups)
        if run.budget_of is None:
            return [run.image_passes] * phases
        other = self.plan.run(run.budget_of)
        # How much is shown hangs on no seed.
        theirs = [phase.shown for phase in self._phases(other, seed)]
        if run.kind == "joint":
            return [sum(theirs)]
        if len(theirs) != phases:
            raise LstError(
                f"{self.plan.source}: run {run.name}: budget-of: run {other.name} has "
                f"{len(theirs) - 1} phase(s) after the base phase, this one {phases - 1}",
                "give both the same phases, or leave budget-of out",
            )
        # Training adds a run's own rebalancing to what it is told to show.
        theirs[-1] -= _rebalancing_passes(split, inputs, settings)
        if theirs[-1] <= 0:
            raise LstError(
                f"{self.plan.source}: run {run.name}: budget-of: its rebalancing alone shows as "
                f"many images as the last phase of run {other.name}",
                "make step.rebalance_epochs smaller, or leave budget-of out",
            )
        # A base phase of the same settings is shared, not measured out anew.
        return [None, *theirs[1:]]


def _count(
    split: Split, inputs: TrainingInput, phase: int, settings: Settings, budget: int | None
) -> PhaseCount:
    entries = len(split_data(split, inputs, phase, settings))
    settings = scheduled(settings, phase, entries, budget)
    last = phase == len(split.groups) - 1
    _, iterations = count_iterations(settings, phase, entries, last=last)
    shown = iterations * settings.schedule(phase).batch_size
    return PhaseCount(settings, budget, iterations, shown)


def _rebalancing_passes(split: Split, inputs: TrainingInput, settings: Settings) -> int:
    """Images that rebalancing shows after the last phase."""
    last = len(split.groups) - 1
    entries = len(split_data(split, inputs, last, settings))
    own, total = count_iterations(settings, last, entries, last=True)
    return (total - own) * settings.schedule(last).batch_size


@contextmanager
def _named(plan: SweepPlan, run: PlannedRun) -> Iterator[None]:
    """Say in an error which run it is about."""
    try:
        yield
    except LstError as error:
        raise LstError(f"{plan.source}: run {run.name}: {error.message}", error.hint) from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
