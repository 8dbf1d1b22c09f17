"""`lst report --figure`: single figures, for a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lst_cli.errors import LstError
from lst_cli.reporting.attention import Attention, load_attention
from lst_cli.reporting.figures import Figure, FigureName, attention_figure
from lst_cli.workspace.atomic import write_bytes, write_text
from lst_cli.workspace.store import Workspace


def draw_figures(workspace: Workspace, names: Sequence[FigureName]) -> list[Figure]:
    """Draw figures; nothing is written.

    Args:
        workspace: With what they show.
        names: Which; each is drawn once.

    Raises:
        LstError: If the workspace has not what a figure shows, or a library is missing.
    """
    return [_DRAW[name](workspace) for name in dict.fromkeys(names)]


def write_figures(
    workspace: Workspace, figures: Sequence[Figure], directory: Path | None = None
) -> list[Path]:
    """Write figures and, beside each, its numbers as CSV.

    Args:
        workspace: The workspace.
        figures: Drawn.
        directory: Of the report; the workspace's own by default.

    Returns:
        The pictures, in the same order.

    Raises:
        LstError: If a file cannot be written.
    """
    folder = (directory or workspace.layout.report) / "figures"
    paths = []
    with workspace.locked():
        for figure in figures:
            paths.append(folder / f"{figure.name}.png")
            write_text(paths[-1].with_suffix(".csv"), figure.csv)
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
            return load_attention(
                directory.attention,
                phase,
                names[labels.start : labels.stop],
                names[: split.base_classes],
                f"remove {directory.root}, then lst step --mwg; "
                "or remove the file, and do without the figure",
            )
    return None


def _draw_attention(workspace: Workspace) -> Figure:
    attention = newest_attention(workspace)
    if attention is None:
        raise LstError("no phase was trained with the meta weight generator", "lst step --mwg")
    return attention_figure(attention)


_DRAW: dict[FigureName, Callable[[Workspace], Figure]] = {"attention": _draw_attention}
