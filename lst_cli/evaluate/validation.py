"""What a phase is evaluated on: read and checked before any network runs, measured after."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lst_cli.annotations.read import Dataset
from lst_cli.ap.detections import FIXED_AP, Cap, IouType
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth
from lst_cli.ap.lvis_ap import TrainBins, iou_metrics
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.results_file import ResultsFile
from lst_cli.evaluate.measure import IOU_TYPES, Measured, measure
from lst_cli.evaluate.resumable import Header, inference_settings, make_header
from lst_cli.inputs import ImagePaths, read_validation
from lst_cli.phases.bins import Bin, parse_bins
from lst_cli.progress import Progress
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
from lst_cli.workspace.atomic import require_writable
from lst_cli.workspace.store import Workspace


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

    def check_images(self, progress: Progress) -> None:
        """See that all images are there and as large as stated."""
        check_found_images([self.dataset], self.paths, progress=progress)

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
        by = TrainBins(instances, self.bins)
        measured = {
            iou_type: measure(
                self.truth,
                source,
                iou_type,
                cap=self.cap,
                seed=self.settings.seed,
                errors=by if errors and iou_type == "segm" else None,
                progress=progress,
            )
            for iou_type in IOU_TYPES
        }
        groups = split.groups[: self.phase + 1]
        segm, bbox = (iou_metrics(one.result, groups, by) for one in measured.values())
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
    """Read what a phase is evaluated on, and see that the `outputs` can be written.

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
    cap = Cap(per_image=settings.eval.detections)
    if fixed_ap:
        cap, more = FIXED_AP, {"detections": settings.eval.fixed_detections}
        settings = settings.model_copy(update={"eval": settings.eval.model_copy(update=more)})
    return Validation(workspace, phase, settings, dataset, paths, truth, bins, cap)
