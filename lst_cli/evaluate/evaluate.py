"""`lst eval`: a phase's model on the validation images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import msgspec

from lst_cli import ranks
from lst_cli.annotations.read import Dataset
from lst_cli.ap.detections import FIXED_AP, Cap
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth, truth_notes
from lst_cli.ap.lvis_ap import TrainBins, iou_metrics
from lst_cli.ap.metrics import ErrorAnalysis, InstantMetrics, IouType, Metrics, Way
from lst_cli.ap.reference import load_lvis
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import IOU_TYPES, Measured, compare_with_lvis_api, measure
from lst_cli.evaluate.stored import (
    Detections,
    EvaluationFiles,
    Header,
    PartialDetections,
    evaluation_files,
    inference_settings,
    load_metrics,
    make_header,
    stored_detections,
)
from lst_cli.evaluate.tables import write_errors
from lst_cli.inputs import ImagePaths, read_training_input, read_validation
from lst_cli.phases.bins import parse_bins
from lst_cli.phases.replay import step_data
from lst_cli.progress import Progress, silent, within
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
from lst_cli.workspace.atomic import replacing, require_writable
from lst_cli.workspace.records import save_record
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.evaluate.detector import Detector
    from lst_cli.extend.instant import InstantClasses


@dataclass(frozen=True, eq=False)
class Validation:
    """What a phase is evaluated on and how: all that is read but its model."""

    workspace: Workspace
    phase: int
    settings: Settings
    dataset: Dataset  # the validation file of the phase
    paths: ImagePaths  # of its images
    truth: GroundTruth  # its classes seen so far
    bins: TrainBins  # of these classes
    cap: Cap  # how many detections take part

    def header(self, model_phase: int) -> Header:
        """What detections of the model of a phase depend on."""
        manifest = self.workspace.require_model(model_phase)
        use = inference_settings(self.workspace.trained_settings(model_phase), self.settings)
        return make_header(manifest.model_sha256, self.dataset.sha256, use)

    def check_images(self, progress: Progress) -> None:
        """Check that all images are there and as large as stated."""
        check_found_images([self.dataset], self.paths, progress=progress)

    def measure(
        self, source: ResultsFile, *, began: float, errors: bool = False
    ) -> tuple[Metrics, dict[IouType, Measured]]:
        """AP of detections over the classes seen so far, with `errors` also where mask AP is lost.

        Seconds are counted from the `time.perf_counter` at which it `began`.
        """
        measured = {
            iou_type: measure(
                self.truth,
                source,
                iou_type,
                cap=self.cap,
                seed=self.settings.seed,
                errors=self.bins if errors and iou_type == "segm" else None,
            )
            for iou_type in IOU_TYPES
        }
        groups = self.workspace.split.groups[: self.phase + 1]
        segm, bbox = (iou_metrics(one.result, groups, self.bins) for one in measured.values())
        metrics = Metrics(
            phase=self.phase,
            images=len(self.dataset.images),
            detections=measured["segm"].given,
            seconds=time.perf_counter() - began,
            federated=self.truth.federated,
            fixed_ap=self.cap == FIXED_AP,
            annotations_sha256=self.dataset.sha256,
            segm=segm,
            bbox=bbox,
        )
        return metrics, measured


def prepare_validation(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    fixed_ap: bool = False,
    outputs: Sequence[Path] = (),
    progress: Progress,
) -> Validation:
    """Read what a phase is evaluated on, and check that the `outputs` can be written.

    Anything missing, changed or unusable is refused here, before a network runs.
    """
    ranges = parse_bins(settings.eval.bins)
    require_writable(*outputs)
    split = workspace.split
    dataset, paths = read_validation(workspace, phase)
    records = split.classes[: split.seen_classes(phase)]
    truth = build_ground_truth(
        dataset,
        [record.category_id for record in records],
        {record.category_id: record.images for record in records},
        progress=progress,
    )
    bins = TrainBins({record.category_id: record.instances for record in records}, ranges)
    cap = Cap(per_image=settings.eval.detections)
    if fixed_ap:
        cap, more = FIXED_AP, {"detections": settings.eval.fixed_detections}
        settings = settings.model_copy(update={"eval": settings.eval.model_copy(update=more)})
    return Validation(workspace, phase, settings, dataset, paths, truth, bins, cap)


OpenDetector = Callable[[Workspace, int, Settings], "Detector"]


def open_detector(workspace: Workspace, phase: int, settings: Settings) -> Detector:
    """Load the model of a finished phase, to be run under the test settings of today."""
    # torch and detectron2 take seconds to import: not before inputs are known to be good.
    from lst_cli.evaluate.detector import Detector
    from lst_cli.train.network import load_network

    category_ids = workspace.split.class_order[: workspace.split.seen_classes(phase)]
    use = inference_settings(workspace.trained_settings(phase), settings)
    network = load_network(workspace.phase(phase).model, use, len(category_ids))
    return Detector(network, use, category_ids)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a phase."""

    metrics: Metrics
    notes: tuple[str, ...]  # what a reader should know of the ground truth
    errors: ErrorAnalysis | None  # where mask AP is lost, if asked for
    error_files: tuple[Path, ...]
    differences: dict[IouType, float | None]  # the largest, of lvis-api's numbers, if it was run


@dataclass(frozen=True)
class EvalOptions:
    """What `lst eval` computes."""

    fixed_ap: bool = False  # AP_fixed, written to other files
    errors: bool = False  # find out where mask AP is lost
    reference: bool = False  # run lvis-api too


def evaluate_phase(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    options: EvalOptions = EvalOptions(),
    *,
    progress: Progress = silent,
    detector: OpenDetector = open_detector,
) -> Evaluation:
    """Run the model of a finished phase and compute its AP over the classes seen so far.

    All validation images are used, also those without any object of these classes. The network is
    built as it was trained; settings give device, workers, test setting and bins. Metrics and
    detections are written beside the phase. `options.errors` and `options.reference` take the
    detections that are there, if they were made under the same settings. An `LstError` if the
    phase is not finished, or an input is missing or changed.
    """
    began = time.perf_counter()
    workspace.require_model(phase)
    if options.reference:
        load_lvis()
    fixed_ap, closer = options.fixed_ap, options.errors or options.reference
    files = evaluation_files(workspace, phase, fixed_ap)
    outputs: Sequence[Path] = files[:3]
    if closer:
        outputs = [files.errors / "errors.json"] if options.errors else []
    else:
        with workspace.locked():  # refused now if another lst is writing, not after all is read
            pass
    against = prepare_validation(
        workspace, phase, settings, fixed_ap=fixed_ap, outputs=outputs, progress=progress
    )
    stored = None
    if closer and files.detections.exists():
        stored = load_metrics(workspace, phase, fixed_ap=fixed_ap)
    if stored is not None and stored.made_with == against.header(phase).made_with:
        source = stored_detections(workspace, phase, stored, progress)
        metrics, measured = against.measure(source, began=began, errors=options.errors)
        kept = {name: getattr(stored, name) for name in ("made_with", "detections_sha256")}
        metrics = metrics.model_copy(update=kept)
    else:
        metrics, measured = run_detector(
            against,
            files,
            against.header(phase),
            lambda: detector(workspace, phase, against.settings),
            began=began,
            errors=options.errors,
            progress=progress,
        )
        source = stored_detections(workspace, phase, metrics, progress)
    analysis = measured["segm"].errors
    error_files: tuple[Path, ...] = ()
    if analysis is not None:
        with workspace.locked():
            error_files = write_errors(analysis, files.errors)
    differences = compare_with_lvis_api(measured, source) if options.reference else {}
    notes = (*against.truth.notes, *truth_notes(against.truth, against.cap.per_image))
    return Evaluation(metrics, notes, analysis, error_files, differences)


def run_detector(
    against: Validation,
    files: EvaluationFiles,
    header: Header,
    detector: Callable[[], Detector],
    *,
    began: float,
    errors: bool = False,
    progress: Progress,
) -> tuple[Metrics, dict[IouType, Measured]]:
    """Run a model on all images, and write detections and metrics.

    The header says what they depend on; images that an earlier run did under the same are kept.
    """
    require_writable(*files[:3])
    with against.workspace.locked():
        against.check_images(progress)
        part = _detect(against, files.part, header, detector, progress)
        with replacing(files.detections) as written:
            digest = part.collect(written)
            source = ResultsFile(written, progress)
            metrics, measured = against.measure(source, began=began, errors=errors)
        metrics = metrics.model_copy(
            update={"made_with": header.made_with, "detections_sha256": digest}
        )
        save_record(metrics, files.metrics)
        part.remove()
    return metrics, measured


def _detect(
    against: Validation,
    path: Path,
    header: Header,
    detector: Callable[[], Detector],
    progress: Progress,
) -> PartialDetections:
    """Run a model on the images of this process, and wait for those of the others."""
    images = against.dataset.images
    if ranks.world() > 1:
        from lst_cli.engine.processes import wait

        wait()  # until the first process has checked the images and locked the workspace

    def detect(rows: Sequence[int]) -> Iterable[tuple[int, Detections]]:
        return detector().detect(images, against.paths, rows)

    part = PartialDetections(path, header, len(images))
    part.finish(detect, progress)
    if ranks.world() > 1:
        wait()
    return part


def detect_share(
    workspace: Workspace, phase: int, settings: Settings, *, fixed_ap: bool = False
) -> None:
    """Do the images of this process in an evaluation that the first process ends."""
    path = evaluation_files(workspace, phase, fixed_ap).part
    against = prepare_validation(workspace, phase, settings, fixed_ap=fixed_ap, progress=silent)
    _detect(
        against,
        path,
        against.header(phase),
        lambda: open_detector(workspace, phase, against.settings),
        silent,
    )


def check_phases(
    workspace: Workspace,
    phases: Sequence[int],
    settings: Settings,
    *,
    fixed_ap: bool = False,
    progress: Progress,
) -> None:
    """Check that each of several phases can be evaluated, before the first one is."""
    for phase in phases:
        workspace.require_model(phase)
        outputs = evaluation_files(workspace, phase, fixed_ap)[:3]
        against = prepare_validation(workspace, phase, settings, outputs=outputs, progress=progress)
        against.check_images(progress)


# --- a phase's classes before any training -------------------------------------------------------


def evaluate_instant(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress = silent
) -> InstantMetrics:
    """AP of a phase's classes in the model of the phase before, without any training.

    Their rows of the classifier are random, the mean feature of each class, or, where the phase
    before left a meta weight generator, written by it. Each of these ways is evaluated; the
    metrics are also written beside the phase. Errors are those of `evaluate_phase`.
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
        from lst_cli.extend.plan import NewPhase

        classes = InstantClasses(NewPhase(workspace, phase, split, settings, inputs, progress))
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
