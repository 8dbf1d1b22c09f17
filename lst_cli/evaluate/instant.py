"""`lst eval --instant`: a phase's classes before any training."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import msgspec

from lst_cli.ap.metrics import InstantMetrics, Metrics, Way
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import Validation, prepare_validation
from lst_cli.evaluate.resumable import Detections, PartialDetections, inference_settings
from lst_cli.inputs import read_training_input
from lst_cli.phases.replay import step_data
from lst_cli.progress import Progress, silent, within
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
from lst_cli.workspace.records import save_record
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.extend.instant import InstantClasses


def evaluate_instant(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress = silent
) -> InstantMetrics:
    """AP of a phase's classes in the model of the phase before, without any training.

    Their rows of the classifier are random, the mean feature of each class, or, where the phase
    before left a meta weight generator, written by it. Each of these ways is evaluated; the
    metrics are also written beside the phase.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    if phase == 0:
        raise LstError("the base phase has no classes to add instantly", "lst step")
    workspace.require_done(phase)
    if phase not in workspace.done_phases():
        raise LstError(f"phase {phase} was built on a model that no longer exists", "lst status")
    workspace.require_model(phase - 1)
    split, directory = workspace.split, workspace.phase(phase)
    with workspace.locked():
        against = prepare_validation(
            workspace, phase, settings, outputs=[directory.instant], progress=progress
        )
        against.check_images(progress)
        inputs = read_training_input(workspace)
        new = step_data(inputs.occurrences, split.labels_of(phase), phase, settings.seed, "none")
        check_found_images(inputs.dataset.parts, inputs.paths, new.images(), progress=progress)
        # torch and detectron2 take seconds to import.
        from lst_cli.extend.instant import InstantClasses

        classes = InstantClasses(workspace, phase, split, settings, inputs, progress)
        rows = {way: _evaluate_way(against, classes, way, progress) for way in classes.ways}
        metrics = InstantMetrics(phase=phase, rows=rows)
        save_record(metrics, directory.instant)
        for way in classes.ways:
            directory.instant_part(way).unlink(missing_ok=True)
    return metrics


def _evaluate_way(
    against: Validation, classes: InstantClasses, way: Way, progress: Progress
) -> Metrics:
    """AP with one kind of rows; its detections are kept until all kinds are done."""
    from lst_cli.evaluate.detector import Detector

    began = time.perf_counter()
    workspace, phase, images = against.workspace, against.phase, against.dataset.images
    rows = classes.rows(way)
    header = against.header(phase - 1)
    # The rows decide about detections too.
    digest = hashlib.sha256(rows.rows.numpy().tobytes()).hexdigest()
    header = msgspec.structs.replace(header, settings={**header.settings, "new rows": digest})

    def detect(left: Sequence[int]) -> Iterable[tuple[int, Detections]]:
        use = inference_settings(classes.trained, against.settings)
        category_ids = workspace.split.class_order[: workspace.split.seen_classes(phase)]
        detector = Detector(classes.network(rows, use), use, category_ids)
        return detector.detect(images, against.paths, left)

    part = PartialDetections(workspace.phase(phase).instant_part(way), header, len(images))
    part.finish(detect, within(progress, f"{way} rows: "))
    with NamedTemporaryFile(dir=part.path.parent, prefix=".lst-", suffix=".tmp") as file:
        part.collect(Path(file.name))
        metrics, _ = against.measure(ResultsFile(Path(file.name), progress), began=began)
    return metrics
