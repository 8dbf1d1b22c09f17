"""The look of every plot: colours, sizes, and a figure that knows no global state.

Figures are made through matplotlib's objects and drawn by Agg: nothing here changes what a
caller's own plots look like. matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lst_cli.display.fonts import FONT, finish_texts

DOTS_PER_INCH = 100
PAPER_WIDTH = 720  # 7.2 inches: the text of a two-column paper, where letters keep their size
COLUMN_WIDTH = 325  # 3.25 inches: one of its columns
PAPER_SCALE = 4.0  # 400 dots per inch, for print
PAPER_PAD = 0.04  # inches around axes: a page has margins of its own


@dataclass(frozen=True)
class Letters:
    """Font sizes, in points of 1/72 inch."""

    title: float
    label: float
    tick: float  # the smallest
    legend: float
    pad: float  # between title and axes


PAGE_LETTERS = Letters(title=10.5, label=9, tick=8.5, legend=8.5, pad=9)
PAPER_LETTERS = Letters(title=8, label=7.5, tick=7, legend=7.5, pad=5)  # nothing below 7


@dataclass(frozen=True)
class Theme:
    """The colours of a plot; blue and orange stay apart for every kind of colour vision."""

    background: str
    ink: str  # titles and the most important line
    muted: str  # axes, ticks, remarks
    grid: str
    band: str  # every other phase's background
    old: str  # what earlier phases learned
    new: str  # what this phase learned
    plain: str  # a quantity before anything was done to it
    ramp: tuple[str, ...]  # rarest to most frequent; the strongest colours at both ends


LIGHT = Theme(
    background="#ffffff",
    ink="#1c2430",
    muted="#5b6675",
    grid="#e6e9ee",
    band="#f3f5f8",
    old="#2a6fb0",
    new="#d9650b",
    plain="#c3cad4",
    ramp=("#9c2f08", "#e0660c", "#f2a53c", "#6db3dd", "#2f78b7", "#123a6b"),
)
DARK = Theme(
    background="#171c24",
    ink="#e8ecf2",
    muted="#9aa6b6",
    grid="#2a323e",
    band="#1d242e",
    old="#62a8e5",
    new="#f28f3b",
    plain="#4b5666",
    ramp=("#f0602f", "#f59a4c", "#f7cd93", "#b3d9f2", "#6cb0ea", "#3c82d6"),
)


def ramp_colours(theme: Theme, count: int) -> list[str]:
    """Spread the rare-to-frequent colours over any number of bins.

    The rarer half, and the middle one, is warm; the rest is cool. The two are never mixed, which
    would give a grey that means neither.

    Example:
        >>> ramp_colours(LIGHT, 3)
        ['#9c2f08', '#f2a53c', '#123a6b']
    """

    def spread(colours: Sequence[str], count: int) -> list[str]:
        places = np.linspace(0, len(colours) - 1, count)
        channels = np.array([list(bytes.fromhex(one[1:])) for one in colours]).T  # (3, colours)
        mixed = [np.interp(places, range(len(colours)), one).round() for one in channels]
        return ["#" + bytes(one).hex() for one in np.array(mixed, np.uint8).T]

    half, rare = len(theme.ramp) // 2, (count + 1) // 2
    # Cool colours are taken from the strong end, the most frequent bin's.
    cool = spread(theme.ramp[half:][::-1], count - rare)[::-1]
    return spread(theme.ramp[:half], rare) + cool


def make_figure(width: int, height: int, theme: Theme, scale: float, *, pad: float = 0.1) -> Any:
    """Make an empty figure of some pixels on the page; its image has `scale` times as many.

    It lays itself out and draws with Agg. `pad` is the space around axes, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH),
        dpi=DOTS_PER_INCH * scale,
        facecolor=theme.background,
        layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, hspace=0.06, wspace=0.04),
    )
    FigureCanvasAgg(figure)
    return figure


def add_heading(figure: Any, theme: Theme, text: str) -> None:
    """Write a title over all panels of a figure."""
    bold = {"color": theme.ink, "fontsize": 11.5, "fontweight": "bold"}
    figure.suptitle(text, x=0.012, ha="left", **bold)


def count_in_whole_numbers(axis: Any) -> None:
    """Tick an axis of ranks, classes or phases at whole numbers only, even if it has few."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def style_axes(
    axes: Any,
    theme: Theme,
    title: str,
    x_label: str,
    y_label: str,
    letters: Letters = PAGE_LETTERS,
) -> None:
    """Give axes their title and labels, and take away all that carries no information."""
    axes.set_facecolor(theme.background)
    bold = {"color": theme.ink, "fontsize": letters.title, "fontweight": "bold"}
    axes.set_title(title, loc="left", pad=letters.pad, **bold)
    label = {"color": theme.muted, "fontsize": letters.label, "labelpad": 0.55 * letters.pad}
    axes.set_xlabel(x_label, **label)
    axes.set_ylabel(y_label, **label)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=theme.muted, linewidth=0.8)
    axes.grid(visible=True, axis="y", color=theme.grid, linewidth=0.8, linestyle="-")
    axes.set_axisbelow(True)
    ticks = {"colors": theme.muted, "labelsize": letters.tick, "labelfontfamily": FONT}
    axes.tick_params(which="both", length=3, width=0.8, **ticks)
    axes.tick_params(axis="y", which="both", length=0)
    axes.minorticks_off()


def add_legend(target: Any, theme: Theme, letters: Letters = PAGE_LETTERS, **placing: Any) -> None:
    """Add a legend without a frame, in the theme's colours.

    Where labels are names of the user's, `handles` have to be given: matplotlib leaves out, of
    those it finds by itself, whatever begins with an underscore.
    """
    look = {"frameon": False, "labelcolor": theme.ink, "fontsize": letters.legend}
    target.legend(**look, **{"handlelength": 1.6, **placing}).set_zorder(10)


def draw_line(axes: Any, points: Iterable[tuple[float, float | None]], **look: Any) -> None:
    """Draw a line through (x, AP) in percent; a place without an AP has no point."""
    known = [(x, 100 * value) for x, value in points if value is not None]
    # Markers are not clipped, or those at the border would be cut. A line without points is, or
    # it would push the axes aside: matplotlib takes it to lie at the figure's corner.
    axes.plot([x for x, _ in known], [y for _, y in known], clip_on=not known, **look)


MOST_LINES = 6  # how many runs a figure can hold apart


def line_styles(theme: Theme, count: int) -> list[dict[str, Any]]:
    """Give the line of every run of a figure a look; no two differ in colour alone."""
    known = (
        (theme.old, "solid", "o", theme.old),
        (theme.new, (0, (4, 1.6)), "^", theme.background),
        (theme.ink, (0, (1.2, 1.2)), "s", theme.ink),
        (theme.ramp[3], (0, (5, 1.2, 1.2, 1.2)), "D", theme.background),
        (theme.ramp[0], (0, (7, 2)), "v", theme.ramp[0]),
        (theme.muted, "solid", "p", theme.background),
    )
    keys = ("color", "linestyle", "marker", "markerfacecolor")
    return [dict(zip(keys, one, strict=True)) for one in known[:count]]


def shade_phases(axes: Any, theme: Theme, sizes: Sequence[int]) -> None:
    """Mark which classes each phase brings, on axes over the ranks 1 to K.

    `sizes` are numbers of classes; they and the phases' names are written where there is room.
    """
    left, total = 0.5, sum(sizes)
    for phase, size in enumerate(sizes):
        right = left + size
        if phase % 2 == 0:
            axes.axvspan(left, right, facecolor=theme.band, edgecolor="none", zorder=0)
        if phase:
            axes.axvline(left, color=theme.muted, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        name = "base" if phase == 0 else str(phase)
        if len(sizes) == 1:
            name = "all classes"
        elif size >= 0.075 * total:  # room for more
            name = "base phase" if phase == 0 else f"phase {phase}"
        if size >= 0.025 * total:
            look = {"ha": "center", "va": "top", "color": theme.muted, "fontsize": 8}
            place = {"transform": axes.get_xaxis_transform(), "linespacing": 1.25, "zorder": 5}
            axes.text((left + right) / 2, 0.985, f"{name}\n{size}", **look, **place)
        left = right


@contextmanager
def any_letter() -> Iterator[None]:
    """Draw a letter that no font has as an empty box, without a warning; tables have it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def render(figure: Any, kind: Literal["png", "pdf"] = "png") -> bytes:
    """Draw a figure, in a PDF its letters as letters; the same figure gives the same bytes."""
    import matplotlib

    finish_texts(figure)
    # The user's own settings must not matter. Publishers ask for TrueType letters (42).
    defaults = matplotlib.rcParamsDefault.items()
    settings = {key: value for key, value in defaults if key.startswith(("savefig.", "pdf."))}
    names = ("Creator", "Producer", "CreationDate") if kind == "pdf" else ("Software",)
    file = io.BytesIO()
    with matplotlib.rc_context(settings | {"pdf.fonttype": 42}), any_letter():
        figure.savefig(file, format=kind, metadata=dict.fromkeys(names))
    return file.getvalue()
