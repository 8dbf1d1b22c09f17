"""What is pasted into the images of a phase: objects of its own images, or of banks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lst_cli.annotations.problems import count_of
from lst_cli.errors import LstError
from lst_cli.inputs import TrainingInput
from lst_cli.phases.classes import labels_of
from lst_cli.phases.sampling import ObjectSampler
from lst_cli.samples.bank import ObjectBank
from lst_cli.samples.paste import CutOut
from lst_cli.settings.models import Settings
from lst_cli.train.bank import REBUILD, choose_of_classes, cut_objects, find_bank
from lst_cli.train.plan import Job, counted_per_epoch, pasted_per_epoch
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace

IntArray = npt.NDArray[np.int64]
# What a pixel of an object takes in memory: its colours as JPEG, and a bit of the mask.
_BYTES_A_PIXEL = 1.125


@dataclass(frozen=True)
class Stock:
    """Objects of some banks that are pasted into each image."""

    banks: tuple[ObjectBank, ...]
    places: tuple[tuple[int, int, int], ...]  # of each object: its bank, its row there, its label
    sampler: ObjectSampler

    @classmethod
    def of(
        cls,
        banks: Sequence[ObjectBank],
        split: Split,
        number: tuple[int, int],
        key: tuple[int, int],
        weights: npt.NDArray[np.float64] | None = None,
    ) -> Stock:
        """A number of objects for each image from all of the banks.

        `key` is seed and phase. Classes are drawn by their weights, one a label; equally often
        without.
        """
        places = tuple(
            (place, row, label)
            for place, bank in enumerate(banks)
            for row, label in enumerate(labels_of(bank.category_ids, split.class_order).tolist())
        )
        labels = np.array([label for _, _, label in places], dtype=np.int64)
        classes = np.unique(labels)
        of_class = tuple(np.flatnonzero(labels == label) for label in classes)
        shares = np.ones(len(classes)) if weights is None else weights[classes]
        return cls(tuple(banks), places, ObjectSampler(of_class, shares, number, *key))

    def at(self, position: int) -> tuple[CutOut, ...]:
        """The objects for the image at a position in training."""
        chosen = (self.places[row] for row in self.sampler.at(position).tolist())
        return tuple(self.banks[bank].cut_out(row, label) for bank, row, label in chosen)


@dataclass(frozen=True)
class Pasting:
    """What is pasted into each image of a phase; what comes last lies on top."""

    stocks: tuple[Stock, ...]
    left_out: tuple[int, ...] = ()  # rows of images that no objects could be cut out of

    def __call__(self, position: int) -> tuple[CutOut, ...]:
        """The objects for the image at a position in training."""
        return tuple(one for stock in self.stocks for one in stock.at(position))


def load_pasting(job: Job) -> Pasting | None:
    """What a job pastes into its images; None for nothing.

    Raises:
        LstError: If objects of old classes are wanted from banks, and a bank cannot be read or no
            phase before has one; or if a phase that continues was begun with objects of an image
            that cannot be used now.
    """
    if job.quick:
        given = job.workspace, job.plan.phase, job.inputs, job.settings
        return pasting_of_extension(*given, job.events.note)
    schedule = job.settings.schedule(job.plan.phase)
    if not schedule.paste_objects:
        return None
    split, phase = job.workspace.split, job.plan.phase
    new = split.labels_of(phase)
    shown = counted_per_epoch(job.data, new.stop, job.settings)
    weights = pasted_per_epoch(job.data, new, job.settings, shown)
    needed = np.ceil(weights * job.plan.image_passes / len(job.data)).astype(np.int64)
    rows = _choose_rows(job.inputs, needed, job.settings)
    bank, left_out = _cut_bank(job, rows)
    size = (len(bank.jpeg) + len(bank.masks)) / 1e6
    classes = len(np.unique(bank.category_ids))
    job.events.note(
        f"{len(bank):,} objects of {classes:,} classes ({size:,.1f} MB) are pasted into the images"
    )
    key = job.settings.seed, phase
    stock = Stock.of([bank], split, (0, schedule.paste_objects), key, weights)
    return Pasting((stock,), left_out)


def _choose_rows(inputs: TrainingInput, needed: IntArray, settings: Settings) -> IntArray:
    """Annotations to cut out, as many of each class as are needed and as memory has room for."""
    wanted = np.minimum(needed, settings.paste.objects).tolist()
    most = {label: count for label, count in enumerate(wanted) if count}
    rows = choose_of_classes(inputs, most, settings)
    scales = inputs.scales_at_test(rows, settings.data)
    areas = inputs.dataset.instances.boxes[rows, 2:].prod(axis=1)
    sizes = np.cumsum(areas * scales**2 * _BYTES_A_PIXEL)
    kept: IntArray = rows[sizes <= settings.paste.megabytes * 1e6]
    return kept


def _cut_bank(job: Job, rows: IntArray) -> tuple[ObjectBank, tuple[int, ...]]:
    """The objects of annotations, and the rows of images that cannot be used, which are left out.

    A phase that continues leaves out the images that it left out at first, and no others: it would
    paste other objects than before.
    """
    inputs, split, progress = job.inputs, job.workspace.split, job.events.prepare
    if job.left_out is None:
        failed: dict[int, LstError] = {}
        cut = cut_objects(inputs, split, rows, job.settings, progress, unusable=failed.__setitem__)
        bank = ObjectBank.of(cut)
        if failed:
            images, first = count_of(len(failed), "image", "images"), next(iter(failed.values()))
            job.events.note(f"no objects are cut out of {images} that cannot be used: {first}")
        return bank, tuple(failed)
    rows = rows[~np.isin(inputs.dataset.instances.image_index[rows], job.left_out)]
    try:
        return ObjectBank.of(cut_objects(inputs, split, rows, job.settings, progress)), job.left_out
    except LstError as error:
        again = job.workspace.training_command(job.plan.phase)
        raise LstError(
            f"phase {job.plan.phase} was begun with objects of an image that cannot be used now: "
            f"{error.message}",
            f"put the image back; or {again} --restart starts the phase again",
        ) from error


def pasting_of_extension(
    workspace: Workspace,
    phase: int,
    inputs: TrainingInput,
    settings: Settings,
    note: Callable[[str], None],
) -> Pasting | None:
    """What a phase of `lst extend --finetune` pastes into its images; see `load_pasting`."""
    split, own, key = workspace.split, settings.extend, (settings.seed, phase)
    stocks = []
    if settings.step.replay == "bank":
        old, number = _old_banks(workspace, phase, note), (own.paste_objects, own.paste_objects)
        stocks.append(Stock.of(old, split, number, key))
    if own.paste_new:
        most = dict.fromkeys(split.labels_of(phase), settings.step.new_row_samples)
        rows = choose_of_classes(inputs, most, settings)
        new = ObjectBank.of(cut_objects(inputs, split, rows, settings))
        stocks.append(Stock.of([new], split, (own.paste_new, own.paste_new), key))
    return Pasting(tuple(stocks)) if stocks else None


def _old_banks(workspace: Workspace, phase: int, note: Callable[[str], None]) -> list[ObjectBank]:
    found = [find_bank(workspace, workspace.require_done(before)) for before in range(phase)]
    without = [str(before) for before, bank in enumerate(found) if bank is None]
    banks = [bank for bank in found if bank is not None]
    if not any(map(len, banks)):
        raise LstError(
            f"{workspace.root} has no bank of objects, with which classes could be replayed",
            f"{REBUILD}, where the images of the old classes are",
        )
    if without:
        phases = f"phase{'s' if len(without) > 1 else ''} {', '.join(without)}"
        note(f"{phases} left no bank: old classes of it are not replayed; {REBUILD}")
    return banks
