"""`lst predict`: what a phase's model finds in any images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from lst_cli.annotations.problems import count_of
from lst_cli.display.objects import Panel, PanelObject
from lst_cli.display.panels import draw_predictions, read_comment
from lst_cli.display.tables import MISSING, Column, Table, phase_name
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import OpenDetector, open_detector
from lst_cli.files import read_regular, shorten_name
from lst_cli.predict.loose_images import LooseImage, list_images, measure_images
from lst_cli.progress import Progress, silent
from lst_cli.settings.models import Settings
from lst_cli.text import did_you_mean, first_few, json_text
from lst_cli.workspace.atomic import NoRoomError, write_bytes, write_text
from lst_cli.workspace.store import Workspace

FILE = "predictions.json"
FORMAT = 1  # of predictions.json
ROWS = 20  # most images in the table

_LONGEST_PATH, _LONGEST_NAME, _LONGEST_LIST = 28, 22, 40  # letters, so that a row fits into 80
_LITTLE_ABOVE = 2  # times the lowest score: objects that were not learned from score lower still
_NEW = "*"  # behind the name of a class of the newest phase
_MARK = "drawn by lst predict"  # tells pictures that may be replaced from the user's own
_ELSEWHERE = "choose another directory with -o DIR"


@dataclass(frozen=True)
class Request:
    """What `lst predict` is asked for."""

    places: Sequence[Path]  # image files, and directories with images anywhere below them
    phase: int
    score: float  # objects with a lower one are left out
    directory: Path | None = None  # for the pictures and predictions.json; None: write nothing
    names: Sequence[str] = ()  # of the only classes that are shown; empty: all


def predict_images(
    workspace: Workspace,
    request: Request,
    settings: Settings,
    *,
    progress: Progress = silent,
    detector: OpenDetector = open_detector,
) -> Predictions:
    """Run the model of a finished phase on images that need no annotations.

    An image that cannot be used is left out. The network is built as it was trained; settings give
    device, workers and test setting. The workspace is only read, so that this can be done while a
    phase is being trained. An `LstError` if the phase is not finished, a place is not there or
    holds no images, no image can be used, or the directory cannot be written or holds other files
    of these names.
    """
    phase, directory = request.phase, request.directory
    if not 0 <= request.score <= 1:
        raise LstError(
            f"score {request.score}: scores lie between 0 and 1", "lst predict --score 0.3"
        )
    workspace.require_done(phase)
    split = workspace.split
    classes = split.classes[: split.seen_classes(phase)]
    _refuse_unknown(request, [record.name for record in classes])
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
    names = {one.category_id: one.name for one in classes}
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
                and (not request.names or names[one["category_id"]] in request.names)
            )
            height, width = int(table.heights[row]), int(table.widths[row])
            images.append(FoundImage(paths[row], height, width, objects))
        progress("images", row + 1, len(files))
    _require_any(images, left_out)
    in_order = [(one.path, left_out[one.path]) for one in listed if one.path in left_out]
    new = [record.name for record in split.classes_of(phase)]
    found = Predictions(
        phase, score, tuple(images), tuple(in_order), newest=frozenset(new if phase else ())
    )
    return found if directory is None else _draw_all(found, directory, pictures, progress)


def _refuse_unknown(request: Request, known: Sequence[str]) -> None:
    for name in request.names:
        if name not in known:
            raise LstError(
                f"--class {name}: no class of phase {request.phase}{did_you_mean(name, known)}",
                f"give the name of one of its classes: {first_few(known, 5)}",
            )


def low_scores(workspace: Workspace, phase: int, least: float) -> dict[str, float]:
    """Classes that were added without training, and whose own boxes score little above `least`.

    With the mean score of the boxes that each was learned from.
    """
    found: dict[str, float] = {}
    for one in range(1, phase + 1):
        classes = workspace.split.classes_of(one)
        checks = workspace.require_done(one).checks
        found |= {
            record.name: check.own_score[1]
            for record, check in zip(classes, checks, strict=False)
            if check.own_score[1] < _LITTLE_ABOVE * least
        }
    return found


def _draw_all(
    found: Predictions, directory: Path, pictures: Mapping[Path, Path], progress: Progress
) -> Predictions:
    """Draw images with what was found in them, and write all of it as predictions.json.

    The numbers are written first, so that an interruption does not lose them, and again with the
    names of the pictures. If a picture cannot be drawn or written, its image says why; only a full
    disk is an error. Pictures of earlier runs with other names stay.
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


# --- what was found, as JSON and as a table ------------------------------------------------------


@dataclass(frozen=True)
class FoundImage:
    """One image and what is in it."""

    path: Path
    height: int  # of the upright image, in pixels
    width: int
    objects: tuple[PanelObject, ...]  # the best first
    picture: Path | None = None  # with its objects drawn, below the directory of all pictures
    not_drawn: str = ""  # why it could not be drawn

    def as_dict(self) -> dict[str, Any]:
        """Its entry in predictions.json."""
        drawn = {"picture": self.picture.as_posix()} if self.picture else {}
        drawn = {"not_drawn": self.not_drawn} if self.not_drawn else drawn
        return {
            "file": readable(self.path),
            **{key: readable(value) for key, value in drawn.items()},
            "width": self.width,
            "height": self.height,
            "objects": [
                {
                    "class": one.label,
                    "category_id": one.category_id,
                    "score": one.score,
                    "bbox": list(one.box),
                    "segmentation": one.segmentation,
                }
                for one in self.objects
            ],
        }


@dataclass(frozen=True)
class Predictions:
    """What the model of a phase found."""

    phase: int
    score: float  # objects with a lower one are left out
    images: tuple[FoundImage, ...]  # in the order in which they were named
    left_out: tuple[tuple[Path, LstError], ...] = ()  # images that could not be used, and why
    newest: frozenset[str] = frozenset()  # classes of the phase, if it is not the base

    def as_dict(self) -> dict[str, Any]:
        """The content of predictions.json."""
        return {
            "format": FORMAT,
            "phase": self.phase,
            "score": self.score,
            "images": [image.as_dict() for image in self.images],
            "left_out": [
                {"file": readable(path), "reason": readable(error.message)}
                for path, error in self.left_out
            ],
        }


def readable(path: Path | str) -> str:
    """A path as text that can be written; a name in another encoding loses some letters."""
    return os.fsencode(path).decode("utf-8", "replace")


def found_table(found: Predictions) -> Table:
    """Make the table of images with what is in them, and the best score of each."""
    shown = found.images[:ROWS]
    classes = {one.category_id for image in found.images for one in image.objects}
    objects = sum(len(image.objects) for image in found.images)
    phase = f"phase {found.phase}" if found.phase else phase_name(0)
    more = len(found.images) - len(shown)
    labels = {one.label for image in shown for one in image.objects}
    remarks = [f"{_NEW} class of {phase}"] if labels & found.newest else []
    if more:
        remarks.append(f"… and {count_of(more, 'more image', 'more images')}")

    def best_score(image: FoundImage) -> float | None:
        return image.objects[0].score if image.objects else None

    return Table.of(
        f"{phase}: {count_of(objects, 'object', 'objects')} of "
        f"{count_of(len(classes), 'class', 'classes')} in "
        f"{count_of(len(found.images), 'image', 'images')}, scores of {found.score:g} and more",
        shown,
        (
            Column("image", "image", "text", lambda one: _end_of(readable(one.path))),
            Column("objects", "objects found", "text", lambda one: objects_text(one, found.newest)),
            Column("score", "best score", "share", best_score),
        ),
        "; ".join(remarks),
    )


def objects_text(image: FoundImage, newest: Collection[str] = ()) -> str:
    """Count the objects of an image by class: "2 owl, 1 candle"; an en dash if there are none.

    The newest classes come first, marked, and are never among "others".
    """
    counts = Counter(one.label for one in image.objects).most_common()
    text, left = "", len(image.objects)
    for name, number in sorted(counts, key=lambda pair: pair[0] not in newest):
        mark = _NEW if name in newest else ""
        named = f"{number:,} {_start_of(name)}{mark}"
        if text and not mark and len(text) + len(named) + 2 > _LONGEST_LIST:
            return f"{text}, {count_of(left, 'other', 'others')}"
        text += f", {named}" if text else named
        left -= number
    return text or MISSING


def _end_of(text: str) -> str:
    return text if len(text) <= _LONGEST_PATH else "…" + text[1 - _LONGEST_PATH :]


def _start_of(text: str) -> str:
    name = " ".join(text.split())
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
