"""Where the images of an annotation file lie on this machine.

An annotation file names an image by `file_name`, by `coco_url` or by both. Neither says how the
user stored it: LVIS v1 gives only a URL, LVIS v0.5 names images as COCO did in 2014, and LVIS's
validation images lie in COCO's train2017.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.files import require_regular
from lst_cli.images.names import COCO_NAME, ImageName, part_of
from lst_cli.images.tree import ImageTree

_BELOW = (
    "train2017", "val2017", "test2017", "train2014", "val2014", "test2014",
    "images", "train", "val", "test",
)  # fmt: skip  # where a bare name is looked for first

HERE = (Path(),)
"""Where images are looked for if no directory is given."""

_Place = tuple[str, str]  # a directory, and a name in it

_CORRECT = "correct it in the annotation file"
_growing = threading.Lock()  # several threads may ask for the first image


class ImageFinder:
    """Finds images by name in whichever way the user's directories are laid out.

    The first of these that exists is the image:

    1. ``DIR/file_name`` if file_name has a directory, ``DIR/<last two parts of
       coco_url>``, and the same with DIR already ending in that directory;
    2. ``DIR/<name>`` for the bare names: file_name's, coco_url's, and COCO 2014's
       name without its prefix;
    3. ``DIR/<train2017, val2017, ..., images, train, val, test>/<name>``;
    4. the name anywhere below DIR, up to ten levels of directories, if no directory is in
       conflict with the one that the annotation file names; three levels go before the others;
    5. the same for the name as another system spells it (see `spell`).

    The order is fixed, so an image's place does not depend on which were looked for before.
    Directories are listed once. A bare name can be that of another image, unless it is COCO's
    twelve digits: an image of ``val`` is not taken from a directory called ``train``, and two
    different files of one name are refused. An absolute name, or one with ``..``, leads only to
    what lies below a DIR.

    With directories `behind` all these, an image is looked for there if it is not found before, or
    not in its stated size: there may be others of the same name.
    """

    def __init__(self, dirs: Sequence[Path | str], behind: Sequence[Path | str] = ()) -> None:
        self.dirs = tuple(map(Path, dirs))
        self._behind = ImageFinder(behind) if behind else None
        self._roots = [str(directory) for directory in self.dirs]
        # Where bare names are looked for: directories, and the part of the data set they hold.
        self._own = [(str(one), part_of(one.absolute().name)) for one in self.dirs]
        self._below = [
            (os.path.join(root, name), part_of(name)) for root in self._roots for name in _BELOW
        ]
        self._listings: dict[str, frozenset[str]] = {}
        self._inside: dict[str, bool] = {}
        self._tree: ImageTree | None = None

    def find(
        self,
        file_name: str,
        coco_url: str,
        *,
        image_id: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> Path:
        """The path of an image by its names in the annotation file, which may be empty.

        The stated size is its height and width. Raises an `LstError` if no such file exists, or
        several that differ.
        """
        path = self.look_up(file_name, coco_url, image_id=image_id, size=size)
        if path is None:
            raise self.explain(file_name, coco_url, image_id=image_id)
        return path

    def look_up(
        self,
        file_name: str,
        coco_url: str,
        *,
        image_id: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> Path | None:
        """The path of an image, or None; an `LstError` if there are several files that differ."""
        wanted = ImageName(file_name, coco_url)
        path = self._look_up(wanted, image_id)
        if self._behind is None or (path and _has_size(path, size)):
            return path
        other = self._behind._look_up(wanted, image_id)
        return other if other and (path is None or _has_size(other, size)) else path

    def _look_up(self, wanted: ImageName, image_id: int | None) -> Path | None:
        found = self._look(wanted)
        if not found:
            # Not listed; it may have come since the directory was listed.
            found = self._first_group(wanted, lambda place: os.path.isfile(os.path.join(*place)))
            if not found:
                return None
            self._listings.clear()
            self._tree = None
        first, *others = map(Path, found)
        for other in () if COCO_NAME.fullmatch(first.name) else others:
            if not _same(first, other):
                raise LstError(
                    f"{_name(image_id)} could be {first} or {other}, which differ",
                    "give a file_name with its directory (train/0001.jpg), "
                    "or the directory above both with --images DIR",
                )
        return first

    def is_listed(self, file_name: str, coco_url: str) -> bool:
        """Tell whether a file is there that can be an image; nothing is opened or compared."""
        if self._look(ImageName(file_name, coco_url)):
            return True
        return self._behind is not None and self._behind.is_listed(file_name, coco_url)

    def explain(self, file_name: str, coco_url: str, *, image_id: int | None = None) -> LstError:
        """Say why an image is not found, with the nearest name that is there."""
        if self._behind is not None:
            every = ImageFinder([*self.dirs, *self._behind.dirs])
            return every.explain(file_name, coco_url, image_id=image_id)
        who, wanted = _name(image_id), ImageName(file_name, coco_url)
        if not wanted.bare:
            given = {"file_name": file_name, "coco_url": coco_url}
            if said := " and ".join(f"{key} {text!r}" for key, text in given.items() if text):
                return LstError(f"{who}: {said} names no file", _CORRECT)
            give = "give the images of the annotation file a file_name"
            return LstError(f"{who} has neither file_name nor coco_url", give)
        for path in self._leading_outside(wanted):
            try:
                require_regular(path)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    continue
                return LstError(f"{who}: {path}: {error.strerror}", _CORRECT)
            return LstError(
                f"{who}: {path} is not below any directory given with --images",
                f"--images {shlex.quote(str(path.parent))}",
            )
        if not self.dirs:
            return LstError(
                f"{who} not found: no directory is given in which to look for {wanted}",
                "give the directory that holds the images with --images DIR",
            )
        places = ", ".join(self._roots)
        message = f"{who} not found: looked for {wanted} in {places} and below"
        for root in self._roots:
            if not (os.path.isdir(root) and os.access(root, os.R_OK)):
                return LstError(
                    f"{message}; {root} does not exist or cannot be listed",
                    "give an existing directory with --images DIR",
                )
        tree = self._grown()
        nearest, remedy = tree.describe_nearest(wanted)
        if tree.unseen:
            message += f" (its first {tree.count:,} files; not in {tree.unseen}, say)"
        add = f"copy the image to {places}, or add the directory where it lies with a further"
        return LstError(f"{message}; {nearest}", remedy or f"{add} --images DIR")

    def _look(self, wanted: ImageName) -> list[str]:
        found = self._first_group(wanted, lambda place: place[1] in self._listing(place[0]))
        return found or (self._grown().find(wanted) if wanted.bare else [])

    def _first_group(self, wanted: ImageName, is_there: Callable[[_Place], bool]) -> list[str]:
        for group in self._candidates(wanted):
            found = [place for place in group if is_there(place)]
            if found:
                return [os.path.join(*place) for place in found]
        return []

    def _candidates(self, wanted: ImageName) -> Iterator[list[_Place]]:
        """Yield groups of equally good places, the best group first."""
        for folder, name in wanted.full:
            if folder.startswith("/") and self._is_inside(folder):
                yield [(folder, name)]
            folder = folder.strip("/")
            if ".." in folder:
                there = [os.path.normpath(os.path.join(root, folder)) for root in self._roots]
                yield [(place, name) for place in there if self._is_inside(place)]
                continue
            yield [(os.path.join(root, folder), name) for root in self._roots]
            yield [
                (root, name) for root in self._roots if os.path.abspath(root).endswith(f"/{folder}")
            ]
        for places in (self._own, self._below):
            for name in wanted.bare:
                yield [(place, name) for place, part in places if not wanted.contradicts(part)]

    def _is_inside(self, folder: str) -> bool:
        """Tell whether a directory is a given one or lies below one."""
        if folder not in self._inside:
            self._inside[folder] = any(
                f"{way(folder)}/".startswith(f"{way(root).rstrip('/')}/")
                for root in self._roots
                for way in (os.path.abspath, _real_path)
            )
        return self._inside[folder]

    def _leading_outside(self, wanted: ImageName) -> Iterator[Path]:
        """The files that names with directories mean, where they may not be opened."""
        for folder, name in wanted.full:
            if ".." in folder or folder.startswith("/"):
                for root in self._roots or ["."]:
                    place = os.path.normpath(os.path.join(root, folder))
                    if not self._is_inside(place):
                        yield Path(place, name)

    def _listing(self, directory: str) -> frozenset[str]:
        names = self._listings.get(directory)
        if names is None:
            try:
                names = frozenset(os.listdir(directory))
            except (OSError, ValueError):
                names = frozenset()
            self._listings[directory] = names
        return names

    def _grown(self) -> ImageTree:
        with _growing:
            if self._tree is None:
                self._tree = ImageTree(self.dirs)
            return self._tree


def _name(image_id: int | None) -> str:
    return "an image" if image_id is None else f"image {image_id}"


def _same(first: Path, other: Path) -> bool:
    try:
        return first.samefile(other) or filecmp.cmp(first, other, shallow=False)
    except OSError:  # a broken link, say; then nobody knows
        return False


def _has_size(path: Path, size: tuple[int, int] | None) -> bool:
    from lst_cli.images.decode import ImageSizeError, check_image_size  # help needs no Pillow

    try:
        if size is not None:
            check_image_size(path, size)
    except ImageSizeError:
        return False
    except LstError:  # said when it is read
        pass
    return True


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # half a letter, say
        return path
