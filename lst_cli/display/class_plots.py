"""The plots of what is learned from: class counts, and the balance of replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lst_cli.display import canvas
from lst_cli.display.canvas import LIGHT, Letters, Theme
from lst_cli.display.tables import ReplayBalance, ReportClass

WIDE_SIZE = (1080, 360)
REPLAY_ROW = 250
RANK = "classes in class order, most frequent first (rank)"


def plot_class_counts(
    classes: Sequence[ReportClass], theme: Theme = LIGHT, scale: float = 2.0
) -> bytes:
    """Draw training instances and images of all classes in class order."""
    figure = canvas.make_figure(*WIDE_SIZE, theme, scale)
    axes = figure.subplots()
    title = "Training instances and images of each class"
    canvas.style_axes(axes, theme, title, RANK, "count (log)")
    instances = [record.instances for record in classes]
    # Room for the names of the phases above the tallest class.
    _log_axis(axes, len(classes), max(instances, default=1), room=8)
    canvas.shade_phases(axes, theme, phase_sizes(classes))
    area = {"fill": True, "facecolor": theme.old, "alpha": 0.35}
    edges = np.arange(len(classes) + 1) + 0.5
    axes.stairs(instances, edges, baseline=0.5, **area, label="instances", zorder=2)
    axes.stairs(instances, edges, baseline=None, color=theme.old, linewidth=1.4, zorder=3)
    many = len(classes) > 100
    images = [max(record.images, 0.5) for record in classes]
    look: dict[str, Any] = {"marker": "o", "markerfacecolor": theme.new}
    look |= {"markersize": 2.2 if many else 5, "alpha": 0.8 if many else 1.0}
    ranks = range(1, len(classes) + 1)
    look |= {"markeredgecolor": "none", "linestyle": "none", "label": "images", "zorder": 4}
    axes.plot(ranks, images, **look)
    canvas.add_legend(figure, theme, loc="outside right center")
    return canvas.render(figure)


def replay_size(phases: int) -> tuple[int, int]:
    """The page size of the replay plot for a number of phases."""
    rows = -(-phases // 3)
    return WIDE_SIZE[0], REPLAY_ROW * rows + 95 + (60 if rows == 1 else 0)


def plot_replay_balance(
    balances: Sequence[ReplayBalance], theme: Theme = LIGHT, scale: float = 2.0
) -> bytes:
    """Draw the paper's Fig. 3: instances per class without and with replay, a panel a phase."""
    figure = canvas.make_figure(*replay_size(len(balances)), theme, scale)
    canvas.add_heading(figure, theme, "Instances per class in each phase's training set")
    _draw_balances(figure, theme, balances, min(len(balances), 3))
    return canvas.render(figure)


def compose_replay_balance(balances: Sequence[ReplayBalance], scale: float = 2.0) -> Any:
    """Lay out the same for a paper, `PAPER_WIDTH` wide and without a heading of its own."""
    columns = 2 if len(balances) == 4 else min(len(balances), 3)
    width = canvas.PAPER_WIDTH if columns > 1 else canvas.COLUMN_WIDTH
    height = 150 * -(-len(balances) // columns) + (40 if columns > 1 else 80)
    figure = canvas.make_figure(width, height, LIGHT, scale, pad=canvas.PAPER_PAD)
    _draw_balances(figure, LIGHT, balances, columns, canvas.PAPER_LETTERS)
    return figure


def _draw_balances(
    figure: Any,
    theme: Theme,
    balances: Sequence[ReplayBalance],
    columns: int,
    letters: Letters = canvas.PAGE_LETTERS,
) -> None:
    paper = letters is canvas.PAPER_LETTERS
    grid = figure.subplots(-(-len(balances) // columns), columns, squeeze=False, sharey=True)
    highest = max(value for one in balances for value in (1, *one.before, *one.after, *one.pasted))
    for axes in grid.flat[len(balances) :]:
        axes.set_axis_off()
    for index, (axes, one) in enumerate(zip(grid.flat, balances, strict=False)):
        name = f"Phase {one.phase}" if one.phase else "Base phase"
        old = f"{one.old:,} old, " if one.phase else ""
        title = f"{name}: {old}{len(one.before) - one.old:,} new"
        rank = "class (rank)" if paper else "class, most frequent first (rank)"
        title = title if paper else f"{title} classes"
        x_label = "" if index + columns < len(balances) else rank
        y_label = "" if index % columns else "instances (log)"
        canvas.style_axes(axes, theme, title, x_label, y_label, letters)
        _draw_balance(axes, theme, one, highest)
    # Only some panels may have pasted objects, and the base phase has no old classes.
    lines = {patch.get_label(): patch for axes in grid.flat[::-1] for patch in axes.patches}
    canvas.add_legend(
        figure,
        theme,
        letters,
        handles=list(lines.values()),
        loc="outside lower center",
        ncols=1 if paper and columns == 1 else 3,
        columnspacing=2.0,
    )


def _draw_balance(axes: Any, theme: Theme, balance: ReplayBalance, highest: float) -> None:
    edges = np.arange(len(balance.before) + 1) + 0.5
    _log_axis(axes, len(balance.before), highest)
    area = {"fill": True, "facecolor": theme.plain, "edgecolor": "none"}
    every = "all images of the seen classes"
    axes.stairs(balance.before, edges, baseline=0.5, **area, label=every, zorder=2)
    for start, end, colour, name in (
        (0, balance.old, theme.old, "in Dₜ, old classes"),
        (balance.old, len(balance.after), theme.new, "in Dₜ, new classes"),
    ):
        if end > start:
            values = [max(value, 0.5) for value in balance.after[start:end]]
            look = {"color": colour, "linewidth": 1.3 if len(edges) > 100 else 2.0, "label": name}
            axes.stairs(values, edges[start : end + 1], baseline=None, **look, zorder=3)
    if pasted := [max(value, 0.5) for value in balance.pasted]:
        look = {"color": theme.ink, "linewidth": 1.0, "label": "in Dₜ, with pasted objects"}
        axes.stairs(pasted, edges, baseline=None, **look, zorder=4)
    border = {"color": theme.muted, "linewidth": 0.8, "linestyle": (0, (4, 3))}
    axes.axvline(balance.old + 0.5, **border, zorder=1)


def phase_sizes(classes: Sequence[ReportClass]) -> list[int]:
    """Count the classes that each phase brings, base first."""
    return list(map(int, np.bincount([record.phase for record in classes])))


def _log_axis(axes: Any, count: int, highest: float, room: float = 2) -> None:
    axes.set_xlim(0.5, max(count, 1) + 0.5)
    canvas.count_in_whole_numbers(axes.xaxis)
    axes.set_yscale("log")
    highest = max(highest, 10)
    axes.set_ylim(0.5, highest * room)
    powers = [10**power for power in range(7) if 10**power <= highest * 1.5]
    axes.set_yticks(powers, [f"{power:,}" for power in powers])
    axes.minorticks_off()
