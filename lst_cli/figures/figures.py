"""`lst figure`: single figures, for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from lst_cli.display.canvas import PAPER_SCALE, render
from lst_cli.display.class_plots import compose_replay_balance
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Table
from lst_cli.errors import LstError
from lst_cli.figures import Figure, FigureName
from lst_cli.figures.ablation import ablation_figure
from lst_cli.figures.ablation_data import gather_ablation, newest_settings
from lst_cli.figures.attention import attention_figure, newest_attention
from lst_cli.figures.tail import tail_figure
from lst_cli.figures.tail_data import gather_tail
from lst_cli.inputs import read_training_input
from lst_cli.split.split import measure_balance, report_classes
from lst_cli.split.tables import balance_table
from lst_cli.workspace.atomic import write_bytes
from lst_cli.workspace.store import Workspace

# Settings of [step] that the paper's Fig. 3 shows.
_PAPER = {"replay": "balanced", "sampler": "samples", "other_objects": "ignore", "paste_objects": 0}
_OF_SEVERAL = ("distill", "mwg", "replay", "tail")  # workspaces side by side


def draw_figures(
    workspace: Workspace, names: Sequence[FigureName], others: Sequence[Path] = ()
) -> list[Figure]:
    """Lay out figures, each once; nothing is written."""
    wanted = list(dict.fromkeys(names))
    if others and not set(wanted) & set(_OF_SEVERAL):
        raise LstError(
            f"--with: figure {wanted[0]} shows one workspace",
            f"leave --with out; it goes with {', '.join(_OF_SEVERAL)}",
        )
    return [_draw(name, workspace, others) for name in wanted]


def _draw(name: FigureName, workspace: Workspace, others: Sequence[Path]) -> Figure:
    if name == "balance":
        return _balance_figure(workspace)
    if name == "tail":
        return tail_figure(gather_tail(workspace, others))
    if name != "attention":
        return ablation_figure(gather_ablation(name, workspace, others))
    attention = newest_attention(workspace)
    if attention is None:
        raise LstError("no phase was trained with the meta weight generator", "lst step --mwg")
    return attention_figure(attention)


def write_figures(
    workspace: Workspace, figures: Sequence[Figure], directory: Path | None = None
) -> list[Path]:
    """Write figures as PNG and PDF and, beside each, its numbers as CSV; give the PNGs' paths.

    They go to the directory of a report, by default that of the workspace. All are drawn before
    the first is written.
    """
    folder = (directory or workspace.layout.report) / "figures"
    files = {}
    for one in figures:
        files[folder / f"{one.name}.csv"] = one.csv.encode()
        files[folder / f"{one.name}.png"] = render(one.picture)
        files[folder / f"{one.name}.pdf"] = render(one.picture, "pdf")
    # Nothing of the workspace is touched where the figures go elsewhere.
    with workspace.locked() if directory is None else nullcontext():
        for path, content in files.items():
            write_bytes(path, content)
    return [path for path in files if path.suffix == ".png"]


def _balance_figure(workspace: Workspace) -> Figure:
    """The paper's Fig. 3, with balanced replay alone whatever the workspace's settings are."""
    split = workspace.split
    if len(split.groups) == 1:
        raise LstError(
            f"{workspace.root} has no phase after the base: nothing is replayed",
            workspace.split_command("--b B --phases T"),
        )
    caption = (
        "Instances of each seen class in the training set of each phase. Grey: in all images of "
        "the seen classes; lines: in D_t, with balanced replay of the old classes, which lie "
        "left of the dashed line."
    )
    settings = newest_settings(workspace)
    own = [(key, getattr(settings.step, key)) for key in _PAPER]
    if differing := [f"step.{key} = {value}" for key, value in own if value != _PAPER[key]]:
        caption += (
            f" The workspace's own settings are {', '.join(differing)}; the figure shows what "
            "balanced replay alone gives."
        )
    step = settings.step.model_copy(update=_PAPER)
    base = settings.base.model_copy(update={"paste_objects": 0})
    settings = settings.model_copy(update={"base": base, "step": step})
    balances = measure_balance(read_training_input(workspace).occurrences, split, settings)
    classes = report_classes(split)
    # Every class in every phase: what the lines of the plot are.
    instances = [
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
            zip(classes, one.before, one.after, strict=False), start=1
        )
    ]
    table = balance_table(balances)
    return Figure(
        "balance",
        caption,
        picture=compose_replay_balance(balances, scale=PAPER_SCALE),
        csv=render_csv(Table.of_rows("Instances of each class", instances)),
        numbers={"phases": [dict(row) for row in table.rows], "instances": instances},
        table=table,
    )
