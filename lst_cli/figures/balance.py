"""The paper's Fig. 3: instances of each class in D_t against all data."""

from __future__ import annotations

from collections.abc import Sequence

from lst_cli.display.canvas import PAPER_SCALE
from lst_cli.display.class_plots import compose_replay_balance
from lst_cli.display.markup import render_csv
from lst_cli.display.records import ReplayBalance, ReportClass
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.figures.files import Figure, finish_figure
from lst_cli.split.tables import balance_table


def balance_figure(
    balances: Sequence[ReplayBalance], classes: Sequence[ReportClass], remark: str = ""
) -> Figure:
    """Draw the balance of every phase's training set.

    Args:
        balances: At least one phase, in order.
        classes: All classes in class order.
        remark: What else the caption should say, a sentence.
    """
    caption = (
        "Instances of each seen class in the training set of each phase. Grey: in all images of "
        "the seen classes; lines: in D_t, with balanced replay of the old classes, which lie "
        "left of the dashed line."
    )
    table, instances = balance_table(balances), _instances_table(balances, classes)
    return finish_figure(
        "balance",
        compose_replay_balance(balances, scale=PAPER_SCALE),
        caption=" ".join(filter(None, [caption, remark])),
        csv=render_csv(instances),
        numbers={
            "phases": [dict(row) for row in table.rows],
            "instances": [dict(row) for row in instances.rows],
        },
        table=table,
    )


def _instances_table(balances: Sequence[ReplayBalance], classes: Sequence[ReportClass]) -> Table:
    """Every class in every phase: what the lines of the plot are."""
    rows: list[dict[str, Cell]] = [
        {
            "phase": one.phase,
            "rank": rank,
            "class": record.name,
            "category_id": record.category_id,
            "kind": "old" if rank <= one.old else "new",
            "all_data": before,
            "D_t": after,
        }
        for one in balances
        for rank, (record, before, after) in enumerate(
            zip(classes[: len(one.before)], one.before, one.after, strict=True), start=1
        )
    ]
    columns = tuple(Column(key, key, "text") for key in rows[0])
    return Table("Instances of each class", columns, tuple(rows))
