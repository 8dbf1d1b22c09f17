"""The paper's Fig. 5: classes of few training instances, in numbers and in pictures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from lst_cli.display.canvas import PAPER_SCALE
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.figures.files import Figure, finish_figure
from lst_cli.figures.records import FOUND_IOU, Answer, Tail, TailClass, TailExample
from lst_cli.figures.tail_plot import compose_tail

TAIL = 10
"""Classes with fewer training instances are the tail, as in the paper's Table 1."""

_Row = tuple[TailClass, int]


def tail_figure(tail: Tail) -> Figure:
    """Draw the tail.

    Args:
        tail: At least one run and one class.

    Raises:
        LstError: If an image cannot be read or a mask cannot be decoded.
    """
    table = tail_table(tail)
    return finish_figure(
        "tail",
        compose_tail(tail, scale=PAPER_SCALE),
        caption=tail_caption(tail),
        csv=render_csv(table),
        numbers={"runs": list(tail.runs), "rows": [dict(row) for row in table.rows]},
        table=_means_table(tail),
    )


def tail_caption(tail: Tail) -> str:
    """Say what is shown and how it was chosen."""
    counts = [one.instances for one in tail.classes]
    few = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    sentences = [
        f"The {len(tail.classes)} rarest classes with ground truth ({few} training instances), the "
        "rarest left. Above: mask AP of each."
    ]
    if tail.examples:
        sentences.append(
            f"Below: the largest annotated object of {len(tail.examples)} of the rarest, no image "
            "twice, and the surest detection that each run has there (mask IoU "
            f"{FOUND_IOU} or more), whatever its class: ✓ and blue if it is the object's, ✗ and "
            "orange if not; then the scores are that of the wrong class and that of the right."
        )
    return " ".join([*sentences, *tail.notes])


def tail_table(tail: Tail) -> Table:
    """Make the table of every class in every run, with the object shown of it.

    Returns:
        Where an object is shown, ``score`` and ``IoU`` are of the class's own detection,
        ``answer_score`` and ``answer_IoU`` of the surest.
    """
    examples = {one.of.category_id: one for one in tail.examples}

    def answer(row: _Row) -> Answer | None:
        example = examples.get(row[0].category_id)
        return None if example is None else example.answers[row[1]]

    def text(key: str, get: Callable[[_Row], Cell]) -> Column:
        return Column(key, key, "text", get)

    def example(key: str, get: Callable[[TailExample], Cell]) -> Column:
        found = {one: get(each) for one, each in examples.items()}
        return text(key, lambda row: found.get(row[0].category_id))

    def match(key: str, which: str, number: str) -> Column:
        def read(row: _Row) -> str | None:
            found = getattr(answer(row), which, None)
            return None if found is None else f"{getattr(found, number):.6g}"

        return text(key, read)

    def label(row: _Row) -> str | None:
        best = getattr(answer(row), "best", None)
        return None if best is None else str(best.found.label)

    columns = (
        text("class", lambda row: row[0].name),
        text("category_id", lambda row: row[0].category_id),
        text("training_instances", lambda row: row[0].instances),
        text("run", lambda row: tail.runs[row[1]]),
        Column("AP", "AP", get=lambda row: row[0].ap[row[1]]),
        example("image", lambda one: one.image.name),
        example("image_id", lambda one: one.image_id),
        match("score", "own", "score"),
        match("IoU", "own", "iou"),
        text("answer", label),
        match("answer_score", "best", "score"),
        match("answer_IoU", "best", "iou"),
    )
    rows = product(tail.classes, range(len(tail.runs)))
    return Table.of("Tail classes", rows, columns)


def _means_table(tail: Tail) -> Table:
    """What of it a terminal shows: a row a run."""

    def some(run: int) -> int:
        return sum(one.ap[run] > 0 for one in tail.classes)

    def right(run: int) -> int:
        return sum(example.answers[run].right for example in tail.examples)

    return Table.of(
        f"The {len(tail.classes)} rarest classes",
        range(len(tail.runs)),
        (
            Column("run", "run", "text", tail.runs.__getitem__),
            Column("AP", "mean mask AP", get=tail.mean_ap),
            Column("some", "classes above 0", "integer", some),
            Column("right", f"right of the {len(tail.examples)} shown", "integer", right),
        ),
    )
