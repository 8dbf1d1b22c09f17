"""The plot of runs that differ in a setting: old, new and all classes, side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lst_cli.ap.instant import WAYS, Way
from lst_cli.display.canvas import (
    COLUMN_WIDTH,
    LIGHT,
    PAPER_LETTERS,
    PAPER_PAD,
    PAPER_WIDTH,
    LineStyle,
    Theme,
    add_legend,
    line_styles,
    make_figure,
    style_axes,
)
from lst_cli.display.fonts import short_name
from lst_cli.display.tables import phase_name

if TYPE_CHECKING:
    from lst_cli.figures.records import Ablation, AblationRun

_TITLES = {"old": "Old classes", "new": "New classes", "all": "All classes"}
_HEIGHT = {COLUMN_WIDTH: 150, PAPER_WIDTH: 175}  # of the axes and what stands around them
_LINE = 14  # of the legend
_APART = 0.13  # of a phase, between the marks of two runs
_LETTERS_A_LINE = {COLUMN_WIDTH: 40, PAPER_WIDTH: 44}  # of a name in the legend
_MARKS: dict[Way, str] = {"random": "x", "mean-feature": "+", "generated": "*"}
_BEFORE = 0.3  # how far left of its phase iteration 0 stands


def compose_ablation(ablation: Ablation, theme: Theme = LIGHT, scale: float = 2.0) -> Any:
    """Lay out three panels with a line for each run.

    Every panel has its own range, so that what a setting changes can be seen; runs differ in
    colour, dashes and marks.

    Args:
        ablation: Runs, at most `lst_cli.display.canvas.MOST_LINES`.
        theme: Colours.
        scale: Image pixels per page pixel.

    Returns:
        The figure, to be rendered: a column wide, or two where iteration 0 is shown.
    """
    width = PAPER_WIDTH if ablation.ways else COLUMN_WIDTH
    styles = line_styles(theme, len(ablation.runs))
    names = [_wrap(run.name, _LETTERS_A_LINE[width]) for run in ablation.runs]
    lines = max(sum(name.count("\n") + 1 for name in names), len(ablation.ways))
    height = _HEIGHT[width] + _LINE * lines
    figure = make_figure(width, height, theme, scale, pad=PAPER_PAD)
    order = ("new", "old", "all") if ablation.ways else ("old", "new", "all")
    ratios = (1.9, 1, 1) if ablation.ways else (1, 1, 1)
    panels = dict(zip(order, figure.subplots(1, 3, width_ratios=ratios), strict=True))
    for place, (part, axes) in enumerate(panels.items()):
        x_label = "phase" if place == 1 or ablation.ways else " "
        y_label = "mask AP (%)" if place == 0 else ""
        style_axes(axes, theme, _TITLES[part], x_label, y_label, PAPER_LETTERS)
        for index, (run, style) in enumerate(zip(ablation.runs, styles, strict=True)):
            # Side by side, or runs that do alike would hide each other.
            aside = _APART * (index - (len(styles) - 1) / 2)
            values = [(point.phase + aside, getattr(point, part)) for point in run.points]
            _draw(axes, values, style)
        if part == "new" and ablation.ways:
            _draw_instant(axes, ablation.runs, styles)
        _set_ranges(axes, ablation.phases, wide=part == "new" and bool(ablation.ways))
    _add_legend(figure, theme, names, styles, ablation.ways)
    return figure


def _add_legend(
    figure: Any,
    theme: Theme,
    names: Sequence[str],
    styles: Sequence[LineStyle],
    ways: Sequence[Way],
) -> None:
    from matplotlib.lines import Line2D

    runs = [
        Line2D([], [], label=name, **_look(style, theme.background))
        for name, style in zip(names, styles, strict=True)
    ]
    marks = [
        Line2D([], [], label=f"at iteration 0: {WAYS[way]} rows", **_mark_look(way, theme.muted))
        for way in ways
    ]
    if marks:  # the runs in one column, the marks in the other
        rows = max(len(runs), len(marks))
        for lines in (runs, marks):
            empty = range(rows - len(lines))
            lines += [Line2D([], [], linestyle="none", label=" ") for _ in empty]
    add_legend(
        figure,
        theme,
        PAPER_LETTERS,
        handles=[*runs, *marks],
        loc="outside lower center",
        ncols=2 if marks else 1,
        columnspacing=2.0,
        handlelength=3.4,
        labelspacing=0.35,
    )


def _look(style: LineStyle, background: str) -> dict[str, Any]:
    return {
        "color": style.colour,
        "linestyle": style.dashes,
        "linewidth": 1.3,
        "marker": style.marker,
        "markersize": 4.0,
        "markerfacecolor": style.colour if style.filled else background,
        "markeredgecolor": style.colour,
        "markeredgewidth": 1.0,
    }


def _mark_look(way: Way, colour: str) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": _MARKS[way],
        "markersize": 4.5 if way == "random" else 6,
        "markeredgecolor": colour,
        "markerfacecolor": colour,
        "markeredgewidth": 0.6 if way == "generated" else 1.2,
    }


def _draw(axes: Any, values: Sequence[tuple[float, float | None]], style: LineStyle) -> None:
    points = [(phase, 100 * value) for phase, value in values if value is not None]
    axes.plot(
        [phase for phase, _ in points],
        [value for _, value in points],
        **_look(style, axes.get_facecolor()),
        # An empty line that is not clipped pushes the axes aside.
        clip_on=not points,
        zorder=4,
    )


def _draw_instant(axes: Any, runs: Sequence[AblationRun], styles: Sequence[LineStyle]) -> None:
    """Mark iteration 0 left of each phase, in the colour of the run whose model it was."""
    for run, style in zip(runs, styles, strict=True):
        for point in run.points:
            known = [(way, ap) for way, ap in point.instant.items() if ap is not None]
            for place, (way, ap) in enumerate(known):
                # A little aside too: the ways of a phase may come to the same.
                before = _BEFORE + 0.08 * (len(known) - 1 - place)
                axes.plot(
                    [point.phase - before],
                    [100 * ap],
                    **_mark_look(way, style.colour),
                    clip_on=False,
                    zorder=5,
                )


def _set_ranges(axes: Any, phases: Sequence[int], *, wide: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    every = -(-len(phases) // (12 if wide else 6))
    axes.set_xticks(phases[::every], [phase_name(phase) for phase in phases[::every]])
    axes.set_xlim(phases[0] - (0.65 if wide else 0.4), phases[-1] + 0.4)
    low, high = axes.dataLim.y0, axes.dataLim.y1
    if not (math.isfinite(low) and math.isfinite(high)):  # not one number
        low, high = 0.0, 5.0
    # No narrower than two points of AP, or noise would look like a finding.
    room = max(0.12 * (high - low), (2 - (high - low)) / 2)
    axes.set_ylim(max(0.0, low - room), high + room)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _wrap(name: str, letters: int) -> str:
    # A dollar sign would start a formula.
    return "\n".join(textwrap.wrap(short_name(name, len(name) + 1), letters)).replace("$", r"\$")
