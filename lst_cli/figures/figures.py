"""`lst figure`: single figures, for a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.figures import FigureName
from lst_cli.figures.ablation import ablation_figure
from lst_cli.figures.ablation_data import gather_ablation
from lst_cli.figures.attention import Attention, load_attention
from lst_cli.figures.balance import balance_figure
from lst_cli.figures.files import Figure, attention_figure
from lst_cli.figures.records import AblationName
from lst_cli.figures.tail import tail_figure
from lst_cli.figures.tail_data import gather_tail
from lst_cli.inputs import read_training_input
from lst_cli.split.split import measure_balance, report_classes
from lst_cli.workspace.atomic import write_bytes, write_text
from lst_cli.workspace.store import Workspace, require_unchanged

OF_SEVERAL: frozenset[FigureName] = frozenset(("distill", "replay", "mwg", "tail"))
"""Figures that show several workspaces side by side."""

_Draw = Callable[[Workspace, Sequence[Path]], Figure]


def draw_figures(
    workspace: Workspace, names: Sequence[FigureName], others: Sequence[Path] = ()
) -> list[Figure]:
    """Draw figures; nothing is written.

    Args:
        workspace: With what they show.
        names: Which; each is drawn once.
        others: Further workspaces, for the figures that show several runs.

    Raises:
        LstError: If the workspaces have not what a figure shows, or a library is missing.
    """
    wanted = list(dict.fromkeys(names))
    if others and not set(wanted) & OF_SEVERAL:
        raise LstError(
            f"--with: figure {wanted[0]} shows one workspace",
            f"leave --with out; it goes with {', '.join(sorted(OF_SEVERAL))}",
        )
    return [_DRAW[name](workspace, others) for name in wanted]


def write_figures(
    workspace: Workspace, figures: Sequence[Figure], directory: Path | None = None
) -> list[Path]:
    """Write figures as PNG and PDF and, beside each, its numbers as CSV.

    Args:
        workspace: The workspace.
        figures: Drawn.
        directory: Of the report; the workspace's own by default.

    Returns:
        The pictures, in the same order.

    Raises:
        LstError: If a file cannot be written.
    """
    if directory is not None:  # nothing of the workspace is touched
        return _write(figures, directory)
    with workspace.locked():
        return _write(figures, workspace.layout.report)


def _write(figures: Sequence[Figure], directory: Path) -> list[Path]:
    paths = []
    for figure in figures:
        paths.append(directory / "figures" / f"{figure.name}.png")
        write_text(paths[-1].with_suffix(".csv"), figure.csv)
        write_bytes(paths[-1].with_suffix(".pdf"), figure.pdf)
        write_bytes(paths[-1], figure.png)
    return paths


def newest_attention(workspace: Workspace) -> Attention | None:
    """The attention of the newest finished phase that a generator wrote rows for.

    Raises:
        LstError: If its file is damaged, or is not of the phase's classes.
    """
    split = workspace.split
    names = [record.name for record in split.classes]
    for phase in reversed(workspace.done_phases()):
        directory = workspace.phase(phase)
        if directory.attention.exists():
            labels = split.labels_of(phase)
            hint = (
                f"put the file back from a copy, or move {directory.attention} elsewhere and do "
                "without the figure"
            )
            recorded = workspace.require_done(phase).attention_sha256
            require_unchanged(directory.attention, recorded, hint)
            attention = load_attention(
                directory.attention,
                phase,
                names[labels.start : labels.stop],
                names[: split.base_classes],
                hint,
            )
            return replace(attention, ids={one.name: one.category_id for one in split.classes})
    return None


def _draw_attention(workspace: Workspace, others: Sequence[Path]) -> Figure:
    del others
    attention = newest_attention(workspace)
    if attention is None:
        raise LstError("no phase was trained with the meta weight generator", "lst step --mwg")
    return attention_figure(attention)


def _draw_balance(workspace: Workspace, others: Sequence[Path]) -> Figure:
    del others
    split = workspace.split
    if len(split.groups) == 1:
        raise LstError(
            f"{workspace.root} has no phase after the base: nothing is replayed",
            workspace.split_command("--b B --phases T"),
        )
    done = workspace.done_phases()
    settings = workspace.trained_settings(done[-1]) if done[1:] else workspace.settings()
    remark = ""
    if settings.step.replay != "balanced":
        remark = (
            f"This workspace's own setting is step.replay = {settings.step.replay}; what is drawn "
            "is what balanced replay gives."
        )
    step = settings.step.model_copy(update={"replay": "balanced"})
    balances = measure_balance(
        read_training_input(workspace).occurrences,
        split,
        settings.model_copy(update={"step": step}),
    )
    return balance_figure(balances, report_classes(split), remark)


def _draw_ablation(name: AblationName) -> _Draw:
    return lambda workspace, others: ablation_figure(gather_ablation(name, workspace, others))


def _draw_tail(workspace: Workspace, others: Sequence[Path]) -> Figure:
    return tail_figure(gather_tail(workspace, others))


_DRAW: dict[FigureName, _Draw] = {
    "balance": _draw_balance,
    "distill": _draw_ablation("distill"),
    "replay": _draw_ablation("replay"),
    "mwg": _draw_ablation("mwg"),
    "tail": _draw_tail,
    "attention": _draw_attention,
}
