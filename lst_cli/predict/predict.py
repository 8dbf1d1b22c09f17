"""`lst predict`: what a phase's model finds in any images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import msgspec

from lst_cli.display.panels import draw_predictions, read_comment
from lst_cli.display.records import Panel, PanelObject
from lst_cli.errors import LstError
from lst_cli.files import read_regular, shorten_name
from lst_cli.predict.found import FORMAT, SCORE, FoundImage, FoundObject, Predictions
from lst_cli.predict.loose_images import LooseImage, LooseImages, list_images, measure_images
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.text import json_text
from lst_cli.workspace.atomic import NoRoomError, write_bytes, write_text
from lst_cli.workspace.manifest import PhaseManifest, Split
from lst_cli.workspace.store import Workspace

FILE = "predictions.json"

_MARK = "drawn by lst predict"  # tells pictures that may be replaced from the user's own
_ELSEWHERE = "choose another directory with -o DIR"


def predict_images(
    workspace: Workspace,
    places: Sequence[Path],
    settings: Settings,
    *,
    phase: int | None = None,
    score: float = SCORE,
    directory: Path | None = None,
    progress: Progress = silent,
) -> Predictions:
    """Run the model of a finished phase on images that need no annotations.

    An image that cannot be used is left out, and the others are predicted. The workspace is only
    read, so that this can be done beside a training.

    Args:
        workspace: With the finished phase.
        places: Image files, and directories with images anywhere below them.
        settings: Device, workers and test setting, the correction of scores among it; the
            network is built as it was trained.
        phase: t; the newest finished one by default.
        score: Lowest score of an object; `eval.score_threshold` if that is higher.
        directory: Where pictures and predictions.json are written; None writes nothing.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If the phase is not finished, a place is not there or holds no images, no image
            can be used, the directory cannot be written or holds other files of these names, or
            the correction of scores that is set was not chosen yet.
    """
    if not 0 <= score <= 1:
        raise LstError(f"score {score}: scores lie between 0 and 1", "lst predict --score 0.3")
    manifest = workspace.require_done(workspace.newest_phase() if phase is None else phase)
    if directory is not None:
        _require_writable(directory)
        if any(place.is_dir() and place.resolve() == directory.resolve() for place in places):
            raise LstError(
                f"{directory}: pictures there would be taken for images next time", _ELSEWHERE
            )
    left_out: dict[Path, LstError] = {}
    files = list_images(places, without=directory)
    images = measure_images(
        files,
        lambda image, error: left_out.update({image.path: error}),
        progress=progress,
    )
    _require_any(images.files, left_out)
    pictures = name_pictures(images.files)
    if directory is not None:
        _refuse_overwriting(directory, pictures, images.files)
    workspace.require_model(manifest.phase)
    score = max(score, settings.eval.score_threshold)
    detections = _detect(workspace, manifest, settings, images, score, left_out, progress)
    in_order = {file.path: left_out[file.path] for file in files if file.path in left_out}
    found = gather(workspace.split, manifest.phase, images, score, detections, in_order)
    _require_any(found.images, left_out)
    if directory is None:
        return found
    named = dict(zip((image.path for image in images.files), pictures, strict=True))
    found = replace(
        found, images=tuple(replace(one, picture=named[one.path]) for one in found.images)
    )
    return write_predictions(found, directory, progress=progress)


def gather(
    split: Split,
    phase: int,
    images: LooseImages,
    score: float,
    detections: Sequence[dict[str, Any]],
    left_out: dict[Path, LstError],
) -> Predictions:
    """Sort detections by image.

    Args:
        split: Gives classes their names.
        phase: t.
        images: The images; their ids are their rows.
        score: Lowest score of an object.
        detections: In LVIS results format.
        left_out: Images that could not be used, and why.
    """
    names = {record.category_id: record.name for record in split.classes}
    objects: dict[int, list[FoundObject]] = defaultdict(list)
    for one in detections:
        if one["score"] >= score:
            category_id = one["category_id"]
            x, y, width, height = one["bbox"]
            objects[one["image_id"]].append(
                FoundObject(
                    names[category_id],
                    category_id,
                    one["score"],
                    (x, y, width, height),
                    one["segmentation"],
                )
            )
    return Predictions(
        phase,
        score,
        tuple(
            FoundImage(
                image.path,
                int(images.table.heights[row]),
                int(images.table.widths[row]),
                tuple(sorted(objects[row], key=lambda one: -one.score)),
            )
            for row, image in enumerate(images.files)
            if image.path not in left_out
        ),
        tuple(left_out.items()),
    )


def write_predictions(
    found: Predictions,
    directory: Path,
    *,
    progress: Progress = silent,
) -> Predictions:
    """Draw images with what was found in them, and write it all as predictions.json.

    The numbers are written first, and again with the names of the pictures: whatever happens while
    they are drawn, hours of work are kept. A picture that cannot be drawn or written is left out,
    and its image says why. Pictures of earlier runs with other names stay.

    Args:
        found: What to draw; an image without the name of a picture is not drawn.
        directory: Where to; made if missing.
        progress: Pictures drawn, and their number.

    Returns:
        What is in predictions.json.

    Raises:
        LstError: If predictions.json cannot be written, or the disk is full.
    """
    plain = tuple(replace(image, picture=None) for image in found.images)
    _write(replace(found, images=plain), directory)
    images = []
    for done, image in enumerate(found.images, start=1):
        if image.picture is not None:
            try:
                _draw(image, directory / image.picture)
            except NoRoomError:
                raise
            except LstError as error:
                image = replace(image, picture=None, not_drawn=error.message)
        images.append(image)
        progress("pictures", done, len(found.images))
    found = replace(found, images=tuple(images))
    _write(found, directory)
    return found


def _write(found: Predictions, directory: Path) -> None:
    write_text(directory / FILE, json_text(found.as_dict()) + "\n")


def _draw(image: FoundImage, target: Path) -> None:
    objects = [
        PanelObject(one.name, one.box, one.rle, one.score, one.category_id) for one in image.objects
    ]
    panel = Panel(
        image.path, str(image.path), predictions=objects, size=(image.height, image.width)
    )
    try:
        write_bytes(target, draw_predictions(panel, comment=_MARK))
    except LstError:
        with suppress(OSError):  # an earlier run's would be taken for this one's
            target.unlink(missing_ok=True)
        raise


def name_pictures(files: Sequence[LooseImage]) -> list[Path]:
    """Name a picture for each image: where it lies below its directory, as a JPEG.

    Where two would have one name, the later one is numbered.

    Example:
        >>> files = [LooseImage(Path(d, "owl.png"), Path("owl.png")) for d in ("a", "b")]
        >>> [str(path) for path in name_pictures(files)]
        ['owl.jpg', 'owl-2.jpg']
    """
    taken: set[str] = set()
    pictures = []
    for file in files:
        plain = file.name.with_suffix("")
        picture = plain.with_name(shorten_name(f"{plain.name}.jpg"))
        number = 1
        # Some file systems do not tell capitals from small letters.
        while str(picture).casefold() in taken:
            number += 1
            picture = plain.with_name(shorten_name(f"{plain.name}-{number}.jpg"))
        taken.add(str(picture).casefold())
        pictures.append(picture)
    return pictures


def _detect(
    workspace: Workspace,
    manifest: PhaseManifest,
    settings: Settings,
    images: LooseImages,
    score: float,
    left_out: dict[Path, LstError],
    progress: Progress,
) -> list[dict[str, Any]]:
    # torch and detectron2 take seconds to import: not before everything else is known to be good.
    from lst_cli.evaluate.detector import detect

    # Suppression looks at the best first, so what is dropped before it changes nothing above.
    use = settings.eval.model_copy(update={"score_threshold": score})
    return detect(
        workspace.phase(manifest.phase).model,
        workspace.trained_settings(manifest.phase),
        settings.model_copy(update={"eval": use}),
        images.table,
        images,
        workspace.split.class_order[: manifest.seen_classes],
        progress=progress,
        skip=lambda row, error: left_out.update({images(row): error}),
    )


def _require_any(images: Sequence[Any], left_out: dict[Path, LstError]) -> None:
    if not images:
        first = next(iter(left_out.values()))
        raise LstError(f"no image can be used; the first: {first.message}", first.hint)


def _require_writable(directory: Path) -> None:
    """Refuse a directory that cannot be made or written, before hours of work; make nothing."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        raise LstError(f"cannot write {directory}: {there} is a file", _ELSEWHERE)
    if not os.access(there, os.W_OK | os.X_OK):
        raise LstError(f"cannot write {directory}: {there} is not writable", _ELSEWHERE)


class _Head(msgspec.Struct):
    format: int
    phase: int
    score: float
    images: msgspec.Raw


def _refuse_overwriting(
    directory: Path, pictures: Sequence[PurePath], files: Sequence[LooseImage]
) -> None:
    """See that only files of an earlier `lst predict` are replaced.

    Raises:
        LstError: If a file of the user's own is in the way.
    """
    sources = {file.path.resolve() for file in files}
    for folder in {directory / picture.parent for picture in pictures}:
        _require_writable(folder)
    for target in (directory / picture for picture in pictures):
        if target.exists() and (target.resolve() in sources or read_comment(target) != _MARK):
            raise LstError(f"{target} is there, and not a picture by lst predict", _ELSEWHERE)
    file = directory / FILE
    try:
        ours = msgspec.json.decode(read_regular(file), type=_Head).format == FORMAT
    except FileNotFoundError:
        return
    except (OSError, msgspec.DecodeError):
        ours = False
    if not ours:
        raise LstError(f"{file} is there, and not written by lst predict", _ELSEWHERE)
