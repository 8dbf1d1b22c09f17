"""The paper's Fig. 3: instances of each class in D_t against all data."""

from __future__ import annotations

from collections.abc import Sequence

from lst_cli.display.canvas import PAPER_SCALE
from lst_cli.display.class_plots import compose_replay_balance
from lst_cli.display.markup import render_csv
from lst_cli.display.records import ReplayBalance, ReportClass
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.errors import LstError
from lst_cli.figures import Figure
from lst_cli.inputs import read_training_input
from lst_cli.settings.models import Settings
from lst_cli.split.split import measure_balance, report_classes
from lst_cli.split.tables import balance_table
from lst_cli.workspace.store import Workspace


def draw_balance(workspace: Workspace) -> Figure:
    """Draw what balanced replay gives in every phase, whatever the workspace's own replay is.

    Raises:
        LstError: If there is no phase after the base, or an input is missing.
    """
    split = workspace.split
    if len(split.groups) == 1:
        raise LstError(
            f"{workspace.root} has no phase after the base: nothing is replayed",
            workspace.split_command("--b B --phases T"),
        )
    settings = newest_settings(workspace)
    remark = ""
    if settings.step.replay != "balanced":
        remark = (
            f"This workspace's own setting is step.replay = {settings.step.replay}; the figure "
            "shows what balanced replay gives."
        )
    step = settings.step.model_copy(update={"replay": "balanced"})
    occurrences = read_training_input(workspace).occurrences
    balances = measure_balance(occurrences, split, settings.model_copy(update={"step": step}))
    return balance_figure(balances, report_classes(split), remark)


def newest_settings(workspace: Workspace) -> Settings:
    """Settings of the newest phase after the base; those of the workspace if there is none."""
    done = workspace.done_phases()
    return workspace.trained_settings(done[-1]) if done[1:] else workspace.settings()


def balance_figure(
    balances: Sequence[ReplayBalance], classes: Sequence[ReportClass], remark: str = ""
) -> Figure:
    """Draw the balance of one phase or more; `remark` is one more sentence of the caption."""
    caption = (
        "Instances of each seen class in the training set of each phase. Grey: in all images of "
        "the seen classes; lines: in D_t, with balanced replay of the old classes, which lie "
        "left of the dashed line."
    )
    table, instances = balance_table(balances), _instances_table(balances, classes)
    return Figure(
        "balance",
        caption=" ".join(filter(None, [caption, remark])),
        picture=compose_replay_balance(balances, scale=PAPER_SCALE),
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
