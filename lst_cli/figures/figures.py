"""`lst figure`: single figures, for a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lst_cli.display.canvas import render
from lst_cli.errors import LstError
from lst_cli.figures import Figure, FigureName
from lst_cli.figures.ablation import ablation_figure
from lst_cli.figures.ablation_data import AblationName, gather_ablation
from lst_cli.figures.attention import newest_attention
from lst_cli.figures.attention_plot import attention_figure
from lst_cli.figures.balance import draw_balance
from lst_cli.figures.tail import tail_figure
from lst_cli.figures.tail_data import gather_tail
from lst_cli.workspace.atomic import write_bytes, write_text
from lst_cli.workspace.store import Workspace


def draw_figures(
    workspace: Workspace, names: Sequence[FigureName], others: Sequence[Path] = ()
) -> list[Figure]:
    """Lay out figures, each once; nothing is written.

    Raises:
        LstError: If the workspaces have not what a figure shows, or a library is missing.
    """
    wanted = list(dict.fromkeys(names))
    if others and not set(wanted) & _OF_SEVERAL.keys():
        raise LstError(
            f"--with: figure {wanted[0]} shows one workspace",
            f"leave --with out; it goes with {', '.join(sorted(_OF_SEVERAL))}",
        )
    return [
        _OF_ONE[name](workspace) if name in _OF_ONE else _OF_SEVERAL[name](workspace, others)
        for name in wanted
    ]


def write_figures(
    workspace: Workspace, figures: Sequence[Figure], directory: Path | None = None
) -> list[Path]:
    """Write figures as PNG and PDF and, beside each, its numbers as CSV.

    They go to the directory of a report, by default that of the workspace.

    Returns:
        The PNGs, in the same order.

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
        png, pdf = render(figure.picture), render(figure.picture, "pdf")
        paths.append(directory / "figures" / f"{figure.name}.png")
        write_text(paths[-1].with_suffix(".csv"), figure.csv)
        write_bytes(paths[-1].with_suffix(".pdf"), pdf)
        write_bytes(paths[-1], png)
    return paths


def _draw_attention(workspace: Workspace) -> Figure:
    attention = newest_attention(workspace)
    if attention is None:
        raise LstError("no phase was trained with the meta weight generator", "lst step --mwg")
    return attention_figure(attention)


def _draw_ablation(name: AblationName, workspace: Workspace, others: Sequence[Path]) -> Figure:
    return ablation_figure(gather_ablation(name, workspace, others))


def _draw_tail(workspace: Workspace, others: Sequence[Path]) -> Figure:
    return tail_figure(gather_tail(workspace, others))


_OF_ONE: dict[FigureName, Callable[[Workspace], Figure]] = {
    "balance": draw_balance,
    "attention": _draw_attention,
}
_OF_SEVERAL: dict[FigureName, Callable[[Workspace, Sequence[Path]], Figure]] = {
    "distill": partial(_draw_ablation, "distill"),
    "replay": partial(_draw_ablation, "replay"),
    "mwg": partial(_draw_ablation, "mwg"),
    "tail": _draw_tail,
}
"""Figures that show several workspaces side by side."""
