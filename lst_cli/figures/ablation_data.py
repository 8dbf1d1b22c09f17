"""Runs for the figures of what one setting is worth: which they are, what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lst_cli.ap.instant import load_instant
from lst_cli.ap.metrics import Metrics
from lst_cli.compare.run_settings import find_differences
from lst_cli.display.canvas import MOST_LINES
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_all_metrics
from lst_cli.figures.ablation import FEW
from lst_cli.figures.records import Ablation, AblationName, AblationPoint, AblationRun
from lst_cli.settings.nested import flatten
from lst_cli.workspace.hints import hints_for, name_workspace
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace

SETTINGS: dict[AblationName, str] = {
    "distill": "step.distill_weight",
    "replay": "step.replay",
    "mwg": "step.mwg",
}
"""The setting that the runs of a figure differ in."""

_REPLAY = {"balanced": "balanced replay", "none": "no replay", "all": "all old data"}
_NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class _Run:
    workspace: Workspace
    metrics: Sequence[Metrics]  # of phases from 1 on

    @property
    def root(self) -> Path:
        return self.workspace.root

    def settings(self, phase: int) -> dict[str, Any]:
        # With the defaults of what an older lst did not record.
        return dict(flatten(self.workspace.trained_settings(phase).model_dump(mode="json")))


def gather_ablation(figure: AblationName, workspace: Workspace, others: Sequence[Path]) -> Ablation:
    """Collect the curves of a figure; nothing is written.

    Args:
        figure: Which.
        workspace: The first run.
        others: Workspaces of the others.

    Raises:
        LstError: If there is nothing to compare, something was not evaluated, the splits are not
            the same, or the runs do not differ in the figure's setting.
    """
    if not others:
        raise LstError(
            f"figure {figure} takes two or more runs that differ in {SETTINGS[figure]}",
            _other_run(figure, workspace),
        )
    if len(others) >= MOST_LINES:
        raise LstError(
            f"figure {figure} takes {MOST_LINES} runs at most, not {len(others) + 1}",
            "leave some of --with out",
        )
    runs = [_open(one) for one in (workspace, *map(_workspace, others))]
    _refuse_same(runs)
    for run in runs[1:]:
        _refuse_other_split(runs[0].workspace, run.workspace)
    common = set.intersection(*({one.phase for one in run.metrics} for run in runs))
    if not common:
        raise LstError(
            f"no phase was evaluated in all of {', '.join(str(run.root) for run in runs)}",
            "; ".join(name_workspace("lst eval --all-phases", run.root) for run in runs),
        )
    for run in runs[1:]:
        _refuse_other_validation(runs[0], run)
    phase = max(common)
    names = _names(figure, runs, phase)
    few = frozenset(
        record.category_id for record in workspace.split.classes if record.instances < FEW
    )
    return Ablation(
        figure,
        SETTINGS[figure],
        [
            AblationRun(
                name, str(run.root), [_point(run.workspace, one, few) for one in run.metrics]
            )
            for run, name in zip(runs, names, strict=True)
        ],
        _notes(runs),
    )


def name_runs(
    figure: AblationName, values: Sequence[Any], others: Sequence[Mapping[str, str]]
) -> list[str]:
    """Name runs by what sets them apart: the figure's setting first.

    Args:
        figure: Which.
        values: The figure's setting in each run.
        others: Other settings that each run has a use for, by key.

    Example:
        >>> name_runs("replay", ["balanced", "all"], [{"seed": "0"}, {"seed": "1"}])
        ['balanced replay, seed = 0', 'all old data, seed = 1']
    """
    keys = dict.fromkeys(key for table in others for key in table)
    varying = [key for key in keys if len({one[key] for one in others if key in one}) > 1]
    names = []
    for value, table in zip(values, others, strict=True):
        told = [f"{key} = {table[key]}" for key in varying if key in table]
        names.append(", ".join([_phrase(figure, value, values), *told]))
    return names


def _phrase(figure: AblationName, value: Any, values: Sequence[Any]) -> str:
    if figure == "replay":
        return _REPLAY.get(value, str(value))
    if figure == "mwg":
        return "with MWG" if value else "without MWG"
    if value == 0:
        return "without distillation"
    several = len({one for one in values if one != 0}) > 1
    return f"distillation, weight {value:g}" if several or 0 not in values else "with distillation"


def _names(figure: AblationName, runs: Sequence[_Run], phase: int) -> list[str]:
    """Names of the runs, after seeing that they differ in what the figure is about."""
    own = SETTINGS[figure]
    settings = [run.settings(phase) for run in runs]
    values = [one[own] for one in settings]
    if len(set(values)) < 2:
        shown = str(values[0]).lower() if isinstance(values[0], bool) else values[0]
        raise LstError(
            f"all of {', '.join(str(run.root) for run in runs)} were trained with {own} = {shown}",
            _other_run(figure, runs[0].workspace),
        )
    tables: list[dict[str, str]] = [{} for _ in runs]
    for place, run in enumerate(runs[1:], start=1):
        for one in find_differences((runs[0].workspace, phase), (run.workspace, phase)):
            if one.key == own or _NOT_RECORDED in (one.first, one.this):
                continue
            for table in tables:
                table.setdefault(one.key, one.first)
            tables[place][one.key] = one.this
    used = [
        {key: value for key, value in table.items() if _in_use(key, one)}
        for table, one in zip(tables, settings, strict=True)
    ]
    names = name_runs(figure, values, used)
    if len(set(names)) < len(names):
        names = [f"{name} ({run.root.name})" for name, run in zip(names, runs, strict=True)]
    return names


def _in_use(key: str, settings: Mapping[str, Any]) -> bool:
    """Whether a setting does anything in a run."""
    if key.startswith("mwg."):
        return bool(settings["step.mwg"])
    if key in ("step.new_rows", "step.new_row_samples"):
        return not settings["step.mwg"]
    if key == "base.repeat_threshold":
        return bool(settings["base.sampler"] == "repeat-factor")
    return True


def _other_run(figure: AblationName, workspace: Workspace) -> str:
    """The commands that make the run that is missing, and then the figure."""
    done = workspace.done_phases()
    settings = workspace.trained_settings(done[-1]) if done[1:] else workspace.settings()
    if figure == "distill":
        words = "" if settings.step.distill_weight == 0 else " --no-distill"
    elif figure == "replay":
        words = f" --replay {'all' if settings.step.replay == 'balanced' else 'balanced'}"
    else:
        words = " --no-mwg" if settings.step.mwg else " --mwg"
    return (
        f"in a workspace OTHER of the same split and base phase: lst step --all{words} -w OTHER, "
        f"lst eval --all-phases -w OTHER, lst figure {figure} --with OTHER"
    )


def _open(workspace: Workspace) -> _Run:
    """A run with what was evaluated of it.

    Raises:
        LstError: If no phase after the base was.
    """
    with hints_for(workspace.root):
        return _Run(workspace, _evaluated(workspace))


def _evaluated(workspace: Workspace) -> list[Metrics]:
    if workspace.last_phase == 0:
        raise LstError(
            f"{workspace.root} has no phase after the base: nothing was learned step by step",
            workspace.split_command("--b B --phases T"),
        )
    found = load_all_metrics(workspace, workspace.done_phases()[1:])
    if not found:
        trained = len(workspace.done_phases()) > 1
        raise LstError(
            f"no phase of {workspace.root} after the base has been evaluated",
            "lst eval --all-phases" if trained else "lst step --all",
        )
    return found


def _workspace(root: Path) -> Workspace:
    workspace = Workspace(root)
    if not workspace.layout.split.exists():
        raise LstError(f"{root} is no workspace: it holds no split", "--with DIR, a workspace")
    return workspace


def _refuse_same(runs: Sequence[_Run]) -> None:
    seen: set[Path] = set()
    for run in runs:
        if run.root.resolve() in seen:
            raise LstError(f"{run.root} is given twice", "--with DIR, another workspace")
        seen.add(run.root.resolve())


def _refuse_other_split(first: Workspace, other: Workspace) -> None:
    """See that both learn the same classes in the same phases.

    Raises:
        LstError: If not; the message says where they part.
    """
    if first.split.groups == other.split.groups:
        return
    raise LstError(
        f"{first.root} and {other.root} have other splits: {_parting(first.split, other.split)}",
        f"take a workspace that was split as {first.root} was",
    )


def _parting(first: Split, other: Split) -> str:
    sizes = [[len(group) for group in one.groups] for one in (first, other)]
    if sizes[0] != sizes[1]:
        mine, theirs = (" + ".join(map(str, one)) for one in sizes)
        return f"{mine} classes and {theirs}"
    phase = next(
        t for t, (a, b) in enumerate(zip(first.groups, other.groups, strict=True)) if a != b
    )
    return f"other classes, or another class order, in phase {phase}"


def _refuse_other_validation(first: _Run, other: _Run) -> None:
    for phase in sorted(
        {one.phase for one in first.metrics} & {one.phase for one in other.metrics}
    ):
        files = [run.workspace.split.val_at(phase) for run in (first, other)]
        if files[0].sha256 != files[1].sha256:
            raise LstError(
                f"phase {phase} of {first.root} and of {other.root} was evaluated on different "
                f"validation files: {files[0].path} and {files[1].path}",
                "take runs with the same validation file",
            )


def _point(workspace: Workspace, metrics: Metrics, few: frozenset[int]) -> AblationPoint:
    phase = metrics.phase
    counts = {group.phase: group.with_ground_truth for group in metrics.segm.groups}
    few_ap = [
        ap
        for category_id, ap in metrics.segm.per_class.items()
        if category_id in few and category_id in workspace.split.groups[phase]
    ]
    instant = load_instant(workspace.phase(phase).instant, phase)
    total = sum(counts.values())
    return AblationPoint(
        phase=phase,
        old=metrics.segm.old,
        new=metrics.segm.new,
        all=metrics.segm.all,
        with_ground_truth={"old": total - counts[phase], "new": counts[phase], "all": total},
        few=sum(few_ap) / len(few_ap) if few_ap else None,
        few_classes=len(few_ap),
        instant={way: one.segm.new for way, one in instant.rows.items()} if instant else {},
    )


def _notes(runs: Sequence[_Run]) -> list[str]:
    notes = []
    bases = {run.workspace.require_done(0).model_sha256 for run in runs}
    if len(bases) > 1:
        notes.append("The runs do not share a base phase: each trained its own.")
    phases = sorted({one.phase for run in runs for one in run.metrics})
    for run in runs:
        missing = [str(t) for t in phases if t not in {one.phase for one in run.metrics}]
        if missing:
            notes.append(f"Not evaluated in {run.root.name}: phase {', '.join(missing)}.")
    return notes
