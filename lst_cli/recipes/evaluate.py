"""`lst eval`: a phase's model on the validation images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lst_cli.config import Settings
from lst_cli.data.lvis import Dataset
from lst_cli.errors import LstError
from lst_cli.evaluation.ground_truth import read_ground_truth
from lst_cli.evaluation.instant import InstantMetrics
from lst_cli.evaluation.lvis_ap import lvis_ap
from lst_cli.evaluation.metrics import Metrics, build_metrics
from lst_cli.phases.bins import parse_bins
from lst_cli.recipes.inputs import ImagePaths, read_training_input, read_validation
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.manifest import PhaseManifest, Split
from lst_cli.workspace.store import Workspace

Progress = Callable[[str, int, int | None], None]


def evaluate_phase(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress | None = None
) -> Metrics:
    """Run the model of a finished phase and compute its AP over the classes seen so far.

    All validation images are used, also those without any object of these classes.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: Device, workers, test setting and bins; the network is built as it was trained.
        progress: What is done, how much of it, of how much.

    Returns:
        The metrics, also written beside the phase together with its detections.

    Raises:
        LstError: If the phase is not finished, or an input is missing or changed.
    """
    tell = progress or (lambda what, done, total: None)
    manifest = workspace.require_model(phase)
    split = workspace.split
    val, paths = read_validation(workspace, phase)
    bins = parse_bins(settings.eval.bins)
    with workspace.locked():
        began = time.perf_counter()
        detections = run_model(workspace, manifest, settings, val, paths, progress=tell)
        metrics = measure(
            split,
            phase,
            detections,
            bins=bins,
            images=len(val.images.ids),
            max_detections=settings.eval.detections,
            began=began,
            progress=tell,
        )
        directory = workspace.phase(phase)
        write_text(directory.detections, json.dumps(detections, separators=(",", ":")))
        write_text(directory.metrics, metrics.model_dump_json(indent=1) + "\n")
    return metrics


def evaluate_instant(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress | None = None
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
    tell = progress or (lambda what, done, total: None)
    if phase == 0:
        raise LstError("the base phase has no classes to add instantly", "lst step")
    workspace.require_done(phase)
    if phase not in workspace.done_phases():
        raise LstError(f"phase {phase} was grown from a model that is gone", "lst status")
    workspace.require_model(phase - 1)
    split = workspace.split
    val, paths = read_validation(workspace, phase)
    bins = parse_bins(settings.eval.bins)
    inputs = read_training_input(workspace)
    with workspace.locked():
        # torch and detectron2 take seconds to import.
        from lst_cli.recipes.inference import detect_with
        from lst_cli.recipes.instant import InstantClasses
        from lst_cli.recipes.train import Events

        classes = InstantClasses(workspace, phase, split, settings, inputs, Events(prepare=tell))
        found: dict[str, Metrics] = {}
        for way in classes.ways:
            began = time.perf_counter()
            use = classes.trained.model_copy(update={"eval": settings.eval, "data": settings.data})
            detections = detect_with(
                classes.network(classes.rows(way), use),
                use,
                settings,
                val.images,
                paths,
                split.class_order[: split.seen_classes(phase)],
                lambda done, total, way=way: tell(f"images, {way} rows", done, total),  # type: ignore[misc]
            )
            found[way] = measure(
                split,
                phase,
                detections,
                bins=bins,
                images=len(val.images.ids),
                max_detections=settings.eval.detections,
                began=began,
                progress=tell,
            )
        metrics = InstantMetrics.model_validate({"phase": phase, "rows": found})
        write_text(workspace.phase(phase).instant, metrics.model_dump_json(indent=1) + "\n")
    return metrics


def measure(
    split: Split,
    phase: int,
    detections: Sequence[dict[str, Any]],
    *,
    bins: Sequence[Any],
    images: int,
    max_detections: int,
    began: float,
    progress: Progress,
) -> Metrics:
    """AP of detections over the classes seen up to a phase; nothing is written."""
    seen = split.class_order[: split.seen_classes(phase)]
    records = split.classes[: len(seen)]
    truth = read_ground_truth(
        Path(split.val_at(phase).path),
        seen,
        {record.category_id: record.images for record in records},
    )
    results = {}
    for iou_type, name in (("segm", "mask AP"), ("bbox", "box AP")):
        results[iou_type] = lvis_ap(
            truth,
            detections,
            iou_type=iou_type,  # type: ignore[arg-type]
            category_ids=seen,
            max_detections=max_detections,
            progress=lambda done, total, name=name: progress(name, done, total),  # type: ignore[misc]
        )
    return build_metrics(
        phase=phase,
        segm=results["segm"],
        bbox=results["bbox"],
        groups=split.groups,
        train_instances={record.category_id: record.instances for record in records},
        bins=bins,
        images=images,
        detections=len(detections),
        seconds=time.perf_counter() - began,
        federated=truth["federated"],
    )


def run_model(
    workspace: Workspace,
    manifest: PhaseManifest,
    settings: Settings,
    val: Dataset,
    paths: ImagePaths,
    *,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Detections of a phase's model on the validation images, LVIS results format."""
    # torch and detectron2 take seconds to import: not before the inputs are known to be good.
    from lst_cli.recipes.inference import detect

    split = workspace.split
    return detect(
        workspace.phase(manifest.phase).model,
        workspace.trained_settings(manifest.phase),
        settings,
        val.images,
        paths,
        split.class_order[: manifest.seen_classes],
        progress=lambda done, total: progress("images", done, total),
    )


def load_metrics(workspace: Workspace, phase: int) -> dict[str, Any] | None:
    """The stored metrics of a phase, or None if it was not evaluated.

    Raises:
        LstError: If the file is damaged.
    """
    path = workspace.phase(phase).metrics
    if not path.exists():
        return None
    try:
        metrics = Metrics.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LstError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LstError(
            f"{path}: {key + ': ' if key else ''}{first['msg']}", f"lst eval --phase {phase}"
        ) from error
    record: dict[str, Any] = metrics.model_dump(mode="json")
    return record
