"""`lst eval --errors` and `--reference`: a closer look at the detections of a phase."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lst_cli.annotations.read import Dataset
from lst_cli.ap.detections import FIXED_AP, Cap, IouType
from lst_cli.ap.errors import ErrorAnalysis
from lst_cli.ap.lvis_package import load_lvis
from lst_cli.ap.metrics import Metrics
from lst_cli.evaluate.errors_table import write_errors
from lst_cli.evaluate.evaluate import (
    evaluate_phase,
    evaluation_files,
    load_metrics,
    measure_phase,
    stored_detections,
    with_fixed_cap,
)
from lst_cli.evaluate.measure import NAMES, compare_with_lvis_api
from lst_cli.evaluate.resumable import in_use, make_header
from lst_cli.evaluate.validation import prepare_validation
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True)
class Examination:
    """A closer look at the detections of a phase.

    Attributes:
        metrics: Their numbers.
        differences: The largest difference of lvis-api's numbers, for masks and for boxes; empty
            if it was not run.
        errors: Where mask AP is lost; None if that was not asked for.
        written: Files.
    """

    metrics: Metrics
    differences: dict[IouType, float | None]
    errors: ErrorAnalysis | None
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
) -> Examination:
    """Look closer at a phase's detections: as `evaluate_phase` left them, or made now.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: As for `evaluate_phase`.
        errors: Whether to tell where AP is lost.
        reference: Whether to run lvis-api too, and compare.
        fixed_ap: As for `evaluate_phase`.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    directory = workspace.phase(phase)
    from_detections, _, _ = evaluation_files(directory, fixed_ap)
    workspace.require_done(phase)
    if reference:
        load_lvis()
    to_errors = directory.fixed_errors if fixed_ap else directory.errors
    against = prepare_validation(
        workspace,
        phase,
        settings,
        outputs=(to_errors / "errors.json",) if errors else (),
        images=False,
        progress=progress,
    )
    val = against.dataset
    stored = None
    if from_detections.exists():
        stored = load_metrics(workspace, phase, fixed_ap=fixed_ap)
    if stored is None or stored.made_with != _made_with(
        workspace, phase, settings, val, fixed_ap=fixed_ap
    ):
        stored = evaluate_phase(workspace, phase, settings, fixed_ap=fixed_ap, progress=progress)
    source = stored_detections(workspace, phase, stored, fixed_ap=fixed_ap)
    metrics, measured = measure_phase(
        against,
        source,
        settings,
        began=time.perf_counter(),
        fixed_ap=fixed_ap,
        errors=errors,
        progress=progress,
    )
    metrics = metrics.model_copy(
        update={name: getattr(stored, name) for name in ("made_with", "detections_sha256")}
    )
    written: tuple[Path, ...] = ()
    analysis = measured["segm"].errors
    if analysis is not None:
        with workspace.locked():
            written = write_errors(analysis, to_errors)
    cap = FIXED_AP if fixed_ap else Cap(per_image=settings.eval.detections)
    differences: dict[IouType, float | None] = {}
    for iou_type, one in measured.items() if reference else ():
        progress(f"lvis-api, {NAMES[iou_type]}", 0, None)
        differences[iou_type] = compare_with_lvis_api(one, source, iou_type, cap)
    return Examination(metrics, differences, analysis, written)


def _made_with(
    workspace: Workspace, phase: int, settings: Settings, val: Dataset, *, fixed_ap: bool
) -> dict[str, Any]:
    """What would decide about detections made now."""
    manifest = workspace.require_model(phase)
    if fixed_ap:
        settings = with_fixed_cap(settings)
    use = in_use(workspace.trained_settings(phase), settings)
    return make_header(manifest.model_sha256, val.sha256, use).made_with
