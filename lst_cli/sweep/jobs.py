"""The jobs of a sweep: which workspaces are trained, in which order, on how many images.

Nothing is written here. A workspace is named by a digest of what it is trained on, so that one of
other settings or other data is another workspace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.annotations.read import Dataset
from lst_cli.check.fields import usable_instances
from lst_cli.compare.paired import Setting
from lst_cli.errors import LstError
from lst_cli.images.finder import HERE
from lst_cli.inputs import TrainingInput
from lst_cli.modeling.zoo_files import require_config
from lst_cli.phases.bins import parse_bins
from lst_cli.settings.diff import network_differences, unused_sections, values
from lst_cli.settings.load import load_settings
from lst_cli.settings.models import Settings
from lst_cli.split.split import make_split, plan_phases
from lst_cli.sweep.plan import PlannedRun, SweepPlan
from lst_cli.train.initial import require_teacher
from lst_cli.train.plan import phase_data, require_growable, scheduled
from lst_cli.train.train import changed_settings, weights_file
from lst_cli.workspace.layout import Layout, SweepLayout
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class PhaseLength:
    """How long a phase is trained."""

    settings: Settings  # after a budget was spent
    image_passes: int | None  # the budget; None for the epochs of the settings
    iterations: int
    shown: int  # images that are shown in all


@dataclass(frozen=True)
class Job:
    """One workspace of a sweep: a run with one of its seeds, or a base phase that runs share."""

    run: PlannedRun | None  # None for a shared base phase
    settings: Settings
    words: tuple[str, ...]  # `key=value` words for these, for its lst.toml
    weights: str | None  # initial weights of its first phase; None for the network's own
    split: Split
    inputs: TrainingInput
    phases: tuple[PhaseLength, ...]
    base: Job | None = None  # the job whose base phase it takes over
    start: Job | None = None  # the job whose model it goes on from
    root: Path = Path()  # its workspace
    users: tuple[str, ...] = ()  # names of the jobs that take over its base phase
    same_as: str = ""  # name of an earlier job that is the same and has the same directory

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.run.name if self.run else f'base-{self.digest}'}-seed{self.seed}"

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.run.title if self.run else self.name

    @property
    def kind(self) -> str:
        """What is trained in it: base, lst or joint."""
        return self.run.kind if self.run else "base"

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.settings.seed

    @property
    def classes(self) -> str:
        """How many classes each of its phases adds."""
        sizes = [f"{len(group):,}" for group in self.split.groups]
        if self.run is None:
            return f"{sizes[0]} of {len(self.split.class_order):,}"
        return " + ".join(sizes)

    @property
    def chain(self) -> tuple[Job, ...]:
        """The jobs that its model went through, the first one first, and this one last."""
        return (*self.start.chain, self) if self.start else (self,)

    @property
    def image_passes(self) -> int:
        """Images that all phases show together, a shared one and those of its start included."""
        return sum(phase.shown for job in self.chain for phase in job.phases)

    @property
    def iterations(self) -> int:
        """Iterations of the same phases."""
        return sum(phase.iterations for job in self.chain for phase in job.phases)

    @property
    def initial(self) -> str | None:
        """The file or address of its initial weights; None for the network's own."""
        if self.start is None:
            return self.weights
        return str(Layout(self.start.root).phase(len(self.start.phases) - 1).model)

    @property
    def used(self) -> dict[str, Any]:
        """Settings that decide its weights and results, by dotted key, without the seed."""
        unused = unused_sections(self.settings.step.mwg, later=self.kind == "lst")
        return {
            key: value
            for key, value in values(self.settings, "weights", "detections", "display").items()
            if key != "seed" and key.partition(".")[0] not in unused
        }

    @property
    def digest(self) -> str:
        """Digest of what it is trained on, whatever its seed."""
        if self.run is None:
            return digest_of([self.split.digest, self.weights, self.used])
        # Evaluation is not training: with another `eval` a run stays where it is.
        trained = {key: value for key, value in self.used.items() if not key.startswith("eval.")}
        budgets = [phase.image_passes for phase in self.phases]
        weights = self.start.digest if self.start else self.weights
        return digest_of([self.split.digest, weights, trained, budgets])


@dataclass(frozen=True)
class Sweep:
    """All work of a sweep."""

    plan: SweepPlan
    layout: SweepLayout
    jobs: tuple[Job, ...]  # in the order of work: a base phase before the runs that share it
    # The jobs of all runs of the plan, those that were not selected too, and after them seeds
    # that are not asked for this time and have a workspace.
    every: tuple[Job, ...]

    def is_asked_for(self, job: Job) -> bool:
        """Whether the plan has the seed of a run."""
        return job.run is not None and job.seed in self.plan.seeds_of(job.run)


def plan_jobs(
    plan: SweepPlan, train: Dataset, val: Dataset, root: Path, only: Sequence[str] = ()
) -> Sweep:
    """Decide what is trained where, of all runs or of some.

    Runs that learn phase by phase share a base phase if it would be the same: the same classes,
    seed, initial weights and settings. The first seed of all runs comes before the second.
    An `LstError` if a run does not fit the data or its budget, or `only` names none.
    """
    plan.select(only)
    layout = SweepLayout(root)
    planner = _Planner(plan, train, val, layout)
    asked = [
        (run, seed)
        for turn in zip_longest(*(plan.seeds_of(run) for run in plan.runs))
        for run, seed in zip(plan.runs, turn, strict=True)
        if seed is not None
    ]
    every = [planner.place(run, seed) for run, seed in asked]
    earlier = [
        planner.place(run, seed)
        for seed in layout.seeds()
        for run in plan.runs
        if run.seeds is None and seed not in plan.seeds_of(run)
    ]
    chosen: dict[Path, Job] = {}  # a workspace that two runs have in common is made once
    for (run, _), job in zip(asked, every, strict=True):
        if not only or run.name in only:
            for one in job.chain:  # what it goes on from is needed too
                chosen.setdefault(one.root, one)
    jobs: dict[Path, Job] = {}
    for job in chosen.values():
        if (base := job.base) is not None:
            sharing = (one for one in chosen.values() if one.base and one.base.root == base.root)
            jobs.setdefault(base.root, replace(base, users=tuple(one.name for one in sharing)))
        jobs[job.root] = job
    every += [job for job in earlier if job.root.exists()]
    return Sweep(plan, layout, tuple(jobs.values()), tuple(every))


def locate(job: Job) -> Path:
    """Find the workspace of a job: what another version of lst trained for it is used.

    Digests are others where a version has other settings; before 0.2.0, runs had none.
    """
    if job.root.exists():
        return job.root
    names = (job.name, f"{job.name}-????????") if job.run else (f"*-seed{job.seed}",)
    earlier = [root for name in names for root in sorted(job.root.parent.glob(name))]
    return next((root for root in earlier if _is_trained_so(root, job)), job.root)


def _is_trained_so(root: Path, job: Job) -> bool:
    """Whether something is trained in a workspace, and was trained as in a job."""
    workspace = Workspace(root)
    try:
        if not workspace.layout.split.exists() or workspace.split.digest != job.split.digest:
            return False
        begun = [one for phase in range(len(job.phases)) if (one := workspace.manifest(phase))]
        if not begun or (job.kind == "lst" and begun[-1].phase == 0):
            return False  # of a base phase alone nobody knows what is to follow
        return weights_file(begun[0]) == job.initial and not any(
            changed_settings(one, job.phases[one.phase].settings) for one in begun
        )
    except LstError:
        return False


def run_differences(sweep: Sweep) -> dict[str, tuple[str, tuple[Setting, ...]]]:
    """The title of the first run of its kind and the differences from it, by name of a run."""
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


def _described(job: Job, other: Job) -> dict[str, str]:
    """What decides the results of a run, to be compared with the same of another."""
    table = {"classes of the phases": " + ".join(str(len(group)) for group in job.split.groups)}
    table["goes on from"] = job.start.title if job.start else "no run"
    lengths: tuple[str, ...] = ()
    if any(phase.image_passes for phase in (*job.phases, *other.phases)):
        # Where one has a budget, images are compared, and not the epochs that they make.
        lengths = ("epochs", "decay_epochs", "image_passes")
        table["image passes"] = " + ".join(f"{phase.shown:,}" for phase in job.phases)
    for key, value in job.used.items():
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
    splits: dict[tuple[int | None, int], tuple[Split, TrainingInput]] = field(default_factory=dict)
    jobs: dict[tuple[str, int], Job] = field(default_factory=dict)
    firsts: dict[str, Job] = field(default_factory=dict)

    def place(self, run: PlannedRun, seed: int) -> Job:
        """Make a job that lies where its workspace is, or where that of its twin is."""
        job = self._job(run, seed)
        identity = digest_of([job.digest, job.used, seed])
        if identity not in self.firsts:
            self.firsts[identity] = replace(job, root=locate(job))
            return self.firsts[identity]
        first = self.firsts[identity]
        return replace(job, root=first.root, same_as=first.name)

    def _job(self, run: PlannedRun, seed: int) -> Job:
        if (run.name, seed) not in self.jobs:
            # The number of images does not depend on the seed.
            other = self.plan.select([run.budget_of])[0] if run.budget_of else None
            model = self._job(other, seed) if other else None
            try:
                self.jobs[run.name, seed] = self._make(run, seed, model)
            except LstError as error:
                name = f"{self.plan.source}: run {run.name}"
                raise LstError(f"{name}: {error.message}", error.hint) from error
        return self.jobs[run.name, seed]

    def _make(self, run: PlannedRun, seed: int, model: Job | None) -> Job:
        settings = self.plan.settings_of(run, seed)
        parse_bins(settings.eval.bins, "eval.bins")
        require_config(settings)
        if run.kind == "joint":
            split, inputs = self._split(None, 0, settings)
        else:
            require_growable(settings)
            base = run.b or self.plan.common.b
            if isinstance(base, float):
                rows = self.train.instances.category_index[usable_instances(self.train)]
                base = max(1, round(base * len(np.unique(rows))))
            phases = run.phases or self.plan.common.phases
            split, inputs = self._split(base, phases, settings)
        start = self._start_of(run, seed, settings)
        if start is None:
            require_teacher(self.plan.data.weights, split, settings)
        first, *later = _budgets(run, model, len(split.groups))
        if start is not None and run.share_of_base is not None:
            first = max(1, round(run.share_of_base * start.chain[0].phases[0].shown))
        lengths = [_length(split, inputs, 0, settings, first)]
        if run.share_of_base is not None:
            later = [max(1, round(run.share_of_base * lengths[0].shown))] * len(later)
        lengths += [
            _length(split, inputs, phase, settings, budget)
            for phase, budget in enumerate(later, start=1)
        ]
        words, weights = self.plan.words_of(run, seed), self.plan.data.weights
        shared = self._base_of(run, seed, split.base_classes) if run.kind == "lst" else None
        job = Job(run, settings, words, weights, split, inputs, tuple(lengths), shared, start)
        return replace(job, root=self.layout.run(run.name, job.digest, seed))

    def _start_of(self, run: PlannedRun, seed: int, settings: Settings) -> Job | None:
        """The job whose model a run goes on from, which has the same network."""
        if run.weights_of is None:
            return None
        start = self.place(self.plan.select([run.weights_of])[0], seed)
        if changed := network_differences(start.settings, settings):
            raise LstError(
                f"weights-of: it needs the network of run {run.weights_of}: "
                + "; ".join(map(str, changed)),
                "give both the same settings of the network",
            )
        return start

    def _base_of(self, run: PlannedRun, seed: int, base_classes: int) -> Job:
        """The base phase of a run; one phase after it stands for however many there are."""
        words = self.plan.words_of(run, seed, without=("step", "mwg", "eval"))
        settings = load_settings(None, words)
        split, inputs = self._split(base_classes, 1, settings)
        length = _length(split, inputs, 0, settings, None)
        job = Job(None, settings, words, self.plan.data.weights, split, inputs, (length,))
        job = replace(job, root=self.layout.base(job.digest, seed))
        return replace(job, root=locate(job))

    def _split(
        self, base: int | None, phases: int, settings: Settings
    ) -> tuple[Split, TrainingInput]:
        key = (base, phases)
        if key not in self.splits:
            images = self.plan.data.images or HERE
            self.splits[key] = make_split(self.train, self.val, images, base, phases, settings)
        split, inputs = self.splits[key]
        # The classes are the same for all; how long they are learned is not.
        plans = plan_phases(split, inputs.occurrences, settings)
        return split.model_copy(update={"phases": plans}), inputs


def _budgets(run: PlannedRun, model: Job | None, phases: int) -> Sequence[int | None]:
    """Images that each phase of a run shows; None for as many as its epochs make."""
    if model is None:
        return [run.image_passes] * phases
    if run.kind == "joint":
        return [model.image_passes]
    if len(model.phases) != phases:
        raise LstError(
            f"budget-of: run {run.budget_of} has {len(model.phases) - 1} phase(s) after the base "
            f"phase, this one {phases - 1}",
            "give both the same phases, or leave budget-of out",
        )
    # A base phase of the same settings is shared, whatever its budget.
    return [None, *(phase.shown for phase in model.phases[1:])]


def _length(
    split: Split, inputs: TrainingInput, phase: int, settings: Settings, budget: int | None
) -> PhaseLength:
    entries = len(phase_data(split, inputs.occurrences, phase, settings))
    settings, iterations = scheduled(settings, phase, entries, budget)
    shown = iterations * settings.schedule(phase).batch_size
    return PhaseLength(settings, budget, iterations, shown)


def digest_of(value: Any) -> str:
    """A short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
