"""The paper's Fig. 6: the classes of a phase, those with similar attention side by side.

The attention m of a class (section 3.4) is a distribution over the base classes. How far two
classes are apart is the Hellinger distance: the Euclidean distance of the square roots. Unlike
Kullback-Leibler it is a metric without infinities, and small coefficients count too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lst_cli.display import canvas
from lst_cli.display.canvas import LIGHT, Theme
from lst_cli.display.fonts import families, finish_texts, short_name
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Cell, Column, Table, format_classes, phase_name
from lst_cli.errors import LstError
from lst_cli.figures import Figure
from lst_cli.figures.labels import place_labels
from lst_cli.figures.shown_objects import class_names
from lst_cli.files import require_regular
from lst_cli.workspace.store import Workspace, require_unchanged

Floats = NDArray[np.float64]

_TOP = 3  # how many base classes are named for each class
_FEWEST = 4  # t-SNE needs more points than its perplexity, and a perplexity of 2
_MOST_EXACT = 300  # beyond, the exact gradient takes long and Barnes-Hut is good enough
_TOLERANCE = 1e-3
_PAGE_WIDTH = 1080
_LONGEST = 26  # letters of a name


@dataclass(frozen=True)
class Attention:
    """The attention coefficients of the classes that a phase brought."""

    phase: int
    classes: tuple[str, ...]  # names in class order, C of them
    base_classes: tuple[str, ...]  # names in class order, b of them
    weights: Floats  # m, shape (C, b); rows sum to 1
    left_out: tuple[str, ...] = ()  # classes without a usable box, which have no m
    ids: Mapping[str, int] = field(default_factory=dict)  # by name, for names no font can draw


class Layout(NamedTuple):
    """Classes in the plane."""

    points: Floats  # shape (C, 2); centred, the longest extent along x
    perplexity: float | None  # of the t-SNE; None for principal components, with too few classes

    @property
    def method(self) -> str:
        """How the points were found, in words."""
        return "principal components" if self.perplexity is None else "t-SNE"


def newest_attention(workspace: Workspace) -> Attention | None:
    """The attention of the newest finished phase that a generator wrote rows for."""
    names = class_names(workspace)
    order = [names[category_id] for category_id in workspace.split.class_order]
    for phase in reversed(workspace.done_phases()):
        path = workspace.phase(phase).attention
        if path.exists():
            hint = (
                f"put the file back from a copy, or move {path} elsewhere and do without the figure"
            )
            require_unchanged(path, workspace.require_done(phase).attention_sha256, hint)
            labels = workspace.split.labels_of(phase)
            own, base = order[labels.start : labels.stop], order[: workspace.split.base_classes]
            ids = {name: category_id for category_id, name in names.items()}
            return replace(load_attention(path, phase, own, base, hint), ids=ids)
    return None


def load_attention(
    path: Path, phase: int, classes: Sequence[str], base_classes: Sequence[str], hint: str
) -> Attention:
    """Read and check the attention of a phase, shape (C, b), as `newest_attention` does."""
    try:
        require_regular(path)
        # Mapped, so that a damaged head that promises terabytes allocates nothing.
        mapped = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it holds several arrays")
        shape, wanted = mapped.shape, (len(classes), len(base_classes))
        if shape != wanted:
            raise ValueError(f"its shape is {shape}, and the split has {wanted}")
        if mapped.dtype.kind != "f":
            raise ValueError(f"it holds {mapped.dtype}, not floating-point numbers")
        weights = np.array(mapped, dtype=np.float64)
        sums = weights.sum(axis=1)
        known = (weights != 0).any(axis=1)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("not every number is 0 or more")
        if (np.abs(sums[known] - 1) > _TOLERANCE).any():
            raise ValueError("not every row sums to 1")
        if not known.any():
            raise ValueError("every row is zero")
    except Exception as error:  # numpy evaluates the head as Python, which may raise anything
        reason = getattr(error, "strerror", None) or error
        raise LstError(f"{path}: no attention of phase {phase}: {reason}", hint) from error
    return Attention(
        phase,
        tuple(name for name, use in zip(classes, known, strict=True) if use),
        tuple(base_classes),
        weights[known] / sums[known, None],
        tuple(name for name, use in zip(classes, known, strict=True) if not use),
    )


def can_lay_out(attention: Attention) -> bool:
    """Whether scikit-learn is installed, if `lay_out` needs it."""
    return len(attention.classes) < _FEWEST or importlib.util.find_spec("sklearn") is not None


def lay_out(attention: Attention) -> Layout:
    """Lay one class or more out so that those with similar attention lie together.

    The same attention always gives the same layout. An LstError is raised if scikit-learn is
    needed and not installed.
    """
    roots = np.sqrt(attention.weights)  # (C, b), Hellinger distance
    plane = _principal(roots)  # (C, 2)
    if len(roots) < _FEWEST:
        return Layout(plane, None)
    perplexity = choose_perplexity(len(roots))
    return Layout(_principal(_tsne(roots, plane, perplexity)), perplexity)


def choose_perplexity(classes: int) -> float:
    """Choose how many neighbours a class has, roughly: a third of the classes, from 2 to 30.

    Example:
        >>> [choose_perplexity(classes) for classes in (4, 22, 40, 1000)]
        [2.0, 7.0, 13.0, 30.0]
    """
    return float(min(max((classes - 1) / 3, 2.0), 30.0))


def top_base_classes(attention: Attention) -> list[list[tuple[str, float]]]:
    """For each class, up to three base classes it attends to most, with m; ties in class order."""
    order = np.argsort(-attention.weights, axis=1, kind="stable")[:, :_TOP]
    return [
        [(attention.base_classes[base], float(weights[base])) for base in bases]
        for bases, weights in zip(order, attention.weights, strict=True)
    ]


def _tsne(roots: Floats, plane: Floats, perplexity: float) -> Floats:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise LstError(
            f"the attention figure needs scikit-learn: {error}", "pip install scikit-learn"
        ) from error
    # scikit-learn's own start divides by zero where all classes are alike. The noise lets points
    # apart that start at one place, or on one line.
    noise = np.random.default_rng(0).standard_normal(plane.shape)
    spread = plane[:, 0].std()
    start = 1e-4 * (plane / spread if spread > 1e-9 else noise) + 1e-6 * noise
    method = "exact" if len(roots) <= _MOST_EXACT else "barnes_hut"
    given = {"perplexity": perplexity, "init": start.astype(np.float32), "method": method}
    found: Floats = TSNE(**given, random_state=0, n_jobs=1).fit_transform(roots)
    return found.astype(np.float64)


def _principal(values: Floats) -> Floats:
    """The first two principal components; a direction's largest value is above 0."""
    left, lengths, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    found = np.zeros((len(values), 2))
    kept = min(2, len(lengths))
    found[:, :kept] = left[:, :kept] * lengths[:kept]
    sizes = np.abs(found)
    largest = (sizes >= (1 - 1e-6) * sizes.max(axis=0)).argmax(axis=0)  # the first of equals
    return np.asarray(found * np.where(found[largest, [0, 1]] < 0, -1.0, 1.0))


def attention_figure(attention: Attention) -> Figure:
    """Draw the paper's Fig. 6, with its numbers; may need scikit-learn, see `lay_out`."""
    layout, tops = lay_out(attention), top_base_classes(attention)
    rows: list[dict[str, Any]] = []
    classes = []
    for name, (x, y), top in zip(attention.classes, layout.points.tolist(), tops, strict=True):
        point = {"class": name, "x": x, "y": y}
        classes.append(point | {"top": [{"class": base, "m": m} for base, m in top]})
        rows.append(point)
        for place, (base, m) in enumerate(top, start=1):
            rows[-1] |= {f"base_{place}": base, f"m_{place}": m}
    cells = [
        {key: value if isinstance(value, str) else f"{value:.6g}" for key, value in row.items()}
        for row in rows
    ]
    return Figure(
        "attention",
        caption=attention_caption(attention, layout),
        picture=compose_attention(attention, layout, LIGHT, canvas.PAPER_SCALE, canvas.PAPER_WIDTH),
        csv=render_csv(Table.of_rows("Attention", cells)),
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


def _table(attention: Attention, rows: Sequence[Mapping[str, Cell]]) -> Table:
    base = len(attention.base_classes)
    columns = [Column("class", "class", "text")]
    for place in range(1, 1 + min(_TOP, base)):
        heading = "attends to" if place == 1 else "then"
        columns += [Column(f"base_{place}", heading, "text"), Column(f"m_{place}", "m", "share")]
    remark = (
        f"m of a class sums to 1 over the {base:,} base classes; without any preference each has "
        f"{1 / base:.2g}.{_left_out(attention)}"
    )
    title = f"What the classes of phase {attention.phase} attend to"
    return Table(title, tuple(columns), tuple(rows), remark)


def attention_caption(attention: Attention, layout: Layout) -> str:
    """Say what the plot shows, and how its points were placed."""
    count = len(attention.classes)
    what = (
        f"What the {format_classes(count)} of phase {phase_name(attention.phase)} "
        f"resemble{'s' if count == 1 else ''}: attention m of the meta weight generator over the "
        f"{format_classes(len(attention.base_classes), 'base ')}."
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


def attention_size(classes: int, width: int = _PAGE_WIDTH) -> tuple[int, int]:
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
    width: int = _PAGE_WIDTH,
) -> Any:
    """Lay out a plot of every class as a point with its name.

    Names stand beside their points or, where it is crowded, at the end of a thin line. The plot
    says how many find no room.
    """
    count = len(attention.classes)
    # Sizes of points and letters, in points of 1/72 inch.
    diameter, size = (5.5, 8.5) if count <= 60 else (4.2, 7.5) if count <= 200 else (2.8, 7.0)
    figure = canvas.make_figure(*attention_size(count, width), theme, scale)
    axes = figure.subplots()
    base = format_classes(len(attention.base_classes), "base ")
    title = f"Classes of phase {phase_name(attention.phase)} by their attention over {base}"
    # The label takes its room now, so that the axes keep their size when it gets longer.
    canvas.style_axes(axes, theme, title, f"{layout.method}, Hellinger distance", "")
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=theme.grid, linewidth=0.8)
    finish_texts(figure)
    figure.draw_without_rendering()  # now the axes are where they will be
    _set_limits(axes, layout)
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": diameter}
    look |= {"markerfacecolor": theme.new, "markeredgecolor": theme.background}
    axes.plot(*layout.points.T, **look, markeredgewidth=0.5, zorder=4)
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
        half = axes.bbox.size * (half / axes.bbox.size).max()
    (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _draw_names(
    axes: Any, theme: Theme, names: list[str], points: Floats, diameter: float, size: float
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
