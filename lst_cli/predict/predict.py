"""`lst predict`: what a phase's model finds in any images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from lst_cli.display.panels import draw_predictions, read_comment
from lst_cli.display.records import Panel, PanelObject
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import OpenDetector, open_detector
from lst_cli.files import read_regular, shorten_name
from lst_cli.predict.found import FORMAT, FoundImage, Predictions
from lst_cli.predict.loose_images import LooseImage, list_images, measure_images
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.text import json_text
from lst_cli.workspace.atomic import NoRoomError, write_bytes, write_text
from lst_cli.workspace.store import Workspace

FILE = "predictions.json"

_MARK = "drawn by lst predict"  # tells pictures that may be replaced from the user's own
_ELSEWHERE = "choose another directory with -o DIR"


@dataclass(frozen=True)
class Request:
    """What `lst predict` is asked for."""

    places: Sequence[Path]  # image files, and directories with images anywhere below them
    phase: int
    score: float  # objects with a lower one are left out
    directory: Path | None = None  # for the pictures and predictions.json; None: write nothing


def predict_images(
    workspace: Workspace,
    request: Request,
    settings: Settings,
    *,
    progress: Progress = silent,
    detector: OpenDetector = open_detector,
) -> Predictions:
    """Run the model of a finished phase on images that need no annotations.

    An image that cannot be used is left out, and the others are predicted. The network is built
    as it was trained; settings give device, workers and test setting. No object has a lower score
    than asked for or `eval.score_threshold`. The workspace is only read, so that this can be done
    while a phase is being trained.

    Raises:
        LstError: If the phase is not finished, a place is not there or holds no images, no image
            can be used, or the directory cannot be written or holds other files of these names.
    """
    phase, directory = request.phase, request.directory
    if not 0 <= request.score <= 1:
        raise LstError(
            f"score {request.score}: scores lie between 0 and 1", "lst predict --score 0.3"
        )
    workspace.require_done(phase)
    if directory is not None:
        _require_writable(directory)
        here = directory.resolve()
        if any(place.is_dir() and place.resolve() == here for place in request.places):
            raise LstError(
                f"{directory}: the next run would read pictures there as input images", _ELSEWHERE
            )
    left_out: dict[Path, LstError] = {}
    listed = list_images(request.places, without=directory)
    files, table = measure_images(listed, left_out.__setitem__, progress=progress)
    _require_any(files, left_out)
    paths = [file.path for file in files]
    pictures = dict(zip(paths, name_pictures(files), strict=True))
    if directory is not None:
        _refuse_overwriting(directory, pictures)
    workspace.require_model(phase)
    score = max(request.score, settings.eval.score_threshold)
    # Suppression looks at the best first, so what is dropped before it changes nothing above.
    above = settings.eval.model_copy(update={"score_threshold": score})
    model = detector(workspace, phase, settings.model_copy(update={"eval": above}))
    names = {record.category_id: record.name for record in workspace.split.classes}
    images = []
    for row, detections in model.detect(
        table,
        paths.__getitem__,
        range(len(files)),
        lambda row, error: left_out.update({paths[row]: error}),
    ):
        if paths[row] not in left_out:
            objects = tuple(
                PanelObject(
                    names[one["category_id"]],
                    one["bbox"],
                    one["segmentation"],
                    one["score"],
                    one["category_id"],
                )
                for one in detections
                if one["score"] >= score
            )
            height, width = int(table.heights[row]), int(table.widths[row])
            images.append(FoundImage(paths[row], height, width, objects))
        progress("images", row + 1, len(files))
    _require_any(images, left_out)
    in_order = [(one.path, left_out[one.path]) for one in listed if one.path in left_out]
    found = Predictions(phase, score, tuple(images), tuple(in_order))
    return found if directory is None else _draw_all(found, directory, pictures, progress)


def _draw_all(
    found: Predictions, directory: Path, pictures: Mapping[Path, Path], progress: Progress
) -> Predictions:
    """Draw images with what was found in them, and write all of it as predictions.json.

    The numbers are written first, and again with the names of the pictures: whatever happens while
    they are drawn, hours of work are kept. A picture that cannot be drawn or written is left out,
    and its image says why; only a full disk ends it. Pictures of earlier runs with other names
    stay.
    """
    images: list[FoundImage] = []

    def write(found: Predictions) -> Predictions:
        write_text(directory / FILE, json_text(found.as_dict()) + "\n")
        return found

    write(found)
    for image in found.images:
        picture = pictures[image.path]
        try:
            _draw(image, directory / picture)
            images.append(replace(image, picture=picture))
        except NoRoomError:
            raise
        except LstError as error:
            images.append(replace(image, not_drawn=error.message))
        progress("pictures", len(images), len(found.images))
    return write(replace(found, images=tuple(images)))


def _draw(image: FoundImage, target: Path) -> None:
    size = (image.height, image.width)
    panel = Panel(image.path, str(image.path), predictions=image.objects, size=size)
    try:
        write_bytes(target, draw_predictions(panel, comment=_MARK))
    except LstError:
        with suppress(OSError):  # an earlier run's would be taken for this one's
            target.unlink(missing_ok=True)
        raise


def name_pictures(files: Sequence[LooseImage]) -> list[Path]:
    """Name a picture for each image: where it lies below its directory, as a JPEG.

    Where two would have one name, the later one is numbered: owl.jpg, owl-2.jpg.
    """
    taken: dict[str, Path] = {}
    for file in files:
        plain = file.name.with_suffix("")
        for number in count(1):
            ending = "" if number == 1 else f"-{number}"
            picture = plain.with_name(shorten_name(f"{plain.name}{ending}.jpg"))
            key = str(picture).casefold()  # some file systems do not tell capitals from small
            if key not in taken:
                taken[key] = picture
                break
    return list(taken.values())


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


def _refuse_overwriting(directory: Path, pictures: Mapping[Path, Path]) -> None:
    """See that only files of an earlier `lst predict` are replaced, none of the user's own."""
    targets = [directory / picture for picture in pictures.values()]
    for folder in {target.parent for target in targets}:
        _require_writable(folder)
    sources = {path.resolve() for path in pictures}
    for target in targets:
        if target.exists() and (target.resolve() in sources or read_comment(target) != _MARK):
            raise LstError(f"{target} exists and is not a picture by lst predict", _ELSEWHERE)
    file = directory / FILE
    try:
        ours = msgspec.json.decode(read_regular(file), type=_Head).format == FORMAT
    except FileNotFoundError:
        return
    except (OSError, msgspec.DecodeError):
        ours = False
    if not ours:
        raise LstError(f"{file} exists and was not written by lst predict", _ELSEWHERE)
