"""`lst eval --errors` and `--reference`: a closer look at the detections of a phase."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lst_cli.ap.detections import IouType
from lst_cli.ap.errors import ErrorAnalysis
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.reference import load_lvis
from lst_cli.evaluate.errors import write_errors
from lst_cli.evaluate.evaluate import (
    OpenDetector,
    evaluate_phase,
    open_detector,
    prepare_validation,
)
from lst_cli.evaluate.measure import NAMES, compare_with_lvis_api
from lst_cli.evaluate.stored import evaluation_files, load_metrics, stored_detections
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class Examination:
    """A closer look at the detections of a phase."""

    metrics: Metrics
    # the largest difference of lvis-api's numbers, for masks and for boxes; empty if it was not run
    differences: dict[IouType, float | None]
    errors: ErrorAnalysis | None  # where mask AP is lost
    written: tuple[Path, ...]


def examine_phase(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    errors: bool = True,
    reference: bool = False,
    fixed_ap: bool = False,
    progress: Progress = silent,
    detector: OpenDetector = open_detector,
) -> Examination:
    """Look closer at a phase's detections: as `evaluate_phase` left them, or made now.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: As for `evaluate_phase`.
        errors: Whether to find out where AP is lost.
        reference: Whether to run lvis-api too, and compare.
        fixed_ap: As for `evaluate_phase`.
        progress: What is done.
        detector: As for `evaluate_phase`.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    workspace.require_done(phase)
    if reference:
        load_lvis()
    files = evaluation_files(workspace, phase, fixed_ap)
    against = prepare_validation(
        workspace,
        phase,
        settings,
        fixed_ap=fixed_ap,
        outputs=[files.errors / "errors.json"] if errors else [],
        images=False,
        progress=progress,
    )
    stored = None
    if files.detections.exists():
        stored = load_metrics(workspace, phase, fixed_ap=fixed_ap)
    if stored is None or stored.made_with != against.header(phase).made_with:
        stored = evaluate_phase(
            workspace, phase, settings, fixed_ap=fixed_ap, progress=progress, detector=detector
        )
    source = stored_detections(workspace, phase, stored, fixed_ap=fixed_ap)
    metrics, measured = against.measure(
        source, began=time.perf_counter(), errors=errors, progress=progress
    )
    metrics = metrics.model_copy(
        update={name: getattr(stored, name) for name in ("made_with", "detections_sha256")}
    )
    written: tuple[Path, ...] = ()
    analysis = measured["segm"].errors
    if analysis is not None:
        with workspace.locked():
            written = write_errors(analysis, files.errors)
    differences: dict[IouType, float | None] = {}
    for iou_type, one in measured.items() if reference else ():
        progress(f"lvis-api, {NAMES[iou_type]}", 0, None)
        differences[iou_type] = compare_with_lvis_api(one, source, iou_type, against.cap)
    return Examination(metrics, differences, analysis, written)
