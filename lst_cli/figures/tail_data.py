"""`lst figure tail`: classes of few training instances, chosen and looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lst_cli.annotations.read import Dataset
from lst_cli.ap.metrics import Metrics
from lst_cli.compare.compare import name_runs, open_run
from lst_cli.display.masks import mask_of
from lst_cli.display.records import PanelObject
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_metrics
from lst_cli.figures.records import Answer, Match, Tail, TailClass, TailExample
from lst_cli.figures.shown_objects import Found, objects_of, read_annotated, read_found
from lst_cli.figures.tail import TAIL
from lst_cli.figures.tail_plot import MOST_RUNS, blocks_in_row
from lst_cli.inputs import read_validation
from lst_cli.workspace.hints import hints_for
from lst_cli.workspace.store import Workspace

MOST_CLASSES = 60  # as many as the paper shows, and as names fit side by side
FALLBACK_CLASSES = 12
EXAMPLE_ROWS = 3


@dataclass(frozen=True)
class _Run:
    workspace: Workspace
    phase: int
    metrics: Metrics

    @property
    def ap(self) -> Mapping[int, float]:
        """By category id, of classes with ground truth."""
        return self.metrics.segm.per_class

    @property
    def root(self) -> Path:
        return self.workspace.root


def gather_tail(workspace: Workspace, others: Sequence[Path]) -> Tail:
    """Collect what the figure shows; nothing is written.

    Args:
        workspace: The first run: its newest evaluated phase is shown.
        others: Workspaces of the others, likewise.

    Raises:
        LstError: If something was not evaluated, the runs have no class in common or other
            validation files, or an input is missing.
    """
    if len(others) >= MOST_RUNS:
        raise LstError(
            f"figure tail takes {MOST_RUNS} runs at most, not {len(others) + 1}",
            "leave some of --with out",
        )
    given = [open_run(str(root)) for root in (workspace.root, *others)]
    runs = []
    for one in given:
        if one.home is None:
            raise LstError(f"{one.given} is no workspace", "--with DIR, a workspace")
        with hints_for(one.home.workspace.root):
            runs.append(_Run(*one.home, _load(*one.home)))
    val = runs[0].workspace.split.val_at(runs[0].phase)
    for run in runs[1:]:
        other = run.workspace.split.val_at(run.phase)
        if other.sha256 != val.sha256:
            raise LstError(
                f"{runs[0].root} and {run.root} were evaluated on different validation files: "
                f"{val.path} and {other.path}",
                "take runs with the same validation file",
            )
    classes, notes = _choose_classes(runs)
    rows = EXAMPLE_ROWS * blocks_in_row(len(runs))
    return Tail(name_runs(given), classes, _find_examples(runs, classes, rows), notes)


def choose_objects(dataset: Dataset, classes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Choose an object of each class: the largest, in an image that shows no other yet.

    What was detected has no say in it.

    Args:
        dataset: Annotations.
        classes: Category ids, the most wanted first.
        most: How many objects at most.

    Returns:
        (category id, row of the instance); a class without an image of its own is left out.
    """
    instances = dataset.instances
    taken: set[int] = set()
    chosen: list[tuple[int, int]] = []
    for category_id in classes:
        if len(chosen) == most:
            break
        rows = np.flatnonzero(objects_of(dataset, [category_id]))
        free = [int(row) for row in rows if int(instances.image_index[row]) not in taken]
        if free:
            # The first of equals, so that the same data give the same figure.
            row = max(free, key=lambda one: (float(instances.areas[one]), -one))
            taken.add(int(instances.image_index[row]))
            chosen.append((category_id, row))
    return chosen


def judge(
    truth: PanelObject,
    found: Sequence[PanelObject],
    size: tuple[int, int],
    title: str = "the image",
) -> Answer:
    """Say what a run makes of an object.

    Args:
        truth: The object; its label is its class.
        found: Detections in its image, with labels and scores.
        size: (width, height) of the image.
        title: What to call the image in an error.
    """
    wanted = mask_of(truth, size, title)
    matches = [
        Match(one, iou)
        for one in found
        if _boxes_meet(truth.box, one.box)
        and (iou := _mask_iou(wanted, mask_of(one, size, title))) > 0
    ]
    there = [one for one in matches if one.there]
    best = max(there, key=lambda one: one.score, default=None)
    own = max(
        (one for one in matches if one.found.label == truth.label),
        # Where it overlaps enough the score decides, elsewhere the overlap.
        key=lambda one: (True, one.score) if one.there else (False, one.iou),
        default=None,
    )
    return Answer(best, own, best is not None and best.found.label == truth.label)


def _load(workspace: Workspace, phase: int) -> Metrics:
    metrics = load_metrics(workspace, phase)
    if metrics is None:
        raise LstError(
            f"phase {phase} of {workspace.root} has not been evaluated",
            f"lst eval --phase {phase}",
        )
    return metrics


def _choose_classes(runs: Sequence[_Run]) -> tuple[list[TailClass], list[str]]:
    """The rarest classes that all runs have seen, the rarest first, and what to say of them."""
    first = runs[0]
    split = first.workspace.split
    seen = split.classes[: split.seen_classes(first.phase)]
    known = [record for record in seen if all(record.category_id in run.ap for run in runs)]
    # Classes that were added later stand behind all others, however frequent they are.
    known.sort(key=lambda record: -record.instances)
    if not known:
        raise LstError(
            f"no class with ground truth was seen by all of "
            f"{', '.join(str(run.root) for run in runs)}",
            "take runs that have learned the same classes",
        )
    rare = [record for record in known if record.instances < TAIL]
    notes = []
    if not rare:
        rare = known[-FALLBACK_CLASSES:]
        notes.append(f"None has fewer than {TAIL} training instances.")
    shown = rare[::-1][:MOST_CLASSES]
    if len(shown) < len(rare):
        notes.append(f"{len(rare):,} classes have fewer than {TAIL} training instances.")
    if len({run.workspace.split.train.sha256 for run in runs}) > 1:
        notes.append(
            f"The runs learned from different files; counts are those of {first.root.name}."
        )
    return [
        TailClass(
            record.category_id,
            record.name,
            record.instances,
            [run.ap[record.category_id] for run in runs],
        )
        for record in shown
    ], notes


def _find_examples(
    runs: Sequence[_Run], classes: Sequence[TailClass], most: int
) -> list[TailExample]:
    first = runs[0]
    val, find = read_validation(first.workspace, first.phase)
    by_id = {one.category_id: one for one in classes}
    chosen = choose_objects(val, list(by_id), most)
    # Objects are told apart by the class's id: two classes may have one name.
    rows = np.array([row for _, row in chosen], dtype=np.int64)
    annotated = read_annotated(val, rows, {one: str(one) for one in by_id})
    image_rows = [int(val.instances.image_index[row]) for row in rows]
    image_ids = [int(val.images.ids[row]) for row in image_rows]
    found = [read_found(run.workspace, run.phase, set(image_ids)) for run in runs]
    names = {one.category_id: one.name for run in runs for one in run.workspace.split.classes}
    examples = []
    for (category_id, _), truth, row, image_id in zip(
        chosen, annotated, image_rows, image_ids, strict=True
    ):
        size = (int(val.images.widths[row]), int(val.images.heights[row]))
        path = find(row)
        examples.append(
            TailExample(
                by_id[category_id],
                path,
                image_id,
                size,
                truth,
                [
                    _named(judge(truth, _objects(one, image_id), size, path.name), names)
                    for one in found
                ],
            )
        )
    return examples


def _objects(found: Sequence[Found], image_id: int) -> list[PanelObject]:
    return [
        PanelObject(str(one.category_id), one.bbox, one.segmentation, one.score, one.category_id)
        for one in found
        if one.image_id == image_id
    ]


def _named(answer: Answer, names: Mapping[int, str]) -> Answer:
    """The same answer with names for ids."""

    def name(match: Match | None) -> Match | None:
        if match is None:
            return None
        one = match.found
        return Match(replace(one, label=names.get(int(one.label), one.label)), match.iou)

    return Answer(name(answer.best), name(answer.own), answer.right)


def _boxes_meet(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _mask_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0
