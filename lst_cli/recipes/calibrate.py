"""Which correction of scores suits a model: tried on images it was trained on, never on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from lst_cli.config import Settings
from lst_cli.data.lvis import Dataset
from lst_cli.errors import LstError
from lst_cli.evaluation.calibration import (
    STRENGTHS,
    Calibration,
    choose_images,
    choose_strength,
    logit_shift,
)
from lst_cli.evaluation.detections import Cap
from lst_cli.evaluation.ground_truth import build_ground_truth, of_images
from lst_cli.evaluation.lvis_ap import lvis_ap
from lst_cli.evaluation.sources import Records
from lst_cli.recipes.inputs import ImagePaths, read_unchanged
from lst_cli.recipes.shards import in_use, make_header
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.store import Workspace

Progress = Callable[[str, int, "int | None"], None]


def calibration_of(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress
) -> float | None:
    """The strength that scores of a phase's model are to be corrected with.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: `eval.calibration` says whether; `eval.calibration_strength` how much, or that
            it is to be chosen.
        progress: What is done, how much of it, of how much.

    Returns:
        The strength; None for no correction.

    Raises:
        LstError: If an input is missing or has changed.
    """
    if settings.eval.calibration == "none":
        return None
    if settings.eval.calibration_strength >= 0:
        return settings.eval.calibration_strength
    manifest = workspace.require_model(phase)
    file = workspace.phase(phase).calibration
    kept = _read(file)
    use = in_use(workspace.trained_settings(phase), settings)
    tried_with = make_header(None, "", use).settings
    wanted = (manifest.model_sha256, settings.seed, settings.eval.calibration_images, tried_with)
    if kept is None or (kept.model_sha256, kept.seed, kept.wanted, kept.tried_with) != wanted:
        kept = _choose(workspace, phase, settings, tried_with, progress)
        write_text(file, kept.model_dump_json(indent=1) + "\n")
    return kept.strength


def shift_of(workspace: Workspace, phase: int, strength: float | None) -> list[float] | None:
    """What is taken from the logit of each class of a phase's model."""
    if strength is None:
        return None
    split = workspace.split
    records = split.classes[: split.seen_classes(phase)]
    return [float(one) for one in logit_shift([one.instances for one in records], strength)]


def _choose(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    tried_with: dict[str, Any],
    progress: Progress,
) -> Calibration:
    """Try every strength on training images, by box AP."""
    split = workspace.split
    manifest = workspace.require_model(phase)
    seen = split.class_order[: split.seen_classes(phase)]
    train = read_unchanged(split.train, workspace)
    # Classes that were added later come from files of their own, and have no say here.
    listed = set(train.categories.ids.tolist())
    scored = [one for one in seen if one in listed]
    truth = build_ground_truth(train, scored, masks=False)
    rows = choose_images(
        [np.unique(truth.image[truth.category == column]) for column in range(len(scored))],
        settings.eval.calibration_images,
        settings.seed,
    )
    chosen = truth.image_ids[rows]
    found = _detect(workspace, phase, settings, train, chosen, seen, progress)
    some = of_images(truth, chosen)
    cap = Cap(per_image=settings.eval.detections)
    box_ap = {}
    for done, (strength, records) in enumerate(zip(STRENGTHS, found, strict=True), start=1):
        wanted = [one for one in records if one["category_id"] in listed]
        result = lvis_ap(some, Records(wanted), iou_type="bbox", cap=cap)
        box_ap[strength] = result.summary["AP"]
        progress("strengths of calibration", done, len(STRENGTHS))
    return Calibration(
        model_sha256=manifest.model_sha256 or "",
        seed=settings.seed,
        tried_with=tried_with,
        wanted=settings.eval.calibration_images,
        images=len(chosen),
        strength=choose_strength(box_ap),
        box_ap={f"{strength:g}": ap for strength, ap in box_ap.items()},
    )


def _detect(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    train: Dataset,
    image_ids: npt.NDArray[np.int64],
    seen: Sequence[int],
    progress: Progress,
) -> list[list[dict[str, object]]]:
    """Boxes on some training images under every strength, LVIS results format."""
    # torch and detectron2 take seconds to import: not before the inputs are known to be good.
    from lst_cli.recipes.inference import detect_corrected

    split = workspace.split
    shifts = [shift_of(workspace, phase, strength) or [] for strength in STRENGTHS]
    return detect_corrected(
        workspace.phase(phase).model,
        in_use(workspace.trained_settings(phase), settings),
        settings,
        train.images,
        ImagePaths.of(train.images, split.image_dirs),
        seen,
        np.flatnonzero(np.isin(train.images.ids, image_ids)).tolist(),
        shifts,
        progress=lambda done, total: progress("training images, to calibrate", done, total),
    )


def _read(file: Path) -> Calibration | None:
    try:
        return Calibration.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LstError(f"{file}: cannot be read: {error.strerror}", f"remove {file}") from error
    except ValidationError:  # of another version: it is chosen anew
        return None
