"""`lst eval`: a phase's model on the validation images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import msgspec

from lst_cli.annotations.read import Dataset
from lst_cli.ap.detections import FIXED_AP, Cap, IouType
from lst_cli.ap.instant import InstantMetrics, Way
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.results_file import ResultsFile
from lst_cli.ap.scoring import iou_metrics
from lst_cli.ap.truth_notes import truth_notes
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import (
    IOU_TYPES,
    ErrorBins,
    Measured,
    measure,
)
from lst_cli.evaluate.resumable import (
    Header,
    collect_detections,
    finish_detections,
    in_use,
    make_header,
)
from lst_cli.evaluate.validation import Validation, prepare_validation
from lst_cli.inputs import ImagePaths, read_training_input
from lst_cli.phases.replay import step_data
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
from lst_cli.workspace.atomic import replacing
from lst_cli.workspace.hints import name_workspace
from lst_cli.workspace.layout import PhaseDirectory
from lst_cli.workspace.manifest import PhaseManifest
from lst_cli.workspace.records import load_record, save_record
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.extend.instant import InstantClasses

Detect = Callable[[Sequence[int]], Iterable[tuple[int, list[dict[str, Any]]]]]


def evaluate_phase(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    fixed_ap: bool = False,
    progress: Progress = silent,
    note: Callable[[str], None] | None = None,
) -> Metrics:
    """Run the model of a finished phase and compute its AP over the classes seen so far.

    All validation images are used, also those without any object of these classes.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: Device, workers, test setting and bins; the network is built as it was trained.
        fixed_ap: Whether the cap is 10,000 detections a class over all images (AP_fixed) instead
            of `eval.detections` an image; the files then have other names.
        progress: What is done, how much of it, of how much.
        note: Told what a reader should know of the ground truth.

    Returns:
        The metrics, also written beside the phase together with its detections.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    manifest = workspace.require_model(phase)
    if fixed_ap:
        settings = with_fixed_cap(settings)
    files = evaluation_files(workspace.phase(phase), fixed_ap)
    to_detections, to_metrics, part = files
    with workspace.locked():
        began = time.perf_counter()
        against = prepare_validation(workspace, phase, settings, outputs=files, progress=progress)
        header = run_model(
            workspace,
            manifest,
            settings,
            against.dataset,
            against.paths,
            part,
            progress=progress,
        )
        with replacing(to_detections) as written:
            digest = collect_detections(part, header, len(against.dataset.images), written)
            metrics, _ = measure_phase(
                against,
                ResultsFile(written),
                settings,
                began=began,
                fixed_ap=fixed_ap,
                progress=progress,
            )
        metrics = metrics.model_copy(
            update={"made_with": header.made_with, "detections_sha256": digest}
        )
        save_record(metrics, to_metrics)
        part.unlink(missing_ok=True)
    if note is not None:
        most = None if fixed_ap else settings.eval.detections
        for sentence in (*against.truth.notes, *truth_notes(against.truth, most)):
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

    Args:
        workspace: With the finished phases.
        phases: The phases.
        settings: What they are evaluated with.
        fixed_ap: As for `evaluate_phase`.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If one cannot.
    """
    for phase in phases:
        workspace.require_model(phase)
        files = evaluation_files(workspace.phase(phase), fixed_ap)
        prepare_validation(workspace, phase, settings, outputs=files, progress=progress)


def with_fixed_cap(settings: Settings) -> Settings:
    """Settings with the detections an image that AP_fixed looks at."""
    more = {"detections": settings.eval.fixed_detections}
    return settings.model_copy(update={"eval": settings.eval.model_copy(update=more)})


def evaluation_files(directory: PhaseDirectory, fixed_ap: bool) -> tuple[Path, Path, Path]:
    """Where detections and metrics lie, and the detections of an unfinished evaluation."""
    if fixed_ap:
        return (
            directory.fixed_detections,
            directory.fixed_metrics,
            directory.fixed_detections_part,
        )
    return directory.detections, directory.metrics, directory.detections_part


def evaluate_instant(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress = silent
) -> InstantMetrics:
    """AP of a phase's classes in the model of the phase before, without any training.

    It is grown by rows that nobody trained: random ones, the mean feature of each class, and
    those of the meta weight generator where that phase left one.

    Args:
        workspace: With the finished phase.
        phase: t, from 1 on.
        settings: Device, workers, test setting and bins.
        progress: What is done, how much of it, of how much.

    Returns:
        The metrics of each kind of rows, also written beside the phase.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    if phase == 0:
        raise LstError("the base phase has no classes to add instantly", "lst step")
    workspace.require_done(phase)
    if phase not in workspace.done_phases():
        raise LstError(f"phase {phase} was grown from a model that is gone", "lst status")
    before = workspace.require_model(phase - 1)
    split = workspace.split
    with workspace.locked():
        against = prepare_validation(
            workspace,
            phase,
            settings,
            outputs=(workspace.phase(phase).instant,),
            progress=progress,
        )
        inputs = read_training_input(workspace)
        shown = step_data(inputs.occurrences, split.labels_of(phase), phase, settings.seed, "none")
        check_found_images(inputs.dataset.parts, inputs.paths, shown.images(), progress=progress)
        # torch and detectron2 take seconds to import.
        from lst_cli.extend.instant import InstantClasses
        from lst_cli.train.events import Events

        classes = InstantClasses(
            workspace, phase, split, settings, inputs, Events(prepare=progress)
        )
        use = in_use(classes.trained, settings)
        found: dict[str, Metrics] = {}
        parts = {way: workspace.phase(phase).instant_part(way) for way in classes.ways}
        for way, part in parts.items():
            began = time.perf_counter()
            images = len(against.dataset.images)
            header = make_header(before.model_sha256, against.dataset.sha256, use)
            header, detect = _instant_rows(classes, way, header, against, settings, use)

            def tell_way(what: str, done: int, total: int | None, way: Way = way) -> None:
                progress(f"{what}, {way} rows", done, total)

            finish_detections(part, header, images, detect, progress=tell_way)
            with _collected(part, header, images) as source:
                found[way], _ = measure_phase(
                    against, source, settings, began=began, progress=progress
                )
        metrics = InstantMetrics.model_validate({"phase": phase, "rows": found})
        save_record(metrics, workspace.phase(phase).instant)
        for part in parts.values():
            part.unlink(missing_ok=True)
    return metrics


def _instant_rows(
    classes: InstantClasses,
    way: Way,
    header: Header,
    against: Validation,
    settings: Settings,
    use: Settings,
) -> tuple[Header, Detect]:
    """How to detect with one kind of rows; the header also names the rows by their digest."""
    from lst_cli.evaluate.detector import detect_with

    rows, split = classes.rows(way), against.split
    digest = hashlib.sha256(rows.rows.numpy().tobytes()).hexdigest()
    header = msgspec.structs.replace(header, settings={**header.settings, "new rows": digest})

    def detect(left: Sequence[int]) -> Iterable[tuple[int, list[dict[str, Any]]]]:
        return detect_with(
            classes.network(rows, use),
            use,
            settings,
            against.dataset.images,
            against.paths,
            split.class_order[: split.seen_classes(against.phase)],
            left,
        )

    return header, detect


@contextmanager
def _collected(part: Path, header: Header, images: int) -> Iterator[ResultsFile]:
    """The detections that were kept image by image, as a temporary results file."""
    with NamedTemporaryFile(dir=part.parent, prefix=".lst-", suffix=".tmp") as file:
        path = Path(file.name)
        collect_detections(part, header, images, path)
        yield ResultsFile(path)


def measure_phase(
    against: Validation,
    source: ResultsFile,
    settings: Settings,
    *,
    began: float,
    fixed_ap: bool = False,
    errors: bool = False,
    progress: Progress,
) -> tuple[Metrics, dict[IouType, Measured]]:
    """AP of detections over the classes seen up to a phase; nothing is written.

    Args:
        against: What the phase is evaluated on.
        source: The detections.
        settings: Detections an image.
        began: When the evaluation began, by `time.perf_counter`.
        fixed_ap: Whether the cap is 10,000 detections a class, instead of so many an image.
        errors: Whether to find out where mask AP is lost.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If a detection does not fit the file.
    """
    split, phase, truth = against.split, against.phase, against.truth
    records = split.classes[: split.seen_classes(phase)]
    cap = FIXED_AP if fixed_ap else Cap(per_image=settings.eval.detections)
    instances = {record.category_id: record.instances for record in records}
    error_bins = ErrorBins(instances, against.bins) if errors else None
    measured = {
        iou_type: measure(
            truth,
            source,
            iou_type,
            cap=cap,
            seed=settings.seed,
            errors=error_bins if iou_type == "segm" else None,
            progress=progress,
        )
        for iou_type in IOU_TYPES
    }
    groups = split.groups[: phase + 1]
    segm, bbox = (
        iou_metrics(measured[one].result, groups, instances, against.bins, measured[one].resampled)
        for one in IOU_TYPES
    )
    metrics = Metrics(
        phase=phase,
        images=len(against.dataset.images),
        detections=measured["segm"].given,
        seconds=time.perf_counter() - began,
        federated=truth.federated,
        fixed_ap=fixed_ap,
        annotations_sha256=against.dataset.sha256,
        segm=segm,
        bbox=bbox,
    )
    return metrics, measured


def run_model(
    workspace: Workspace,
    manifest: PhaseManifest,
    settings: Settings,
    val: Dataset,
    paths: ImagePaths,
    part: Path,
    *,
    progress: Progress,
) -> Header:
    """Detections of a phase's model on the validation images, LVIS results format.

    Images that an interrupted evaluation has done are not done again; see `finish_detections`.

    Args:
        workspace: The workspace.
        manifest: Of the phase.
        settings: Device, workers and test setting.
        val: The validation images.
        paths: Where they lie.
        part: Where the detections go, image by image.
        progress: What is done, how much of it, of how much.

    Returns:
        What the file is headed with.
    """
    split = workspace.split
    directory = workspace.phase(manifest.phase)
    trained = workspace.trained_settings(manifest.phase)

    def detect(rows: Sequence[int]) -> Iterable[tuple[int, list[dict[str, Any]]]]:
        # torch and detectron2 take seconds to import: not before inputs are known to be good.
        from lst_cli.evaluate.detector import detect_rows

        return detect_rows(
            directory.model,
            trained,
            settings,
            val.images,
            paths,
            split.class_order[: manifest.seen_classes],
            rows,
        )

    header = make_header(manifest.model_sha256, val.sha256, in_use(trained, settings))
    finish_detections(part, header, len(val.images), detect, progress=progress)
    return header


def load_metrics(workspace: Workspace, phase: int, *, fixed_ap: bool = False) -> Metrics | None:
    """The stored metrics of a phase, or None if it was not evaluated.

    Raises:
        LstError: If the file is damaged, or is not of the phase and its model.
    """
    _, path, _ = evaluation_files(workspace.phase(phase), fixed_ap)
    if not path.exists():
        return None
    hint = eval_command(workspace, phase, fixed_ap)
    metrics = load_record(Metrics, path, hint)
    split, manifest = workspace.split, workspace.manifest(phase)
    model = metrics.made_with.get("model_sha256")
    seen = set(split.class_order[: split.seen_classes(phase)])
    groups = [(number, len(group)) for number, group in enumerate(split.groups[: phase + 1])]
    problem = None
    if metrics.phase != phase:
        problem = f"phase: it is of phase {metrics.phase}"
    elif model is not None and manifest is not None and model != manifest.model_sha256:
        problem = "made_with.model_sha256: it is of another model"
    for one in (metrics.segm, metrics.bbox):
        found = [(group.phase, group.classes) for group in one.groups]
        if found != groups or not seen >= one.per_class.keys():
            problem = problem or "its classes are not those of the split"
    if problem is not None:
        raise LstError(f"{path}: {problem}", hint)
    return metrics


def load_all_metrics(workspace: Workspace, phases: Iterable[int]) -> list[Metrics]:
    """The stored metrics of those phases that were evaluated, see `load_metrics`."""
    found = (load_metrics(workspace, phase) for phase in phases)
    return [metrics for metrics in found if metrics is not None]


def stored_detections(
    workspace: Workspace, phase: int, metrics: Metrics, *, fixed_ap: bool = False
) -> ResultsFile:
    """The detections that stored metrics are of; reading them shows whether they changed since."""
    path, _, _ = evaluation_files(workspace.phase(phase), fixed_ap)
    return ResultsFile(
        path, sha256=metrics.detections_sha256, hint=eval_command(workspace, phase, fixed_ap)
    )


def eval_command(workspace: Workspace, phase: int, fixed_ap: bool = False) -> str:
    """What evaluates a phase again."""
    words = f"lst eval --phase {phase}{' --fixed-ap' if fixed_ap else ''}"
    return name_workspace(words, workspace.root)
