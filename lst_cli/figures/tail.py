"""The paper's Fig. 5: classes of few training instances, in numbers and in pictures."""

from __future__ import annotations

from lst_cli.display.canvas import PAPER_SCALE
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.figures.files import Figure, finish_figure
from lst_cli.figures.records import FOUND_IOU, Tail, TailExample
from lst_cli.figures.tail_plot import compose_tail

TAIL = 10
"""Classes with fewer training instances are the tail, as in the paper's Table 1."""


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
        Rows with keys ``class``, ``category_id``, ``training_instances``, ``run``, ``AP``, and
        where an object is shown ``image``, ``image_id``, ``score`` and ``IoU`` (of the class's
        own detection), ``answer``, ``answer_score`` and ``answer_IoU`` (of the surest).
    """
    examples = {one.of.category_id: one for one in tail.examples}
    rows: list[dict[str, Cell]] = []
    for one in tail.classes:
        for run, name in enumerate(tail.runs):
            row: dict[str, Cell] = {
                "class": one.name,
                "category_id": one.category_id,
                "training_instances": one.instances,
                "run": name,
                "AP": one.ap[run],
            }
            if one.category_id in examples:
                row |= _shown(examples[one.category_id], run)
            rows.append(row)
    texts = ("class", "category_id", "training_instances", "run")
    columns = [Column(key, key, "text") for key in texts]
    columns.append(Column("AP", "AP"))
    columns += [Column(key, key, "text") for key in _SHOWN]
    return Table("Tail classes", tuple(columns), tuple(rows))


_SHOWN = ("image", "image_id", "score", "IoU", "answer", "answer_score", "answer_IoU")


def _shown(example: TailExample, run: int) -> dict[str, Cell]:
    answer = example.answers[run]
    row: dict[str, Cell] = {"image": example.image.name, "image_id": example.image_id}
    for match, score, iou in (
        (answer.own, "score", "IoU"),
        (answer.best, "answer_score", "answer_IoU"),
    ):
        row[score] = None if match is None else f"{match.score:.6g}"
        row[iou] = None if match is None else f"{match.iou:.6g}"
    row["answer"] = None if answer.best is None else answer.best.found.label
    return row


def _means_table(tail: Tail) -> Table:
    """What of it a terminal shows: a row a run."""
    rows: list[dict[str, Cell]] = [
        {
            "run": name,
            "AP": tail.mean_ap(run),
            "some": sum(one.ap[run] > 0 for one in tail.classes),
            "right": sum(example.answers[run].right for example in tail.examples),
        }
        for run, name in enumerate(tail.runs)
    ]
    return Table(
        f"The {len(tail.classes)} rarest classes",
        (
            Column("run", "run", "text"),
            Column("AP", "mean mask AP"),
            Column("some", "classes above 0", "integer"),
            Column("right", f"right of the {len(tail.examples)} shown", "integer"),
        ),
        tuple(rows),
    )
