"""Runs for the figures of what one setting changes: which they are, what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lst_cli.ap.metrics import WAYS, Metrics, Way, load_instant
from lst_cli.compare.compare import Home, require_same_validation
from lst_cli.compare.run_settings import find_differences
from lst_cli.display.canvas import MOST_LINES
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_all_metrics
from lst_cli.settings.diff import unused_sections
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import flatten
from lst_cli.workspace.hints import hints_for, name_workspace
from lst_cli.workspace.store import Workspace

AblationName = Literal["distill", "replay", "mwg"]

# The setting that the runs of a figure differ in.
SETTINGS: dict[AblationName, str] = {
    "distill": "step.distill_weight",
    "replay": "step.replay",
    "mwg": "step.mwg",
}

FEW = 5  # classes with fewer training instances are the few-shot ones of the paper's Fig. 9

_NAMES: dict[AblationName, dict[Any, str]] = {
    "distill": {0: "without distillation"},
    "replay": {"balanced": "balanced replay", "none": "no replay", "all": "all old data"},
    "mwg": {True: "with MWG", False: "without MWG"},
}
_NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class AblationPoint:
    """One evaluated phase of a run, from 1 on.

    Mask AP is a fraction, or None without ground truth.
    """

    phase: int
    old: float | None  # of the classes of earlier phases
    new: float | None  # of the classes of this phase
    all: float | None
    with_ground_truth: Mapping[str, int]  # how many classes each of these is over, by name
    few: float | None = None  # of the new classes with fewer than `FEW` training instances
    few_classes: int = 0  # how many of these have ground truth
    # Of the new classes before the first iteration, by the origin of their classifier rows.
    instant: Mapping[Way, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationRun:
    """One run with its evaluated phases in order, at least one."""

    name: str  # says in which settings it differs from the others
    source: str  # its directory
    points: Sequence[AblationPoint]


@dataclass(frozen=True)
class Ablation:
    """Two or more runs that differ in a setting, in the order of their lines."""

    figure: AblationName
    runs: Sequence[AblationRun]
    notes: Sequence[str] = ()  # what a reader should know of them, one sentence each

    @property
    def phases(self) -> list[int]:
        """Phases that any run was evaluated in."""
        return sorted({point.phase for run in self.runs for point in run.points})

    @property
    def ways(self) -> list[Way]:
        """Origins of new rows that were evaluated at iteration 0, where the figure shows that."""
        if self.figure != "mwg":
            return []
        found = {way for run in self.runs for point in run.points for way in point.instant}
        return [way for way in WAYS if way in found]


def gather_ablation(figure: AblationName, workspace: Workspace, others: Sequence[Path]) -> Ablation:
    """Collect the curves of a figure, of two runs or more; nothing is written."""
    if not others:
        raise LstError(
            f"figure {figure} needs two or more runs that differ in {SETTINGS[figure]}",
            _other_run(figure, workspace),
        )
    if len(others) >= MOST_LINES:
        raise LstError(
            f"figure {figure} takes {MOST_LINES} runs at most, not {len(others) + 1}",
            "leave some of --with out",
        )
    runs: dict[Workspace, list[AblationPoint]] = {workspace: _read_points(workspace)}
    for root in others:
        other = Workspace(root)
        if not other.layout.split.exists():
            raise LstError(f"{root} is not a workspace: it has no split", "--with DIR, a workspace")
        if root.resolve() in [one.root.resolve() for one in runs]:
            raise LstError(f"{root} is given twice", "--with DIR, another workspace")
        runs[other] = _read_points(other)
        _require_same_split(workspace, other)
    evaluated = {one: {point.phase for point in points} for one, points in runs.items()}
    shared = set.intersection(*evaluated.values())
    if not shared:
        raise LstError(
            f"no phase was evaluated in all of {_roots(runs)}",
            "; ".join(name_workspace("lst eval --all-phases", one.root) for one in runs),
        )
    for phase in sorted(set.union(*evaluated.values())):
        require_same_validation([Home(one, phase) for one in runs if phase in evaluated[one]])
    names = _names(figure, list(runs), max(shared))
    made = [
        AblationRun(name, str(one.root), points)
        for name, (one, points) in zip(names, runs.items(), strict=True)
    ]
    return Ablation(figure, made, _notes(evaluated))


def name_runs(
    figure: AblationName, values: Sequence[Any], others: Sequence[Mapping[str, str]]
) -> list[str]:
    """Name runs by the figure's setting in each, then by `others`: settings that each run uses.

    Example:
        >>> name_runs("replay", ["balanced", "all"], [{"seed": "0"}, {"seed": "1"}])
        ['balanced replay, seed = 0', 'all old data, seed = 1']
    """
    keys = dict.fromkeys(key for table in others for key in table)
    varying = [key for key in keys if len({one[key] for one in others if key in one}) > 1]
    return [
        ", ".join(
            [_phrase(figure, value, values)]
            + [f"{key} = {table[key]}" for key in varying if key in table]
        )
        for value, table in zip(values, others, strict=True)
    ]


def _phrase(figure: AblationName, value: Any, values: Sequence[Any]) -> str:
    if figure == "distill" and value != 0:
        one_weight = 0 in values and len(set(values)) == 2
        return "with distillation" if one_weight else f"distillation, weight {value:g}"
    return _NAMES[figure][value]


def _names(figure: AblationName, runs: Sequence[Workspace], phase: int) -> list[str]:
    """Names of the runs, after checking that they differ in the figure's setting."""
    own, first = SETTINGS[figure], runs[0]
    # With the defaults of what an older lst did not record.
    trained = [one.trained_settings(phase) for one in runs]
    settings = [dict(flatten(one.model_dump(mode="json"))) for one in trained]
    values = [one[own] for one in settings]
    if len(set(values)) < 2:
        shown = str(values[0]).lower() if isinstance(values[0], bool) else values[0]
        message = f"all of {_roots(runs)} were trained with {own} = {shown}"
        raise LstError(message, _other_run(figure, first))
    tables: list[dict[str, str]] = [{} for _ in runs]
    for table, run in zip(tables[1:], runs[1:], strict=True):
        for one in find_differences((first, phase), (run, phase)):
            if one.key != own and _NOT_RECORDED not in (one.first, one.this):
                for each in tables:
                    each.setdefault(one.key, one.first)
                table[one.key] = one.this
    used = map(_without_unused, tables, settings)
    names = name_runs(figure, values, list(used))
    if len(set(names)) < len(names):
        names = [f"{name} ({one.root.name})" for name, one in zip(names, runs, strict=True)]
    return names


def _without_unused(table: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """Leave out what has no effect in a run with some settings, by keys of settings."""
    unused = set(unused_sections(settings["step.mwg"]))
    if settings["step.mwg"]:
        unused |= {"step.new_rows", "step.new_row_samples"}
    if settings["base.sampler"] != "repeat-factor":
        unused.add("base.repeat_threshold")
    return {key: value for key, value in table.items() if not unused & {key, key.partition(".")[0]}}


def newest_settings(workspace: Workspace) -> Settings:
    """Settings of the newest phase after the base; those of the workspace if there is none."""
    done = workspace.done_phases()
    return workspace.trained_settings(done[-1]) if done[1:] else workspace.settings()


def _other_run(figure: AblationName, workspace: Workspace) -> str:
    """The commands that make the run that is missing, and then the figure."""
    step = newest_settings(workspace).step
    words = {
        "distill": " --no-distill" if step.distill_weight else "",
        "replay": f" --replay {'all' if step.replay == 'balanced' else 'balanced'}",
        "mwg": " --no-mwg" if step.mwg else " --mwg",
    }[figure]
    return (
        f"in a workspace OTHER of the same split and base phase: lst step --all{words} -w OTHER, "
        f"lst eval --all-phases -w OTHER, lst figure {figure} --with OTHER"
    )


def _read_points(workspace: Workspace) -> list[AblationPoint]:
    root = workspace.root
    with hints_for(root):
        if workspace.last_phase == 0:
            raise LstError(
                f"{root} has no phase after the base: nothing was learned step by step",
                workspace.split_command("--b B --phases T"),
            )
        trained = workspace.done_phases()[1:]
        found = load_all_metrics(workspace, trained)
        if not found:
            raise LstError(
                f"no phase of {root} after the base has been evaluated",
                "lst eval --all-phases" if trained else "lst step --all",
            )
        return [_point(workspace, one) for one in found]


def _point(workspace: Workspace, metrics: Metrics) -> AblationPoint:
    phase, segm, split = metrics.phase, metrics.segm, workspace.split
    counts = {group.phase: group.with_ground_truth for group in segm.groups}
    total = sum(counts.values())
    rare = {record.category_id for record in split.classes if record.instances < FEW}
    rare &= set(split.groups[phase])
    few = [ap for category_id, ap in segm.per_class.items() if category_id in rare]
    instant = load_instant(workspace.phase(phase).instant, phase)
    return AblationPoint(
        phase=phase,
        old=segm.old,
        new=segm.new,
        all=segm.all,
        with_ground_truth={"old": total - counts[phase], "new": counts[phase], "all": total},
        few=sum(few) / len(few) if few else None,
        few_classes=len(few),
        instant={way: one.segm.new for way, one in instant.rows.items()} if instant else {},
    )


def _roots(runs: Iterable[Workspace]) -> str:
    return ", ".join(str(one.root) for one in runs)


def _require_same_split(first: Workspace, other: Workspace) -> None:
    """Check that both learn the same classes in the same phases; an error says the difference."""
    groups = first.split.groups, other.split.groups
    if groups[0] == groups[1]:
        return
    sizes = [" + ".join(str(len(group)) for group in one) for one in groups]
    difference = f"{sizes[0]} classes and {sizes[1]}"
    if sizes[0] == sizes[1]:
        pairs = enumerate(zip(*groups, strict=True))
        phase = next(phase for phase, (one, another) in pairs if one != another)
        difference = f"other classes, or another class order, in phase {phase}"
    raise LstError(
        f"{first.root} and {other.root} have other splits: {difference}",
        f"take a workspace that was split as {first.root} was",
    )


def _notes(evaluated: Mapping[Workspace, set[int]]) -> list[str]:
    notes = []
    if len({one.require_done(0).model_sha256 for one in evaluated}) > 1:
        notes.append("The runs do not share a base phase: each trained its own.")
    every = set.union(*evaluated.values())
    for one, phases in evaluated.items():
        if missing := ", ".join(map(str, sorted(every - phases))):
            notes.append(f"Not evaluated in {one.root.name}: phase {missing}.")
    return notes
