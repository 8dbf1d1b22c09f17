"""The plot of a comparison: AP of every run, and beside it the differences with their intervals."""

from __future__ import annotations

from typing import Any

from lst_cli.compare.paired import Comparison, Difference, Estimate
from lst_cli.compare.tables import NAMES, row_name
from lst_cli.display.canvas import LIGHT, add_legend, make_figure, render, style_axes
from lst_cli.display.fonts import short_name
from lst_cli.display.tables import format_classes

WIDTH = 1080  # this and the next in pixels of the page; an image has `scale` times as many
_SURROUNDINGS = 150
_LONGEST = 200  # letters of a run's name
_MARKERS = ("o", "^", "s", "D", "v", "p", "X", "h")
_COLOURS = (LIGHT.old, LIGHT.new, LIGHT.ink, LIGHT.ramp[3], LIGHT.ramp[0], LIGHT.muted)
_SPREAD = 0.5  # of a row's height, between its first and its last run


def plot_comparison(comparison: Comparison, scale: float = 2.0) -> bytes:
    """Draw AP of every run and the differences from the first, with intervals, as a PNG.

    Classes without ground truth have no row; a difference whose interval excludes 0 is filled,
    others are hollow.
    """
    rows = [row for row in comparison.rows if row.with_ground_truth]
    names = [short_name(run.name, _LONGEST) for run in comparison.runs]
    height = _SURROUNDINGS + (24 + 7 * len(names)) * len(rows)
    figure = make_figure(WIDTH, height, LIGHT, scale)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 0.9))
    minuend = names[1] if len(names) == 2 else "Each"
    meaning = "points of AP and 95 % intervals (filled: 0 is outside)"
    style_axes(left, LIGHT, f"{NAMES[comparison.iou_type]} AP", "AP (%) and 95 % intervals", "")
    style_axes(right, LIGHT, f"{minuend} minus {names[0]}", meaning, "")
    handles = []
    for run, name in enumerate(names):
        offset = _SPREAD * (run / (len(names) - 1) - 0.5)
        style = (_COLOURS[run % len(_COLOURS)], _MARKERS[run % len(_MARKERS)])
        for place, row in enumerate(rows):
            _draw(left, place + offset, row.estimates[run], style, filled=True)
            if run:
                change = row.differences[run - 1]
                _draw(right, place + offset, change, style, filled=change.clear)
        handles += left.plot([], [], color=style[0], marker=style[1], linewidth=1.6, label=name)
    right.axvline(0, color=LIGHT.ink, linewidth=1.0, zorder=2)
    labels = [f"{row_name(row)}\n{format_classes(row.with_ground_truth)}" for row in rows]
    left.set_yticks(range(len(rows)), labels)
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.set_xlim(left=-0.015 * left.get_xlim()[1])  # a point at 0 is a whole point
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=LIGHT.grid, linewidth=0.8)
        for place in range(1, len(rows)):
            if rows[place].what != rows[place - 1].what:
                axes.axhline(place - 0.5, color=LIGHT.grid, linewidth=0.8, zorder=1)
    add_legend(figure, LIGHT, handles=handles, loc="outside lower center", ncols=min(len(names), 4))
    return render(figure)


def _draw(
    axes: Any, height: float, one: Estimate | Difference, style: tuple[str, str], *, filled: bool
) -> None:
    """Draw a value and its interval in a colour and with a marker."""
    if one.AP is None:
        return
    colour, marker = style
    ends = [100 * bound for bound in one.interval or (one.AP, one.AP)]
    line = {"linewidth": 1.6, "solid_capstyle": "butt", "zorder": 3}
    axes.plot(ends, [height, height], color=colour, **line)
    look = {"markersize": 6, "markeredgewidth": 1.3, "zorder": 4}
    face = colour if filled else axes.get_facecolor()
    axes.plot(100 * one.AP, height, marker, color=colour, markerfacecolor=face, **look)
