"""From detections to numbers: what `lst eval` does after the network, and `lst score` alone."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lst_cli.annotations.read import read_dataset
from lst_cli.ap.bootstrap import draw_resamples, resampled_class_ap
from lst_cli.ap.detections import FIXED_AP, LVIS_CAP, Cap, gather_detections
from lst_cli.ap.errors import analyse_errors
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth, truth_notes
from lst_cli.ap.lvis_ap import NO_BINS, ApResult, TrainBins, average_precision, scores
from lst_cli.ap.matching import Matches, match_detections
from lst_cli.ap.metrics import ErrorAnalysis, FileMetrics, IouType
from lst_cli.ap.reference import largest_difference, reference_ap
from lst_cli.ap.results_file import ResultsFile
from lst_cli.check.fields import usable_instances
from lst_cli.check.masks import leave_out_unusable
from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.phases.bins import DEFAULT_BINS, Bin
from lst_cli.phases.replay import Occurrences
from lst_cli.progress import Progress, silent, stage

NAMES: dict[IouType, str] = {"segm": "mask AP", "bbox": "box AP"}
IOU_TYPES = tuple(NAMES)


@dataclass(frozen=True, eq=False)
class Measured:
    """The AP of some detections; the outcome of each is not kept."""

    truth: GroundTruth
    cap: Cap
    given: int  # detections in the file
    notes: tuple[str, ...]  # sentences about the detections
    result: ApResult
    errors: ErrorAnalysis | None  # if asked for


def measure(
    truth: GroundTruth,
    source: ResultsFile,
    iou_type: IouType,
    *,
    cap: Cap = LVIS_CAP,
    seed: int = 0,
    errors: TrainBins | None = None,
) -> Measured:
    """Match detections, once, and compute AP, its intervals and perhaps where it is lost.

    The ground truth needs masks for `segm`; the seed draws the images for the intervals.
    """
    detections = gather_detections(truth, source, iou_type, cap, any_class=errors is not None)
    matches = match_detections(truth, detections)
    result = resampled_ap(matches, seed=seed, progress=source.progress)
    analysis = None if errors is None else analyse_errors(matches, errors)
    return Measured(truth, cap, detections.given, detections.notes, result, analysis)


def resampled_ap(matches: Matches, *, seed: int = 0, progress: Progress = silent) -> ApResult:
    """AP of matched detections, and that of every resample of the images."""
    name = NAMES[matches.detections.iou_type]
    result = average_precision(matches, progress=stage(progress, name))
    resamples = draw_resamples(len(matches.truth.image_ids), seed=seed)
    intervals = stage(progress, f"{name}, intervals")
    return replace(result, resampled=resampled_class_ap(matches, resamples, progress=intervals))


def compare_with_lvis_api(
    measured: Mapping[IouType, Measured], source: ResultsFile
) -> dict[IouType, float | None]:
    """Run lvis-api on the same detections and give the largest difference of any number.

    It is None if there are no detections, which lvis-api cannot score.
    """
    quiet = replace(source, progress=silent)
    differences: dict[IouType, float | None] = dict.fromkeys(measured)
    for iou_type, ours in measured.items():
        source.progress(f"lvis-api, {NAMES[iou_type]}", 0, None)
        if ours.given:
            theirs = reference_ap(ours.truth, quiet, iou_type=iou_type, cap=ours.cap)
            differences[iou_type] = largest_difference(ours.result, theirs)
    return differences


@dataclass(frozen=True)
class ScoreOptions:
    """What `lst score` computes, and how."""

    train_counts: Path | None = None  # training instances for the bins, see `read_train_counts`
    bins: Sequence[Bin] = DEFAULT_BINS
    iou_types: Sequence[IouType] = IOU_TYPES
    cap: Cap = LVIS_CAP
    skip_unusable: bool = False  # leave out annotations that cannot be used
    errors: bool = False  # find out where AP is lost
    reference: bool = False  # run lvis-api too


@dataclass(frozen=True, eq=False)
class FileScores:
    """What `lst score` found."""

    metrics: FileMetrics
    notes: tuple[str, ...]  # what was read differently from what the files say
    measured: Mapping[IouType, Measured]
    differences: Mapping[IouType, float | None]  # of lvis-api's numbers, if it was run


def score_file(
    detections: Path,
    annotations: Path,
    options: ScoreOptions = ScoreOptions(),
    progress: Progress = silent,
) -> FileScores:
    """Score detections in LVIS or COCO format; no workspace and no network is needed.

    Raises an `LstError` if a file cannot be read, or detections do not fit the annotations.
    """
    began = time.perf_counter()
    source, train_counts = ResultsFile(detections, progress), options.train_counts
    counts = None if train_counts is None else read_train_counts(train_counts, progress=progress)
    dataset = read_dataset(annotations, progress=progress)
    dataset = leave_out_unusable(dataset) if options.skip_unusable else dataset
    truth = build_ground_truth(
        dataset,
        train_image_counts=counts and counts.images_of(dataset.categories.ids.tolist()),
        masks="segm" in options.iou_types,
        progress=progress,
    )
    notes = truth.notes
    unknown = sum(one not in counts.instances for one in truth.category_ids) if counts else 0
    if unknown:
        notes += (
            f"{unknown} of {len(truth.category_ids)} classes are not in {train_counts}; they "
            "are in no bin.",
        )
    by = TrainBins(counts.instances, options.bins) if counts else NO_BINS
    errors = by if options.errors else None
    measured = {
        iou_type: measure(truth, source, iou_type, cap=options.cap, errors=errors)
        for iou_type in options.iou_types
    }
    notes += truth_notes(truth, options.cap.per_image)
    for one in measured.values():
        notes += one.notes
    found = {iou_type: scores(one.result, by) for iou_type, one in measured.items()}
    metrics = FileMetrics(
        images=len(truth.image_ids),
        detections=next(iter(measured.values())).given,
        seconds=time.perf_counter() - began,
        federated=truth.federated,
        fixed_ap=options.cap == FIXED_AP,
        segm=found.get("segm"),
        bbox=found.get("bbox"),
    )
    differences = compare_with_lvis_api(measured, source) if options.reference else {}
    return FileScores(metrics, notes, measured, differences)


class TrainCounts(NamedTuple):
    """How much of each class was trained on, by category_id."""

    instances: Mapping[int, int]
    images: Mapping[int, int]  # empty if they are not known

    def images_of(self, category_ids: Iterable[int]) -> dict[int, int] | None:
        """Training images of some classes, 0 of those never seen; None if they are not known."""
        return {one: self.images.get(one, 0) for one in category_ids} if self.images else None


def read_train_counts(path: Path, *, progress: Progress = silent) -> TrainCounts:
    """Training instances and images of each class; an `LstError` if the file cannot be used.

    The file has the annotations that the model was trained on, whose usable instances are
    counted; or it is a CSV with the columns `category_id` and `train_instance_count` (or
    `instance_count`) and perhaps `train_image_count` (or `image_count`).
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    dataset = read_dataset(path, progress=progress)
    usable = usable_instances(dataset)
    ids = dataset.categories.ids.tolist()
    found = Occurrences.of(
        dataset.instances.image_index[usable].astype(np.int64),
        dataset.instances.category_index[usable].astype(np.int64),
        len(ids),
    )
    return TrainCounts(
        dict(zip(ids, found.instance_counts().tolist(), strict=True)),
        dict(zip(ids, found.image_counts().tolist(), strict=True)),
    )


def _read_csv(path: Path) -> TrainCounts:
    hint = "give a CSV with category_id and train_instance_count, or the training annotations"
    try:
        text = read_regular(path).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise LstError(f"cannot read {path}: {reason}", hint) from error
    columns: list[dict[int, int]] = []
    for what in ("instance_count", "image_count"):
        key = next((one for one in (f"train_{what}", what) if rows and one in rows[0]), None)
        counts: dict[int, int] = {}
        for line, row in enumerate(rows if key else (), start=2):
            try:
                category_id, count = int(row["category_id"]), int(row[str(key)])
            except (KeyError, TypeError, ValueError) as error:
                raise LstError(f"{path}, line {line}: no category_id and {key}", hint) from error
            if category_id in counts:
                raise LstError(f"{path}, line {line}: category_id {category_id} again", hint)
            if not 0 <= count < 10**12:
                raise LstError(f"{path}, line {line}: {key} is {count}", hint)
            counts[category_id] = count
        columns.append(counts)
    if not columns[0]:
        lack = "no column train_instance_count" if rows else "no rows"
        raise LstError(f"{path} has {lack}", hint)
    return TrainCounts(*columns)
