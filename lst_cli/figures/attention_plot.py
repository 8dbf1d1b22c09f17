"""The paper's Fig. 6: the classes of a phase, those with similar attention side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.display import canvas
from lst_cli.display.canvas import LIGHT, Theme
from lst_cli.display.fonts import families, finish_texts, short_name
from lst_cli.display.markup import write_csv
from lst_cli.display.tables import Cell, Column, Table, format_classes, phase_name
from lst_cli.figures import Figure
from lst_cli.figures.attention import Attention, Layout, lay_out, top_base_classes
from lst_cli.figures.labels import place_labels

PAGE_WIDTH = 1080
_LONGEST = 26  # letters of a name


def attention_figure(attention: Attention) -> Figure:
    """Draw the paper's Fig. 6, with its numbers; may need scikit-learn, see `lay_out`."""
    layout = lay_out(attention)
    rows: list[dict[str, Any]] = []
    classes = []
    for name, (x, y), top in zip(
        attention.classes, layout.points.tolist(), top_base_classes(attention), strict=True
    ):
        best = [{"class": base, "m": m} for base, m in top]
        classes.append({"class": name, "x": x, "y": y, "top": best})
        rows.append({"class": name, "x": x, "y": y})
        for place, (base, m) in enumerate(top, start=1):
            rows[-1] |= {f"base_{place}": base, f"m_{place}": m}
    cells = (
        [value if isinstance(value, str) else f"{value:.6g}" for value in row.values()]
        for row in rows
    )
    return Figure(
        "attention",
        caption=attention_caption(attention, layout),
        picture=compose_attention(attention, layout, LIGHT, canvas.PAPER_SCALE, canvas.PAPER_WIDTH),
        csv=write_csv(list(rows[0]), cells),
        numbers={
            "phase": attention.phase,
            "base_classes": len(attention.base_classes),
            "method": layout.method,
            "distance": "Hellinger",
            "perplexity": layout.perplexity,
            "classes": classes,
            "left_out": list(attention.left_out),
        },
        table=_table(attention, rows),
    )


def _table(attention: Attention, rows: list[dict[str, Cell]]) -> Table:
    """The base classes that each class attends to most."""
    base = len(attention.base_classes)
    columns = [Column("class", "class", "text")]
    for key in rows[0]:
        if key.startswith("base_"):
            columns.append(Column(key, "attends to" if key == "base_1" else "then", "text"))
        elif key.startswith("m_"):
            columns.append(Column(key, "m", "share"))
    remark = (
        f"m of a class sums to 1 over the {base:,} base classes; without any preference each has "
        f"{1 / base:.2g}."
    )
    title = f"What the classes of phase {attention.phase} attend to"
    return Table(title, tuple(columns), tuple(rows), remark + _left_out(attention))


def attention_caption(attention: Attention, layout: Layout) -> str:
    """Say what the plot shows, and how its points were placed."""
    count = len(attention.classes)
    what = (
        f"What the {format_classes(count)} of phase {phase_name(attention.phase)} "
        f"resemble{'s' if count == 1 else ''}: attention m of the meta weight generator over the "
        f"{_base_classes(attention)}."
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
    return f"{what} {how}{_left_out(attention)}"


def _left_out(attention: Attention) -> str:
    """A sentence that names the classes without attention, if there are any."""
    names = ", ".join(attention.left_out)
    return f" Without a box that could be used: {names}." if names else ""


def _base_classes(attention: Attention) -> str:
    return format_classes(len(attention.base_classes), "base ")


def attention_size(classes: int, width: int = PAGE_WIDTH) -> tuple[int, int]:
    """Give the page size of the attention plot: room for every name, as far as a page goes.

    Example:
        >>> attention_size(21), attention_size(160), attention_size(1000)
        ((1080, 594), (1080, 668), (1080, 1350))
    """
    wanted = 90 + 3900 * classes / width
    return width, round(min(max(wanted, 0.55 * width), 1.25 * width))


def compose_attention(
    attention: Attention,
    layout: Layout,
    theme: Theme = LIGHT,
    scale: float = 2.0,
    width: int = PAGE_WIDTH,
) -> Any:
    """Lay out a plot of every class as a point with its name.

    Names stand beside their points or, where it is crowded, at the end of a thin line. Those that
    find no room are left out, and the plot says how many they are.
    """
    count = len(attention.classes)
    # Sizes of points and letters, in points of 1/72 inch.
    diameter, size = (5.5, 8.5) if count <= 60 else (4.2, 7.5) if count <= 200 else (2.8, 7.0)
    figure = canvas.make_figure(*attention_size(count, width), theme, scale)
    axes = figure.subplots()
    phase = phase_name(attention.phase)
    title = f"Classes of phase {phase} by their attention over {_base_classes(attention)}"
    # The label takes its room now, so that the axes keep their size when it gets longer.
    canvas.style_axes(axes, theme, title, f"{layout.method}, Hellinger distance", "")
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=theme.grid, linewidth=0.8)
    finish_texts(figure)
    figure.draw_without_rendering()  # now the axes are where they will be
    _set_limits(axes, layout)
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
    names = [short_name(one, _LONGEST, attention.ids.get(one)) for one in attention.classes]
    with canvas.any_letter():
        shown = _draw_names(axes, theme, names, layout.points, diameter, size)
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
    (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _draw_names(
    axes: Any,
    theme: Theme,
    names: list[str],
    points: NDArray[np.float64],
    diameter: float,
    size: float,
) -> int:
    """Write the names into the plot, and give how many there was room for."""
    dots = axes.figure.dpi / 72
    renderer = axes.figure.canvas.get_renderer()
    pad = 1.2 * dots  # names apart by more than a hair
    look = {"ha": "center", "va": "center_baseline", "color": theme.ink, "fontsize": size}
    texts = [
        # A dollar sign in a name is no formula.
        axes.text(0, 0, name, parse_math=False, family=families(name), **look, zorder=6)
        for name in names
    ]
    widths = [text.get_window_extent(renderer).width + 2 * pad for text in texts]
    left, bottom, right, top = axes.bbox.extents
    places = place_labels(
        axes.transData.transform(points),
        # All lines are as high as the highest.
        np.column_stack([widths, np.full(len(names), 1.12 * size * dots)]),
        (left + pad, bottom + pad, right - pad, top - pad),
        radius=diameter / 2 * dots,
    )
    to_axes = axes.transAxes.inverted().transform
    for text, place in zip(texts, places, strict=True):
        text.set_in_layout(False)
        if place is None:
            text.remove()
            continue
        left, bottom, right, top = place.box
        text.set(position=to_axes(((left + right) / 2, (bottom + top) / 2)))
        text.set_transform(axes.transAxes)
        if place.line is not None:
            ends = to_axes(np.array(place.line)).T
            line = {"color": theme.muted, "linewidth": 0.6, "alpha": 0.8, "zorder": 3}
            axes.plot(*ends, transform=axes.transAxes, **line)[0].set_in_layout(False)
    return sum(place is not None for place in places)
