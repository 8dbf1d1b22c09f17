"""The plot of where AP is lost: a panel for each kind of error, a bar for each bin.

All panels have one scale, so that a long bar is a high price wherever it stands. Sizes are in
pixels of the page: an image has `scale` times as many.
"""

from __future__ import annotations

from typing import Any

from lst_cli.ap.errors import KINDS, ErrorAnalysis, ErrorBin, ErrorShares, Kind
from lst_cli.display.canvas import (
    LIGHT,
    Theme,
    make_figure,
    ramp_colours,
    render,
    style_axes,
)
from lst_cli.display.fonts import FONT
from lst_cli.display.tables import bin_heading

WIDTH = 1080
_SURROUNDINGS = 150  # title, names of the panels, axis
_BAR = 26
_ROOM = 1.28  # of the longest bar: its number stands behind it
_NAMES = {"segm": "Mask", "bbox": "Box"}
_NOUNS: dict[Kind, str] = {"missed": "annotation"}


def plot_errors(analysis: ErrorAnalysis, theme: Theme = LIGHT, scale: float = 2.0) -> bytes:
    """Draw what each kind of error costs, by training instances.

    Args:
        analysis: See `lst_cli.ap.errors`.
        theme: Colours.
        scale: Image pixels per page pixel.

    Returns:
        A PNG of `errors_size` times `scale`. A bin without ground truth is left out.
    """
    shown = _shown(analysis)
    sets: list[ErrorShares] = [analysis.all, *shown]
    # A bin has its colour whether or not its neighbours have ground truth.
    ramp = zip(analysis.bins, ramp_colours(theme, len(analysis.bins)), strict=True)
    colours = [theme.muted, *(colour for one, colour in ramp if one.with_ground_truth)]
    figure = make_figure(*errors_size(analysis), theme, scale)
    figure.suptitle(
        f"{_NAMES[analysis.iou_type]} AP50 lost to each kind of error, by training instances",
        x=0.012,
        ha="left",
        color=theme.ink,
        fontfamily=FONT,
        fontsize=11.5,
        fontweight="bold",
    )
    highest = max((one.dAP50[kind] or 0 for one in sets for kind in KINDS), default=0)
    panels = figure.subplots(1, len(KINDS), sharey=True)
    for axes, kind in zip(panels, KINDS, strict=True):
        style_axes(axes, theme, "", "points of AP50", "")
        axes.grid(visible=False)
        axes.set_title(
            kind,
            loc="left",
            color=theme.ink,
            fontfamily=FONT,
            fontsize=9.5,
            fontweight="bold",
            pad=22,
        )
        count, noun = analysis.all.counts[kind], _NOUNS.get(kind, "detection")
        axes.annotate(
            f"{count:,} {noun}{'' if count == 1 else 's'}",
            (0, 1),
            xytext=(0, 7),
            xycoords="axes fraction",
            textcoords="offset points",
            color=theme.muted,
            fontfamily=FONT,
            fontsize=8,
        )
        _draw_bars(axes, theme, kind, sets, colours)
        axes.set_xlim(0, _ROOM * 100 * max(highest, 0.01))
    names = [f"all ({analysis.all.with_ground_truth:,})"]
    names += [f"{_bin_name(one.bin)} ({one.with_ground_truth:,})" for one in shown]
    panels[0].set_yticks(range(len(sets)), names)
    panels[0].set_ylim(len(sets) - 0.45, -0.55)
    panels[0].set_ylabel("training instances (classes)", color=theme.muted, fontfamily=FONT)
    return render(figure)


def errors_size(analysis: ErrorAnalysis) -> tuple[int, int]:
    """Give the page size of the plot: as high as its bins need."""
    return WIDTH, _SURROUNDINGS + _BAR * (len(_shown(analysis)) + 1)


def _shown(analysis: ErrorAnalysis) -> list[ErrorBin]:
    return [one for one in analysis.bins if one.with_ground_truth]


def _draw_bars(
    axes: Any, theme: Theme, kind: Kind, sets: list[ErrorShares], colours: list[str]
) -> None:
    # All classes are no bin.
    axes.axhline(0.5, color=theme.grid, linewidth=0.8, zorder=1)
    for row, (one, colour) in enumerate(zip(sets, colours, strict=True)):
        value = one.dAP50[kind]
        if value is None:
            continue
        axes.barh(row, 100 * value, height=0.68, color=colour, zorder=3)
        axes.annotate(
            f"{100 * value:.1f}",
            (100 * value, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=theme.ink,
            fontfamily=FONT,
            fontsize=8,
            zorder=4,
        )


def _bin_name(name: str) -> str:
    # A dollar sign would start a formula.
    return bin_heading(name).replace("$", r"\$")
