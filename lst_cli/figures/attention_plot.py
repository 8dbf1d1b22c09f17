"""The paper's Fig. 6: the classes of a phase, those with similar attention side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.display.canvas import (
    LIGHT,
    Theme,
    any_letter,
    make_figure,
    render,
    style_axes,
)
from lst_cli.display.fonts import families, short_name
from lst_cli.display.tables import phase_name
from lst_cli.figures.attention import Attention, Layout
from lst_cli.figures.labels import Place, place_labels

PAGE_WIDTH = 1080
_LONGEST = 26  # letters of a name


def attention_size(classes: int, width: int = PAGE_WIDTH) -> tuple[int, int]:
    """Give the page size of the attention plot: room for every name, as far as a page goes.

    Example:
        >>> attention_size(21), attention_size(160), attention_size(1000)
        ((1080, 594), (1080, 668), (1080, 1350))
    """
    wanted = 90 + 3900 * classes / width
    return width, round(min(max(wanted, 0.55 * width), 1.25 * width))


def attention_caption(attention: Attention, layout: Layout) -> str:
    """Say what the plot shows, and how its points came to lie where they are."""
    count = len(attention.classes)
    base = len(attention.base_classes)
    what = (
        f"What the {count:,} class{'' if count == 1 else 'es'} of phase "
        f"{phase_name(attention.phase)} resemble{'s' if count == 1 else ''}: attention m of the "
        f"meta weight generator over the {base:,} base class{'' if base == 1 else 'es'}."
    )
    if layout.perplexity is None:
        how = (
            "Principal components of the square roots of m, since t-SNE needs four classes: "
            "distances in the plane are Hellinger distances."
        )
    else:
        how = (
            "Classes that attend to the same base classes lie together. t-SNE with the Hellinger "
            f"distance, perplexity {layout.perplexity:.1f}; the axes have no unit, and large "
            "distances mean little."
        )
    return " ".join([what, how, *left_out_sentence(attention)])


def left_out_sentence(attention: Attention) -> list[str]:
    """Name the classes that have no attention, if there are any."""
    if not attention.left_out:
        return []
    return [f"Without a box that could be used: {', '.join(attention.left_out)}."]


def plot_attention(
    attention: Attention,
    layout: Layout,
    theme: Theme = LIGHT,
    scale: float = 2.0,
    width: int = PAGE_WIDTH,
) -> bytes:
    """Draw every class as a point with its name, see `compose_attention`.

    Returns:
        A PNG of `attention_size` times `scale`.
    """
    return render(compose_attention(attention, layout, theme, scale, width))


def compose_attention(
    attention: Attention,
    layout: Layout,
    theme: Theme = LIGHT,
    scale: float = 2.0,
    width: int = PAGE_WIDTH,
) -> Any:
    """Lay out a plot of every class as a point with its name.

    Names stand beside their points or, where it is crowded, at the end of a thin line. Those
    that find no room are left out, and the plot says how many they are.

    Args:
        attention: Of at least one class.
        layout: Its classes in the plane.
        theme: Colours.
        scale: Image pixels per page pixel.
        width: Page pixels.

    Returns:
        The figure, to be rendered.
    """
    count = len(attention.classes)
    base = len(attention.base_classes)
    figure = make_figure(*attention_size(count, width), theme, scale)
    axes = figure.subplots()
    title = (
        f"Classes of phase {phase_name(attention.phase)} by their attention over "
        f"{base:,} base class{'' if base == 1 else 'es'}"
    )
    method = "principal components" if layout.perplexity is None else "t-SNE"
    # The label holds its place, so that the axes are as large with what is added to it.
    style_axes(axes, theme, title, f"{method}, Hellinger distance", "")
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(theme.grid)
        spine.set_linewidth(0.8)
    figure.draw_without_rendering()  # now the axes are where they will be
    _set_limits(axes, layout)
    diameter = 5.5 if count <= 60 else 4.2 if count <= 200 else 2.8  # points of 1/72 inch
    axes.plot(
        *layout.points.T,
        linestyle="none",
        marker="o",
        markersize=diameter,
        markerfacecolor=theme.new,
        markeredgecolor=theme.background,
        markeredgewidth=0.5,
        zorder=4,
    )
    with any_letter():
        shown = _draw_names(figure, axes, theme, attention, layout.points, diameter)
    if shown < count:
        axes.set_xlabel(f"{axes.get_xlabel()}; no room for {count - shown:,} of {count:,} names")
    return figure


def _set_limits(axes: Any, layout: Layout) -> None:
    low, high = layout.points.min(axis=0), layout.points.max(axis=0)
    # Where all lie at one place, or on one line, there is still an axis. Names stick out
    # further to the sides than up.
    half = np.maximum((high - low) / 2, 0.05 * max(float((high - low).max()), 1e-3))
    half = half * [1.16, 1.12]
    if layout.perplexity is None:
        # Distances can be read off: as long on one axis as on the other.
        pixels = np.array([axes.bbox.width, axes.bbox.height])
        half = pixels * (half / pixels).max()
    left, bottom = (low + high) / 2 - half
    right, top = (low + high) / 2 + half
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _draw_names(
    figure: Any,
    axes: Any,
    theme: Theme,
    attention: Attention,
    points: NDArray[np.float64],
    diameter: float,
) -> int:
    """Write the names into the plot, and tell how many there was room for."""
    count = len(attention.classes)
    font = {"size": 8.5 if count <= 60 else 7.5 if count <= 200 else 7.0}
    names = [short_name(one, _LONGEST, attention.ids.get(one)) for one in attention.classes]
    renderer = figure.canvas.get_renderer()
    sizes = np.array([_measure(figure, renderer, name, font) for name in names])
    dots = figure.dpi / 72
    pad = 1.2 * dots  # names apart by more than a hair
    box = axes.bbox
    places = place_labels(
        axes.transData.transform(points),
        sizes + np.array([2 * pad, 0]),
        (box.x0 + pad, box.y0 + pad, box.x1 - pad, box.y1 - pad),
        radius=diameter / 2 * dots,
    )
    to_axes = axes.transAxes.inverted().transform
    for name, place in zip(names, places, strict=True):
        if place is not None:
            _draw_name(axes, theme, name, place, font, to_axes)
    return sum(place is not None for place in places)


def _draw_name(
    axes: Any, theme: Theme, name: str, place: Place, font: dict[str, Any], to_axes: Any
) -> None:
    left, bottom, right, top = place.box
    text = axes.text(
        *to_axes(((left + right) / 2, (bottom + top) / 2)),
        name,
        transform=axes.transAxes,
        ha="center",
        va="center_baseline",
        color=theme.ink,
        zorder=6,
        parse_math=False,  # a dollar sign in a name is no formula
        family=families(name),
        **font,
    )
    text.set_in_layout(False)
    if place.line is not None:
        line = axes.plot(
            *to_axes(np.array(place.line)).T,
            transform=axes.transAxes,
            color=theme.muted,
            linewidth=0.6,
            alpha=0.8,
            zorder=3,
        )[0]
        line.set_in_layout(False)


def _measure(figure: Any, renderer: Any, name: str, font: dict[str, Any]) -> tuple[float, float]:
    text = figure.text(0, 0, name, parse_math=False, family=families(name), **font)
    box = text.get_window_extent(renderer)
    text.remove()
    return box.width, 1.12 * font["size"] * figure.dpi / 72  # all lines are as high as the highest
