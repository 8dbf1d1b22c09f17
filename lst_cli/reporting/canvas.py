"""The look of every plot: colours, sizes, and a figure that knows no global state.

Figures are made through matplotlib's objects and drawn by Agg, so that nothing
here changes what a caller's own plots look like, and no display is needed.
matplotlib is imported when the first figure is made: `lst report --help` has no
use for it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DOTS_PER_INCH = 100
FONT = "DejaVu Sans"  # ships with matplotlib, so plots are the same everywhere


@dataclass(frozen=True)
class Theme:
    """The colours of a plot; blue and orange stay apart for every kind of colour vision.

    Attributes:
        name: "light" or "dark".
        background: Behind everything.
        ink: Titles and the most important line.
        muted: Axes, ticks, remarks.
        grid: Lines that help the eye and must not catch it.
        band: Every other phase's background.
        old: What earlier phases learned.
        new: What this phase learned.
        plain: A quantity before anything was done to it.
        ramp: Rarest to most frequent: warm colours for few instances, cool
            ones for many, the strongest at both ends.
    """

    name: str
    background: str
    ink: str
    muted: str
    grid: str
    band: str
    old: str
    new: str
    plain: str
    ramp: tuple[str, ...]


LIGHT = Theme(
    name="light",
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
    name="dark",
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

    The rarer half, and the middle one, is warm; the rest is cool. The two are
    never mixed, which would give a grey that means neither.

    Example:
        >>> ramp_colours(LIGHT, 3)
        ['#9c2f08', '#f2a53c', '#123a6b']
    """
    half = len(theme.ramp) // 2
    rare = (count + 1) // 2
    warm = _spread(theme.ramp[:half], rare)
    # Cool colours are taken from the strong end, the most frequent bin's.
    cool = _spread(theme.ramp[half:][::-1], count - rare)[::-1]
    return warm + cool


def _spread(colours: Sequence[str], count: int) -> list[str]:
    found = []
    for index in range(count):
        position = index * (len(colours) - 1) / max(count - 1, 1)
        left = min(int(position), len(colours) - 2)
        found.append(_mix(colours[left], colours[left + 1], position - left))
    return found


def _mix(first: str, second: str, share: float) -> str:
    pairs = zip(bytes.fromhex(first[1:]), bytes.fromhex(second[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def make_figure(width: int, height: int, theme: Theme, scale: float) -> Any:
    """Make an empty figure that lays itself out and draws with Agg.

    Args:
        width: Pixels at scale 1.
        height: Pixels at scale 1.
        theme: Its colours.
        scale: Pixels of the image per pixel of the page; 2 is sharp on any screen.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH),
        dpi=DOTS_PER_INCH * scale,
        facecolor=theme.background,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, hspace=0.06, wspace=0.04),
    )
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Any, theme: Theme, title: str, x_label: str, y_label: str) -> None:
    """Give axes their title and labels, and take away all that carries no information."""
    axes.set_facecolor(theme.background)
    axes.set_title(
        title,
        loc="left",
        color=theme.ink,
        fontfamily=FONT,
        fontsize=10.5,
        fontweight="bold",
        pad=9,
    )
    axes.set_xlabel(x_label, color=theme.muted, fontfamily=FONT, fontsize=9, labelpad=5)
    axes.set_ylabel(y_label, color=theme.muted, fontfamily=FONT, fontsize=9, labelpad=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.muted)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.grid(visible=True, axis="y", color=theme.grid, linewidth=0.8, linestyle="-")
    axes.set_axisbelow(True)
    axes.tick_params(
        which="both",
        colors=theme.muted,
        labelsize=8.5,
        labelfontfamily=FONT,
        length=3,
        width=0.8,
    )
    axes.tick_params(axis="y", which="both", length=0)
    axes.minorticks_off()


def add_legend(target: Any, theme: Theme, **placing: Any) -> None:
    """Add a legend without a frame, in the theme's colours."""
    from matplotlib.font_manager import FontProperties

    legend = target.legend(
        frameon=False,
        labelcolor=theme.ink,
        prop=FontProperties(family=FONT, size=8.5),
        handlelength=1.6,
        **placing,
    )
    legend.set_zorder(10)


def shade_phases(axes: Any, theme: Theme, sizes: Sequence[int]) -> None:
    """Mark which classes each phase brings, on axes with the class order on x.

    Every other phase lies on a band, borders are thin lines, and the phase's
    name stands above its band where there is room for it.

    Args:
        axes: Axes over ranks 1 to K, already given its limits.
        theme: Its colours.
        sizes: Classes of each phase, base first.
    """
    total = sum(sizes)
    left = 0.5
    for phase, size in enumerate(sizes):
        right = left + size
        if phase % 2 == 0:
            axes.axvspan(left, right, facecolor=theme.band, edgecolor="none", zorder=0)
        if phase:
            axes.axvline(left, color=theme.muted, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        if size >= 0.025 * total:
            name = "base" if phase == 0 else str(phase)
            wide = "base phase" if phase == 0 else f"phase {phase}"
            axes.text(
                (left + right) / 2,
                0.985,
                f"{wide if size >= 0.075 * total else name}\n{size}",
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                color=theme.muted,
                fontfamily=FONT,
                fontsize=8,
                linespacing=1.25,
                zorder=5,
            )
        left = right


def render(figure: Any) -> bytes:
    """Draw a figure to PNG; the same figure always gives the same bytes."""
    file = io.BytesIO()
    # Not savefig, which reads the user's own matplotlib settings. The metadata
    # would name the version of matplotlib by default.
    figure.canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()
