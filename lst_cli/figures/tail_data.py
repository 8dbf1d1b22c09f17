"""`lst figure tail`: classes of few training instances, chosen and looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lst_cli.annotations.read import Dataset
from lst_cli.compare.compare import Home, name_runs, open_run, require_same_validation
from lst_cli.display.objects import Panel, PanelObject, mask_of
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_metrics
from lst_cli.figures.shown_objects import class_names, objects_of, read_annotated, read_found
from lst_cli.inputs import read_validation
from lst_cli.workspace.hints import hints_for
from lst_cli.workspace.store import Workspace

TAIL = 10  # classes with fewer training instances are the tail, as in the paper's Table 1
FOUND_IOU = 0.5  # of masks: with as much, a detection is an answer for an object
MOST_RUNS = 4
MOST_CLASSES = 60  # as many as the paper shows, and as names fit side by side
FALLBACK_CLASSES = 12
EXAMPLE_ROWS = 3


@dataclass(frozen=True)
class TailClass:
    """A class of the tail."""

    category_id: int
    name: str
    instances: int  # in training
    ap: Sequence[float]  # its mask AP in each run, fractions


@dataclass(frozen=True)
class Match:
    """A detection compared with an annotated object."""

    found: PanelObject
    iou: float  # of the two masks

    @property
    def score(self) -> float:
        """Confidence of the detection."""
        return self.found.score or 0.0

    @property
    def there(self) -> bool:
        """Whether it overlaps the object enough to be an answer for it."""
        return self.iou >= FOUND_IOU


@dataclass(frozen=True)
class Answer:
    """What one run detects at an object."""

    # Its most confident detection of any class with `FOUND_IOU` or more; None if there is none.
    best: Match | None
    # Likewise of the object's class, or else the one that overlaps most; None if none does.
    own: Match | None

    @property
    def right(self) -> bool:
        """Whether the most confident detection there is of the object's class."""
        return self.best is not None and self.best == self.own


@dataclass(frozen=True)
class TailExample:
    """An annotated object and what each run detects there."""

    of: TailClass
    panel: Panel  # its image
    image_id: int
    truth: PanelObject
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Tail:
    """What the figure shows."""

    runs: Sequence[str]  # names, at least one
    classes: Sequence[TailClass]  # with ground truth and seen by all runs, the rarest first
    examples: Sequence[TailExample]  # objects of the rarest of them
    notes: Sequence[str] = ()  # what a reader should know, one sentence each

    def mean_ap(self, run: int) -> float:
        """Mean mask AP of the classes in a run."""
        return sum(one.ap[run] for one in self.classes) / len(self.classes)


# A phase of a workspace, and its AP of classes with ground truth by category id.
_Run = tuple[Home, Mapping[int, float]]


def blocks_in_row(runs: int) -> int:
    """How many examples stand side by side."""
    return 2 if runs <= 2 else 1


def gather_tail(workspace: Workspace, others: Sequence[Path]) -> Tail:
    """Collect what the figure shows of each run's newest evaluated phase; nothing is written."""
    if len(others) >= MOST_RUNS:
        raise LstError(
            f"figure tail takes {MOST_RUNS} runs at most, not {len(others) + 1}",
            "leave some of --with out",
        )
    given = [open_run(str(root)) for root in (workspace.root, *others)]
    runs: list[_Run] = []
    for one in given:
        if one.home is None:
            raise LstError(f"{one.given} is not a workspace", "--with DIR, a workspace")
        with hints_for(one.home.workspace.root):
            metrics = load_metrics(*one.home)
        if metrics is not None:  # `open_run` has found them
            runs.append((one.home, metrics.segm.per_class))
    require_same_validation([home for home, _ in runs])
    classes, notes = _choose_classes(runs)
    return Tail(name_runs(given), classes, _find_examples(runs, classes), notes)


def _choose_classes(runs: Sequence[_Run]) -> tuple[list[TailClass], list[str]]:
    """The rarest classes that all runs have seen, the rarest first, and notes on them."""
    first, phase = runs[0][0]
    seen = first.split.classes[: first.split.seen_classes(phase)]
    known = [record for record in seen if all(record.category_id in ap for _, ap in runs)]
    # Classes that were added later stand behind all others, however frequent they are.
    known.sort(key=lambda record: -record.instances)
    if not known:
        roots = ", ".join(str(home.workspace.root) for home, _ in runs)
        raise LstError(
            f"no class with ground truth was seen by all of {roots}",
            "take runs that have learned the same classes",
        )
    rare = [record for record in known if record.instances < TAIL]
    notes = []
    if not rare:
        rare = known[-FALLBACK_CLASSES:]
        notes.append(f"None has fewer than {TAIL} training instances.")
    if len(rare) > MOST_CLASSES:
        notes.append(f"{len(rare):,} classes have fewer than {TAIL} training instances.")
    if len({home.workspace.split.train.sha256 for home, _ in runs}) > 1:
        name = first.root.name
        notes.append(f"The runs learned from different files; counts are those of {name}.")
    classes = [
        TailClass(one.category_id, one.name, one.instances, [ap[one.category_id] for _, ap in runs])
        for one in rare[::-1][:MOST_CLASSES]
    ]
    return classes, notes


def _find_examples(runs: Sequence[_Run], classes: Sequence[TailClass]) -> list[TailExample]:
    first, phase = runs[0][0]
    val, find = read_validation(first, phase)
    by_id = {one.category_id: one for one in classes}
    chosen = choose_objects(val, list(by_id), EXAMPLE_ROWS * blocks_in_row(len(runs)))
    rows = np.array(list(chosen.values()), dtype=np.int64)
    annotated = read_annotated(val, rows, class_names(first))
    images = val.instances.image_index[rows].tolist()
    image_ids = val.images.ids[images].tolist()
    found = [read_found(*home, image_ids) for home, _ in runs]
    examples = []
    for category_id, truth, row, image_id in zip(chosen, annotated, images, image_ids, strict=True):
        size = val.images.stated_size(row)
        path = find(row)
        panel = Panel(path, path.name, size=size)
        answers = [judge(truth, one[image_id], size[::-1], path.name) for one in found]
        examples.append(TailExample(by_id[category_id], panel, image_id, truth, answers))
    return examples


def choose_objects(dataset: Dataset, classes: Sequence[int], most: int) -> dict[int, int]:
    """Choose an object of each class: the largest, in an image that shows no other yet.

    What was detected does not matter. The classes are category ids, the most wanted first; one
    without an image of its own is left out. Gives rows of instances by category id.
    """
    instances = dataset.instances
    taken: set[int] = set()
    chosen: dict[int, int] = {}
    for category_id in classes:
        rows = np.flatnonzero(objects_of(dataset, [category_id]))
        free = rows[~np.isin(instances.image_index[rows], list(taken))]
        if len(free):
            # The first of equals, so that the same data give the same figure.
            row = int(free[instances.areas[free].argmax()])
            taken.add(int(instances.image_index[row]))
            chosen[category_id] = row
        if len(chosen) == most:
            break
    return chosen


def judge(
    truth: PanelObject, found: Sequence[PanelObject], size: tuple[int, int], title: str
) -> Answer:
    """Say what a run detects at an object, among all detections in its image; see `mask_of`.

    Classes are told apart by their ids: two may have one name.
    """
    wanted = mask_of(truth, size, title)
    matches = []
    for one in found:
        if _boxes_meet(truth.box, one.box):
            mask = mask_of(one, size, title)
            both = int((wanted & mask).sum())
            if both:
                matches.append(Match(one, both / int((wanted | mask).sum())))
    best = max((one for one in matches if one.there), key=lambda one: one.score, default=None)
    own = max(
        (one for one in matches if one.found.category_id == truth.category_id),
        # Where it overlaps enough the score decides, elsewhere the overlap.
        key=lambda one: (one.there, one.score if one.there else one.iou),
        default=None,
    )
    return Answer(best, own)


def _boxes_meet(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )
