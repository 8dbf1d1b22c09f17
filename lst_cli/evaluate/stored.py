"""What earlier evaluations left in a workspace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lst_cli.ap.metrics import Metrics
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError
from lst_cli.progress import Progress, silent
from lst_cli.workspace.hints import name_workspace
from lst_cli.workspace.records import load_record
from lst_cli.workspace.store import Workspace


class EvaluationFiles(NamedTuple):
    """Where the evaluation of a phase writes."""

    detections: Path
    metrics: Path
    part: Path  # detections of an evaluation that is under way
    errors: Path  # a directory


def evaluation_files(workspace: Workspace, phase: int, fixed_ap: bool = False) -> EvaluationFiles:
    """The files of a phase's AP, or those of its AP_fixed."""
    of = workspace.phase(phase)
    if fixed_ap:
        return EvaluationFiles(
            of.fixed_detections, of.fixed_metrics, of.fixed_detections_part, of.fixed_errors
        )
    return EvaluationFiles(of.detections, of.metrics, of.detections_part, of.errors)


def load_metrics(workspace: Workspace, phase: int, *, fixed_ap: bool = False) -> Metrics | None:
    """The stored metrics of a phase, or None if it was not evaluated.

    Raises an `LstError` if the file is damaged, or is not of the phase and its model.
    """
    path = evaluation_files(workspace, phase, fixed_ap).metrics
    if not path.exists():
        return None
    hint = eval_command(workspace, phase, fixed_ap)
    metrics = load_record(Metrics, path, hint)
    split, manifest = workspace.split, workspace.manifest(phase)
    model = metrics.made_with.get("model_sha256")
    seen = set(split.class_order[: split.seen_classes(phase)])
    groups = [(number, len(group)) for number, group in enumerate(split.groups[: phase + 1])]
    if metrics.phase != phase:
        raise LstError(f"{path}: phase: it belongs to phase {metrics.phase}", hint)
    if model is not None and manifest is not None and model != manifest.model_sha256:
        raise LstError(f"{path}: made_with.model_sha256: it is of another model", hint)
    for one in (metrics.segm, metrics.bbox):
        found = [(group.phase, group.classes) for group in one.groups]
        if found != groups or not seen >= one.per_class.keys():
            raise LstError(f"{path}: its classes are not those of the split", hint)
    return metrics


def load_all_metrics(workspace: Workspace, phases: Iterable[int]) -> list[Metrics]:
    """The stored metrics of those phases that were evaluated, see `load_metrics`."""
    found = (load_metrics(workspace, phase) for phase in phases)
    return [metrics for metrics in found if metrics is not None]


def stored_detections(
    workspace: Workspace, phase: int, metrics: Metrics, progress: Progress = silent
) -> ResultsFile:
    """The detections that stored metrics are of; reading them shows whether they changed since."""
    path = evaluation_files(workspace, phase, metrics.fixed_ap).detections
    hint = eval_command(workspace, phase, metrics.fixed_ap)
    return ResultsFile(path, progress, metrics.detections_sha256, hint)


def eval_command(workspace: Workspace, phase: int, fixed_ap: bool = False) -> str:
    """The command that evaluates a phase again."""
    words = f"lst eval --phase {phase}{' --fixed-ap' if fixed_ap else ''}"
    return name_workspace(words, workspace.root)
