"""`lst eval`: a phase's model on the validation images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lst_cli.annotations.read import Dataset
from lst_cli.ap.detections import FIXED_AP, Cap, IouType
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth, truth_notes
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.results_file import ResultsFile
from lst_cli.ap.scoring import iou_metrics
from lst_cli.evaluate.measure import IOU_TYPES, ErrorBins, Measured, measure
from lst_cli.evaluate.resumable import (
    Detections,
    Header,
    PartialDetections,
    inference_settings,
    make_header,
)
from lst_cli.evaluate.stored import evaluation_files
from lst_cli.inputs import ImagePaths, read_validation
from lst_cli.phases.bins import Bin, parse_bins
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
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


@dataclass(frozen=True, eq=False)
class Validation:
    """What a phase is evaluated on and how: all that is read but its model."""

    workspace: Workspace
    phase: int
    settings: Settings
    dataset: Dataset  # the validation file of the phase
    paths: ImagePaths  # of its images
    truth: GroundTruth  # its classes seen so far
    bins: tuple[Bin, ...]  # ranges of training instances
    cap: Cap  # how many detections take part

    def header(self, model_phase: int) -> Header:
        """What detections of the model of a phase depend on."""
        manifest = self.workspace.require_model(model_phase)
        use = inference_settings(self.workspace.trained_settings(model_phase), self.settings)
        return make_header(manifest.model_sha256, self.dataset.sha256, use)

    def measure(
        self, source: ResultsFile, *, began: float, errors: bool = False, progress: Progress
    ) -> tuple[Metrics, dict[IouType, Measured]]:
        """AP of detections over the classes seen so far; nothing is written.

        It began at some value of `time.perf_counter`, and may find out where mask AP is lost.

        Raises:
            LstError: If a detection does not fit the file.
        """
        split = self.workspace.split
        records = split.classes[: split.seen_classes(self.phase)]
        instances = {record.category_id: record.instances for record in records}
        error_bins = ErrorBins(instances, self.bins) if errors else None
        measured = {
            iou_type: measure(
                self.truth,
                source,
                iou_type,
                cap=self.cap,
                seed=self.settings.seed,
                errors=error_bins if iou_type == "segm" else None,
                progress=progress,
            )
            for iou_type in IOU_TYPES
        }
        groups = split.groups[: self.phase + 1]
        segm, bbox = (
            iou_metrics(one.result, groups, instances, self.bins, one.resampled)
            for one in measured.values()
        )
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
    images: bool = True,
    progress: Progress,
) -> Validation:
    """Read what a phase is evaluated on, and see that the `outputs` can be written.

    `images` says whether images will be looked at; the rest is as for `evaluate_phase`.

    Raises:
        LstError: If anything that the evaluation needs is missing, has changed or is unusable.
    """
    bins = parse_bins(settings.eval.bins)
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
    if images:
        check_found_images([dataset], paths, progress=progress)
    cap = Cap(per_image=settings.eval.detections)
    if fixed_ap:
        cap, more = FIXED_AP, {"detections": settings.eval.fixed_detections}
        settings = settings.model_copy(update={"eval": settings.eval.model_copy(update=more)})
    return Validation(workspace, phase, settings, dataset, paths, truth, bins, cap)


def evaluate_phase(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    fixed_ap: bool = False,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda sentence: None,
    detector: OpenDetector = open_detector,
) -> Metrics:
    """Run the model of a finished phase and compute its AP over the classes seen so far.

    All validation images are used, also those without any object of these classes.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: Device, workers, test setting and bins; the network is built as it was trained.
        fixed_ap: Whether the cap is 10,000 detections a class over all images (AP_fixed) instead
            of `eval.detections` an image; the files then have other names.
        progress: What is done.
        note: Called with what a reader should know of the ground truth.
        detector: Loads the model if there are images that it has not seen yet.

    Returns:
        The metrics, also written beside the phase together with its detections.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    workspace.require_model(phase)
    files = evaluation_files(workspace, phase, fixed_ap)
    with workspace.locked():
        began = time.perf_counter()
        against = prepare_validation(
            workspace, phase, settings, fixed_ap=fixed_ap, outputs=files[:3], progress=progress
        )
        header, images = against.header(phase), against.dataset.images

        def detect(rows: Sequence[int]) -> Iterable[tuple[int, Detections]]:
            model = detector(workspace, phase, against.settings)
            return model.detect(images, against.paths, rows)

        part = PartialDetections(files.part, header, len(images))
        part.finish(detect, progress)
        with replacing(files.detections) as written:
            digest = part.collect(written)
            source = ResultsFile(written)
            metrics, _ = against.measure(source, began=began, progress=progress)
        metrics = metrics.model_copy(
            update={"made_with": header.made_with, "detections_sha256": digest}
        )
        save_record(metrics, files.metrics)
        files.part.unlink(missing_ok=True)
    for sentence in (*against.truth.notes, *truth_notes(against.truth, against.cap.per_image)):
        note(sentence)
    return metrics


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
        files = evaluation_files(workspace, phase, fixed_ap)
        prepare_validation(workspace, phase, settings, outputs=files[:3], progress=progress)
