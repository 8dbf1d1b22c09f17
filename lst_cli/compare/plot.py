"""The plot of a comparison: AP of every run, and beside it what is sure about the differences.

Sizes are in pixels of the page: an image has `scale` times as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lst_cli.compare.paired import ComparedRow, Comparison
from lst_cli.compare.tables import NAMES, row_name
from lst_cli.display.canvas import (
    LIGHT,
    Theme,
    add_legend,
    make_figure,
    render,
    style_axes,
)
from lst_cli.display.fonts import short_name

WIDTH = 1080
_SURROUNDINGS = 150
_LONGEST = 200  # letters of a run's name
_MARKERS = ("o", "^", "s", "D", "v", "p", "X", "h")
_SPREAD = 0.5  # of a row's height, between its first and its last run


def plot_comparison(comparison: Comparison, theme: Theme = LIGHT, scale: float = 2.0) -> bytes:
    """Draw AP of every run with its interval, and the differences from the first with theirs.

    Args:
        comparison: See `lst_cli.compare.paired`.
        theme: Colours.
        scale: Image pixels per page pixel.

    Returns:
        A PNG of `compare_size` times `scale`. Classes without ground truth have no row; a
        difference whose interval leaves 0 out is filled, others are hollow.
    """
    rows = _shown(comparison)
    names = [short_name(run.name, _LONGEST).replace("$", r"\$") for run in comparison.runs]
    colours = _colours(theme, len(names))
    figure = make_figure(*compare_size(comparison), theme, scale)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 0.9))
    kind = NAMES[comparison.iou_type]
    style_axes(left, theme, f"{kind} AP", "AP (%) and 95 % intervals", "")
    meaning = "points of AP and 95 % intervals (filled: 0 is outside)"
    style_axes(right, theme, _right_title(names), meaning, "")
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=theme.grid, linewidth=0.8)
    handles = []
    for run, colour in enumerate(colours):
        offset = _offset(run, len(names))
        marker = _MARKERS[run % len(_MARKERS)]
        for place, row in enumerate(rows):
            estimate = row.estimates[run]
            _draw(left, place + offset, estimate.AP, estimate.interval, colour, marker, filled=True)
            if run:
                one = row.differences[run - 1]
                _draw(right, place + offset, one.AP, one.interval, colour, marker, filled=one.clear)
        handles += left.plot([], [], color=colour, marker=marker, linewidth=1.6, label=names[run])
    right.axvline(0, color=theme.ink, linewidth=1.0, zorder=2)
    left.set_yticks(range(len(rows)), [_label(row) for row in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.set_xlim(left=-0.015 * left.get_xlim()[1])  # a point at 0 is a whole point
    _keep_apart(left, right, theme, rows)
    add_legend(figure, theme, handles=handles, loc="outside lower center", ncols=min(len(names), 4))
    return render(figure)


def compare_size(comparison: Comparison) -> tuple[int, int]:
    """Give the page size of the plot: as high as its rows need."""
    row = 24 + 7 * len(comparison.runs)
    return WIDTH, _SURROUNDINGS + row * len(_shown(comparison))


def _shown(comparison: Comparison) -> list[ComparedRow]:
    return [row for row in comparison.rows if row.with_ground_truth]


def _colours(theme: Theme, count: int) -> list[str]:
    apart = [theme.old, theme.new, theme.ink, theme.ramp[3], theme.ramp[0], theme.muted]
    return [apart[place % len(apart)] for place in range(count)]


def _offset(run: int, runs: int) -> float:
    return _SPREAD * (run / (runs - 1) - 0.5)


def _right_title(names: Sequence[str]) -> str:
    return f"{names[1]} minus {names[0]}" if len(names) == 2 else f"Each minus {names[0]}"


def _label(row: ComparedRow) -> str:
    count = row.with_ground_truth
    return f"{row_name(row)}\n{count:,} class{'' if count == 1 else 'es'}".replace("$", r"\$")


def _draw(
    axes: Any,
    height: float,
    value: float | None,
    bounds: tuple[float, float] | None,
    colour: str,
    marker: str,
    *,
    filled: bool,
) -> None:
    if value is None:
        return
    if bounds is not None:
        axes.plot(
            [100 * bound for bound in bounds],
            [height, height],
            color=colour,
            linewidth=1.6,
            solid_capstyle="butt",
            zorder=3,
        )
    axes.plot(
        [100 * value],
        [height],
        linestyle="none",
        marker=marker,
        markersize=6,
        markerfacecolor=colour if filled else axes.get_facecolor(),
        markeredgecolor=colour,
        markeredgewidth=1.3,
        zorder=4,
    )


def _keep_apart(left: Any, right: Any, theme: Theme, rows: Sequence[ComparedRow]) -> None:
    """Draw a line between rows of different kinds."""
    for place in range(1, len(rows)):
        if rows[place].what != rows[place - 1].what:
            for axes in (left, right):
                axes.axhline(place - 0.5, color=theme.grid, linewidth=0.8, zorder=1)
