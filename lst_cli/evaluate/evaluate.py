"""`lst eval`: a phase's model on the validation images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lst_cli.ap.detections import IouType
from lst_cli.ap.errors import ErrorAnalysis
from lst_cli.ap.ground_truth import truth_notes
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.reference import load_lvis
from lst_cli.ap.results_file import ResultsFile
from lst_cli.evaluate.errors import write_errors
from lst_cli.evaluate.measure import NAMES, Measured, compare_with_lvis_api
from lst_cli.evaluate.resumable import Detections, PartialDetections, inference_settings
from lst_cli.evaluate.stored import (
    EvaluationFiles,
    evaluation_files,
    load_metrics,
    stored_detections,
)
from lst_cli.evaluate.validation import Validation, prepare_validation
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.workspace.atomic import replacing, require_writable
from lst_cli.workspace.records import save_record
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.evaluate.detector import Detector


OpenDetector = Callable[[Workspace, int, Settings], "Detector"]


def open_detector(workspace: Workspace, phase: int, settings: Settings) -> Detector:
    """Load the model of a finished phase, to be run under the test settings of today.

    Raises:
        LstError: If the weights are missing, cut short, or of another network.
    """
    # torch and detectron2 take seconds to import: not before inputs are known to be good.
    from lst_cli.evaluate.detector import Detector
    from lst_cli.train.network import load_network

    category_ids = workspace.split.class_order[: workspace.split.seen_classes(phase)]
    use = inference_settings(workspace.trained_settings(phase), settings)
    network = load_network(workspace.phase(phase).model, use, len(category_ids))
    return Detector(network, use, category_ids)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a phase, and a closer look at its detections if that was asked for."""

    metrics: Metrics
    notes: tuple[str, ...]  # what a reader should know of the ground truth
    errors: ErrorAnalysis | None  # where mask AP is lost
    error_files: tuple[Path, ...]
    # the largest difference of lvis-api's numbers, for masks and for boxes; empty if it was not run
    differences: dict[IouType, float | None]


def evaluate_phase(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    fixed_ap: bool = False,
    errors: bool = False,
    reference: bool = False,
    progress: Progress = silent,
    detector: OpenDetector = open_detector,
) -> Evaluation:
    """Run the model of a finished phase and compute its AP over the classes seen so far.

    All validation images are used, also those without any object of these classes. The network is
    built as it was trained; settings give device, workers, test setting and bins. Metrics and
    detections are written beside the phase. A closer look, at errors or with lvis-api as a
    reference, takes the detections that are there, if they were made under the same settings.

    With `fixed_ap` the cap is 10,000 detections a class over all images (AP_fixed) instead of
    `eval.detections` an image, and the files have other names. `detector` loads the model if there
    are images that it has not seen yet.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    began = time.perf_counter()
    workspace.require_model(phase)
    if reference:
        load_lvis()
    files, closer = evaluation_files(workspace, phase, fixed_ap), errors or reference
    if not closer:
        with workspace.locked():  # refused now if another lst is writing, not after all is read
            pass
    outputs = [files.errors / "errors.json"] if errors else []
    against = prepare_validation(
        workspace,
        phase,
        settings,
        fixed_ap=fixed_ap,
        outputs=outputs if closer else files[:3],
        progress=progress,
    )
    stored = None
    if closer and files.detections.exists():
        stored = load_metrics(workspace, phase, fixed_ap=fixed_ap)
    if stored is not None and stored.made_with == against.header(phase).made_with:
        source = stored_detections(workspace, phase, stored, fixed_ap=fixed_ap)
        metrics, measured = against.measure(source, began=began, errors=errors, progress=progress)
        kept = {name: getattr(stored, name) for name in ("made_with", "detections_sha256")}
        metrics = metrics.model_copy(update=kept)
    else:
        metrics, measured = _run_model(
            against, files, detector, began=began, errors=errors, progress=progress
        )
        source = stored_detections(workspace, phase, metrics, fixed_ap=fixed_ap)
    analysis = measured["segm"].errors
    error_files: tuple[Path, ...] = ()
    if analysis is not None:
        with workspace.locked():
            error_files = write_errors(analysis, files.errors)
    differences: dict[IouType, float | None] = {}
    for iou_type, one in measured.items() if reference else ():
        progress(f"lvis-api, {NAMES[iou_type]}", 0, None)
        differences[iou_type] = compare_with_lvis_api(one, source, iou_type, against.cap)
    notes = (*against.truth.notes, *truth_notes(against.truth, against.cap.per_image))
    return Evaluation(metrics, notes, analysis, error_files, differences)


def _run_model(
    against: Validation,
    files: EvaluationFiles,
    detector: OpenDetector,
    *,
    began: float,
    errors: bool,
    progress: Progress,
) -> tuple[Metrics, dict[IouType, Measured]]:
    """Find the objects in all images, and write them and their metrics."""
    workspace, phase, images = against.workspace, against.phase, against.dataset.images

    def detect(rows: Sequence[int]) -> Iterable[tuple[int, Detections]]:
        return detector(workspace, phase, against.settings).detect(images, against.paths, rows)

    require_writable(*files[:3])
    with workspace.locked():
        against.check_images(progress)
        part = PartialDetections(files.part, against.header(phase), len(images))
        part.finish(detect, progress)
        with replacing(files.detections) as written:
            digest = part.collect(written)
            metrics, measured = against.measure(
                ResultsFile(written), began=began, errors=errors, progress=progress
            )
        metrics = metrics.model_copy(
            update={"made_with": part.header.made_with, "detections_sha256": digest}
        )
        save_record(metrics, files.metrics)
        files.part.unlink(missing_ok=True)
    return metrics, measured


def check_phases(
    workspace: Workspace,
    phases: Sequence[int],
    settings: Settings,
    *,
    fixed_ap: bool = False,
    progress: Progress,
) -> None:
    """See that each of several phases can be evaluated, before the first one is.

    Raises:
        LstError: If one cannot.
    """
    for phase in phases:
        workspace.require_model(phase)
        outputs = evaluation_files(workspace, phase, fixed_ap)[:3]
        against = prepare_validation(workspace, phase, settings, outputs=outputs, progress=progress)
        against.check_images(progress)
