"""Which correction of scores suits a model: tried on images it was trained on, never on others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.read import Dataset
from lst_cli.ap.calibration import (
    STRENGTHS,
    Calibration,
    Correction,
    Way,
    choose_images,
    choose_strength,
    logit_shift,
    phase_shift,
)
from lst_cli.ap.detections import Cap
from lst_cli.ap.ground_truth import build_ground_truth, of_images
from lst_cli.ap.lvis_ap import lvis_ap
from lst_cli.ap.sources import Records
from lst_cli.errors import LstError
from lst_cli.evaluate.resumable import in_use, make_header
from lst_cli.inputs import ImagePaths, read_unchanged
from lst_cli.progress import Progress, stage
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
from lst_cli.workspace.records import load_record, save_record
from lst_cli.workspace.store import Workspace


def require_correctable(phase: int, settings: Settings) -> None:
    """See that a phase's scores can be corrected in the way that is asked for.

    Args:
        phase: t.
        settings: Whose `eval.calibration` says how.

    Raises:
        LstError: If phases are to be set against each other where there is but one.
    """
    if settings.eval.calibration == "phases" and phase == 0:
        raise LstError(
            "eval.calibration = phases sets base classes against later ones, of which phase 0 "
            "has none",
            "evaluate a later phase, or set eval.calibration to none or norcal",
        )


def settings_in_series(settings: Settings, phase: int) -> Settings:
    """Settings that a phase is evaluated with beside later ones.

    The base phase, in which there is nothing to set against each other, is left as it is where
    the later ones are corrected by phases.
    """
    if phase > 0 or settings.eval.calibration != "phases":
        return settings
    plain = settings.eval.model_copy(update={"calibration": "none"})
    return settings.model_copy(update={"eval": plain})


def calibration_of(
    workspace: Workspace, phase: int, settings: Settings, *, progress: Progress
) -> Correction | None:
    """How the scores of a phase's model are to be corrected.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: `eval.calibration` says whether; `eval.calibration_strength` how much, or that
            it is to be chosen.
        progress: What is done, how much of it, of how much.

    Returns:
        In which way and how much; None for not at all.

    Raises:
        LstError: If an input is missing or has changed, or there is nothing to choose by.
    """
    way = settings.eval.calibration
    if way == "none":
        return None
    known = known_correction(workspace, phase, settings)
    if known is not None:
        return known
    tried_with = _tried_with(workspace, phase, settings)
    chosen = _choose(workspace, phase, way, settings, tried_with, progress)
    save_record(chosen, workspace.phase(phase).calibration)
    return Correction(way=way, strength=chosen.strength)


def known_correction(workspace: Workspace, phase: int, settings: Settings) -> Correction | None:
    """The correction that is asked for, if no image has to be looked at: given, or chosen before.

    Args:
        workspace: With the finished phase.
        phase: t.
        settings: As for `calibration_of`.

    Returns:
        In which way and how much; None if none is asked for, or it is still to be chosen.

    Raises:
        LstError: If phases are to be set against each other where there is but one, the model is
            missing, or what was chosen cannot be read.
    """
    way = settings.eval.calibration
    if way == "none":
        return None
    require_correctable(phase, settings)
    given = settings.eval.calibration_strength
    # NorCal takes none below 0; older settings say -1 for one that is to be chosen.
    if given != "auto" and (way == "phases" or given >= 0):
        return Correction(way=way, strength=given)
    manifest = workspace.require_model(phase)
    kept = _read(workspace.phase(phase).calibration)
    tried_with = _tried_with(workspace, phase, settings)
    images = settings.eval.calibration_images
    wanted = (way, manifest.model_sha256, settings.seed, images, tried_with)
    if (
        kept is None
        or (kept.way, kept.model_sha256, kept.seed, kept.wanted, kept.tried_with) != wanted
    ):
        return None
    return Correction(way=way, strength=kept.strength)


def _tried_with(workspace: Workspace, phase: int, settings: Settings) -> dict[str, Any]:
    """Settings that decide about the detections by which a correction is chosen."""
    use = in_use(workspace.trained_settings(phase), settings)
    return make_header(None, "", use).settings


def shift_of(workspace: Workspace, phase: int, correction: Correction | None) -> list[float] | None:
    """What is taken from the logit of each class of a phase's model."""
    if correction is None:
        return None
    split, strength = workspace.split, correction.strength
    records = split.classes[: split.seen_classes(phase)]
    if correction.way == "phases":
        shift = phase_shift(len(records), len(split.groups[0]), strength)
    else:
        shift = logit_shift([one.instances for one in records], strength)
    return [float(one) for one in shift]


def _choose(
    workspace: Workspace,
    phase: int,
    way: Way,
    settings: Settings,
    tried_with: dict[str, Any],
    progress: Progress,
) -> Calibration:
    """Try every strength on training images, by box AP.

    Raises:
        LstError: If the images show base classes alone, which are always better off unopposed.
    """
    split = workspace.split
    manifest = workspace.require_model(phase)
    seen = split.class_order[: split.seen_classes(phase)]
    train = read_unchanged(split.train, workspace)
    # Classes that were added later come from files of their own, and have no say here.
    listed = set(train.categories.ids.tolist())
    scored = [one for one in seen if one in listed]
    truth = build_ground_truth(train, scored, masks=False)
    images_of_class = [
        np.unique(truth.image[truth.category == column]) for column in range(len(scored))
    ]
    base = set(split.groups[0])
    if way == "phases" and not any(
        len(images)
        for category_id, images in zip(scored, images_of_class, strict=True)
        if category_id not in base
    ):
        raise LstError(
            f"{train.path}: shows no class that came after the base phase, by which a strength "
            "could be chosen",
            "--set eval.calibration_strength=0.5, or another number of logits",
        )
    rows = choose_images(images_of_class, settings.eval.calibration_images, settings.seed)
    chosen = truth.image_ids[rows]
    strengths = STRENGTHS[way]
    shifts = [
        shift_of(workspace, phase, Correction(way=way, strength=one)) or [] for one in strengths
    ]
    found = _detect(workspace, phase, settings, train, chosen, seen, shifts, progress)
    some = of_images(truth, chosen)
    cap = Cap(per_image=settings.eval.detections)
    box_ap = {}
    for done, (strength, records) in enumerate(zip(strengths, found, strict=True), start=1):
        wanted = [one for one in records if one["category_id"] in listed]
        result = lvis_ap(some, Records(wanted), iou_type="bbox", cap=cap)
        box_ap[strength] = result.summary["AP"]
        progress("strengths of calibration", done, len(strengths))
    return Calibration(
        way=way,
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
    shifts: Sequence[Sequence[float]],
    progress: Progress,
) -> list[list[dict[str, object]]]:
    """Boxes on some training images under every correction, LVIS results format."""
    paths = ImagePaths.of(train.images, workspace.split.image_dirs)
    rows = np.flatnonzero(np.isin(train.images.ids, image_ids))
    check_found_images([train], paths, rows, progress=progress)
    # torch and detectron2 take seconds to import: not before the inputs are known to be good.
    from lst_cli.evaluate.detector import detect_corrected

    return detect_corrected(
        workspace.phase(phase).model,
        in_use(workspace.trained_settings(phase), settings),
        settings,
        train.images,
        paths,
        seen,
        rows.tolist(),
        shifts,
        progress=stage(progress, "training images, to calibrate"),
    )


def _read(file: Path) -> Calibration | None:
    try:
        return load_record(Calibration, file, "")
    except LstError:  # not there, damaged or of another version: it is chosen again
        return None
