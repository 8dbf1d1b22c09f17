"""From detections to numbers: what `lst eval` does behind the network, and without one."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lst_cli.annotations.read import read_dataset
from lst_cli.ap.bootstrap import draw_resamples, resampled_class_ap
from lst_cli.ap.detections import FIXED_AP, LVIS_CAP, Cap, IouType, gather_detections
from lst_cli.ap.errors import ErrorAnalysis, analyse_errors
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth, truth_notes
from lst_cli.ap.lvis_ap import NO_BINS, ApResult, TrainBins, average_precision, scores
from lst_cli.ap.matching import Matches, match_detections
from lst_cli.ap.metrics import FileMetrics
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
    given: int  # detections in the file
    notes: tuple[str, ...]  # sentences about the detections
    result: ApResult
    errors: ErrorAnalysis | None = None  # if it was asked for


def measure(
    truth: GroundTruth,
    source: ResultsFile,
    iou_type: IouType,
    *,
    cap: Cap = LVIS_CAP,
    seed: int = 0,
    errors: TrainBins | None = None,
    progress: Progress = silent,
) -> Measured:
    """Match detections, once, and compute AP, its intervals and perhaps where it is lost.

    The ground truth needs masks for `segm`; the seed is that of the images drawn for the
    intervals.

    Raises:
        LstError: If a detection is unusable.
    """
    matches = match_file(truth, source, iou_type, cap, any_class=bool(errors), progress=progress)
    measured = measure_matches(matches, seed=seed, progress=progress)
    if errors is None:
        return measured
    return replace(measured, errors=analyse_errors(matches, errors))


def match_file(
    truth: GroundTruth,
    source: ResultsFile,
    iou_type: IouType,
    cap: Cap = LVIS_CAP,
    *,
    any_class: bool = False,
    progress: Progress = silent,
) -> Matches:
    """Read detections and match them, see `gather_detections`."""
    source = replace(source, progress=progress)
    return match_detections(
        truth, gather_detections(truth, source, iou_type, cap, any_class=any_class)
    )


def measure_matches(matches: Matches, *, seed: int = 0, progress: Progress = silent) -> Measured:
    """AP of matched detections, and its intervals."""
    truth, detections = matches.truth, matches.detections
    name = NAMES[detections.iou_type]
    result = average_precision(matches, progress=stage(progress, name))
    resamples = draw_resamples(len(truth.image_ids), seed=seed)
    resampled = resampled_class_ap(
        matches, resamples, progress=stage(progress, f"{name}, intervals")
    )
    result = replace(result, resampled=resampled)
    return Measured(truth, detections.given, detections.notes, result)


@dataclass(frozen=True, eq=False)
class FileScores:
    """What `lst score` found."""

    metrics: FileMetrics
    notes: tuple[str, ...]  # what was read differently from what the files say
    measured: Mapping[IouType, Measured]


def score_file(
    detections: Path,
    annotations: Path,
    *,
    train_counts: Path | None = None,
    iou_types: Sequence[IouType] = IOU_TYPES,
    bins: Sequence[Bin] = DEFAULT_BINS,
    cap: Cap = LVIS_CAP,
    skip_unusable: bool = False,
    errors: bool = False,
    progress: Progress = silent,
) -> FileScores:
    """Score anybody's detections; no workspace and no network is needed.

    Detections are in LVIS or COCO format, annotations in that of LVIS v0.5, LVIS v1 or COCO.
    `train_counts` has the training instances for the bins, see `read_train_counts`;
    `skip_unusable` leaves out annotations that cannot be used; `errors` finds out where AP is
    lost.

    Raises:
        LstError: If a file cannot be read, or the detections do not fit the annotations.
    """
    began = time.perf_counter()
    counts = None if train_counts is None else read_train_counts(train_counts, progress=progress)
    dataset = read_dataset(annotations, progress=progress)
    dataset = leave_out_unusable(dataset) if skip_unusable else dataset
    # Classes that training never saw count 0.
    ids = dataset.categories.ids.tolist()
    instances = {one: counts.instances.get(one, 0) for one in ids} if counts else {}
    images = {one: counts.images.get(one, 0) for one in ids} if counts and counts.images else None
    truth = build_ground_truth(
        dataset, train_image_counts=images, masks="segm" in iou_types, progress=progress
    )
    notes = truth.notes
    unknown = sum(one not in counts.instances for one in truth.category_ids) if counts else 0
    if unknown:
        notes += (
            f"{unknown} of {len(truth.category_ids)} classes are not in {train_counts}; they "
            "are in no bin.",
        )
    source = ResultsFile(detections)
    by = TrainBins(instances, bins) if counts else NO_BINS
    measured = {
        iou_type: measure(
            truth, source, iou_type, cap=cap, errors=by if errors else None, progress=progress
        )
        for iou_type in iou_types
    }
    notes += truth_notes(truth, cap.per_image)
    for one in measured.values():
        notes += one.notes
    found = {iou_type: scores(one.result, by) for iou_type, one in measured.items()}
    metrics = FileMetrics(
        images=len(truth.image_ids),
        detections=next(iter(measured.values())).given,
        seconds=time.perf_counter() - began,
        federated=truth.federated,
        fixed_ap=cap == FIXED_AP,
        segm=found.get("segm"),
        bbox=found.get("bbox"),
    )
    return FileScores(metrics, notes, measured)


def compare_with_lvis_api(
    measured: Measured, source: ResultsFile, iou_type: IouType, cap: Cap = LVIS_CAP
) -> float | None:
    """Run lvis-api on the same detections and give the largest difference of any number.

    It is None if there are no detections, which lvis-api cannot score.

    Raises:
        LstError: If `lvis` is not installed.
    """
    if not measured.given:
        return None
    theirs = reference_ap(measured.truth, source, iou_type=iou_type, cap=cap)
    return largest_difference(measured.result, theirs)


class TrainCounts(NamedTuple):
    """How much of each class was trained on, by category_id."""

    instances: Mapping[int, int]
    images: Mapping[int, int]  # empty if they are not known


def read_train_counts(path: Path, *, progress: Progress = silent) -> TrainCounts:
    """Count training instances and images of each class.

    The file has the annotations that the model was trained on, whose usable instances are
    counted; or it is a CSV with the columns `category_id` and `train_instance_count` (or
    `instance_count`) and perhaps `train_image_count` (or `image_count`).

    Raises:
        LstError: If the file cannot be read or lacks a column.
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
