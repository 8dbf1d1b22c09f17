"""The bank of a phase: a few objects of each of its classes, cut out of its images.

With it classes can be added where the old images are gone. The name of the file has the start of
its digest, and the manifest has all of it. So a new bank never takes the place of the old one: it
lies beside it until the manifest names it, and a kill in between loses nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lst_cli.errors import LstError
from lst_cli.inputs import TrainingInput, read_training_input
from lst_cli.progress import Progress, silent
from lst_cli.samples.bank import ObjectBank, read_bank
from lst_cli.samples.paste import CutOut
from lst_cli.settings.models import Settings
from lst_cli.workspace.atomic import write_bytes
from lst_cli.workspace.manifest import PhaseManifest, Split
from lst_cli.workspace.phase_files import remove_other_banks
from lst_cli.workspace.store import Workspace, require_unchanged

IntArray = npt.NDArray[np.int64]

REBUILD = "lst bank --rebuild"
_MARGIN = 2  # pixels around an object, for its soft edge
# Objects whose sides are shorter at the test size come last: little can be learned from them.
_SMALL = 12
_SMALLEST = 4  # shorter ones are left out


@dataclass(frozen=True)
class PhaseBank:
    """What is known of the bank of a phase."""

    phase: int
    objects: Mapping[int, int]  # by category id of the phase's classes
    size: int | None  # bytes; None where there is none


def choose_objects(inputs: TrainingInput, label: int, objects: int, settings: Settings) -> IntArray:
    """Annotations of a class from which objects are cut, of as many images as there are.

    Of each image the largest comes first. Objects that are small at the test size come last.
    """
    images, boxes = inputs.dataset.images, inputs.dataset.instances.boxes
    image_of = inputs.dataset.instances.image_index
    own = np.zeros(len(images.ids), dtype=bool)
    own[inputs.occurrences.images[label]] = True
    rows = np.flatnonzero((inputs.labels == label) & own[image_of])
    rows = np.random.default_rng([settings.seed, 12, label]).permutation(rows)
    shortest = boxes[rows, 2:].min(axis=1) * inputs.scales_at_test(rows, settings.data)
    rows, shortest = rows[shortest >= _SMALLEST], shortest[shortest >= _SMALLEST]
    largest = np.argsort(-boxes[rows, 2:].prod(axis=1), kind="stable")
    turn = np.empty(len(rows), dtype=np.int64)  # how many of its image come before
    seen: dict[int, int] = {}
    for place in largest.tolist():
        image = int(image_of[rows[place]])
        turn[place] = seen[image] = seen.get(image, -1) + 1
    order = np.lexsort((turn, shortest < _SMALL))
    chosen: IntArray = rows[order][:objects]
    return chosen


def choose_of_classes(
    inputs: TrainingInput, most: Mapping[int, int], settings: Settings
) -> IntArray:
    """Annotations from which objects of classes are cut, by label as many as there are wanted.

    Every class has one before any has a second one.
    """
    chosen = [choose_objects(inputs, label, objects, settings) for label, objects in most.items()]
    nothing = np.zeros(0, dtype=np.int64)
    turns = np.concatenate([nothing, *(np.arange(len(rows)) for rows in chosen)])
    rows: IntArray = np.concatenate([nothing, *chosen])[np.argsort(turns, kind="stable")]
    return rows


def cut_objects(
    inputs: TrainingInput,
    split: Split,
    rows: IntArray,
    settings: Settings,
    progress: Progress = silent,
    *,
    unusable: Callable[[int, LstError], None] | None = None,
) -> Iterator[CutOut]:
    """Cut objects out of their images at the test size, one by one; `rows` are annotations.

    `unusable` is called with the row of an image that is missing or cannot be used, and why; its
    objects are left out.

    Raises:
        LstError: If an image is missing or cannot be used, without `unusable`.
    """
    # detectron2 takes seconds to import.
    from lst_cli.samples.mapper import Mapper
    from lst_cli.samples.phase_dataset import Sample

    rows = np.unique(rows)
    image_of = inputs.dataset.instances.image_index[rows].astype(np.int64)
    segmentations = inputs.dataset.read_segmentations(rows)
    mapper = Mapper(inputs.paths, settings.data, channels="RGB", seed=settings.seed)
    order = np.argsort(image_of, kind="stable")
    images, starts = np.unique(image_of[order], return_index=True)
    by_image = np.split(order, starts)[1:]
    for done, (image, places) in enumerate(zip(images.tolist(), by_image, strict=True), start=1):
        mine = rows[places]
        sample = Sample(
            position=0,
            image=image,
            height=int(inputs.dataset.images.heights[image]),
            width=int(inputs.dataset.images.widths[image]),
            boxes=inputs.dataset.instances.boxes[mine],
            labels=inputs.labels[mine],
            counts=np.ones(len(mine), dtype=bool),
            segmentations=[segmentations[place] for place in places],
        )
        progress("cutting out objects", done, len(images))
        try:
            item = mapper(sample, augment=False, bitmaps=True)
        except LstError as error:
            if unusable is None:
                raise
            unusable(image, error)
            continue
        picture = item["image"].numpy().transpose(1, 2, 0)
        masks = item["instances"].gt_masks.tensor.numpy().astype(bool)
        for mask, label in zip(masks, inputs.labels[mine].tolist(), strict=True):
            if mask.any():
                yield _cut(picture, mask, split.class_order[label])


def _cut(picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], category_id: int) -> CutOut:
    window = tuple(
        slice(max(int(found[0]) - _MARGIN, 0), int(found[-1]) + 1 + _MARGIN)
        for found in (np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0)))
    )
    return CutOut(category_id, np.ascontiguousarray(picture[window]), mask[window])


def leave_bank(
    workspace: Workspace,
    split: Split,
    phase: int,
    inputs: TrainingInput,
    settings: Settings,
    progress: Progress = silent,
) -> str | None:
    """Write the bank of a phase; its digest, or None where the settings want none.

    The manifest that is to name it is the caller's to write.
    """
    most = settings.extend.bank_objects
    if not most:
        return None
    rows = choose_of_classes(inputs, dict.fromkeys(split.labels_of(phase), most), settings)
    content = ObjectBank.of(cut_objects(inputs, split, rows, settings, progress)).to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    write_bytes(workspace.phase(phase).bank(digest), content)
    return digest


def find_bank(workspace: Workspace, manifest: PhaseManifest) -> ObjectBank | None:
    """The bank of a finished phase; None if it has none.

    Raises:
        LstError: If the file is missing, was changed, or is not that of the phase.
    """
    digest, split = manifest.bank_sha256, workspace.split
    if digest is None:
        return None
    file = workspace.phase(manifest.phase).bank(digest)
    require_unchanged(file, digest, REBUILD)
    return read_bank(file, split.groups[manifest.phase], REBUILD)


def read_banks(workspace: Workspace) -> list[PhaseBank]:
    """What the banks of all finished phases hold."""
    found = []
    for phase in workspace.done_phases():
        manifest, split = workspace.require_done(phase), workspace.split
        bank = find_bank(workspace, manifest)
        ids = [] if bank is None else bank.category_ids.tolist()
        digest = manifest.bank_sha256
        size = None if digest is None else workspace.phase(phase).bank(digest).stat().st_size
        found.append(PhaseBank(phase, {one: ids.count(one) for one in split.groups[phase]}, size))
    return found


def rebuild_banks(
    workspace: Workspace, settings: Settings, progress: Progress = silent
) -> list[PhaseBank]:
    """Cut the objects of all finished phases again; what every phase left.

    Raises:
        LstError: If no phase is finished, no objects are wanted, or an image is missing. Phases
            before it have their new bank then, the others their old one.
    """
    if not settings.extend.bank_objects:
        raise LstError(
            "extend.bank_objects = 0: there is nothing to cut out", "set it to 1 or more"
        )
    workspace.newest_phase()  # is there any?
    with workspace.locked():
        inputs = read_training_input(workspace)
        for phase in workspace.done_phases():
            manifest = workspace.require_done(phase)
            # The images as the phase saw them.
            seen = workspace.trained_settings(phase)
            own = seen.model_copy(update={"extend": settings.extend})
            digest = leave_bank(workspace, workspace.split, phase, inputs, own, progress)
            assert digest is not None
            workspace.save_manifest(manifest.model_copy(update={"bank_sha256": digest}))
            remove_other_banks(workspace.phase(phase), digest)
    return read_banks(workspace)
