"""The tables and the plot of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lst_cli.compare.paired import ComparedRow, ComparedRun, Comparison, Difference, Estimate
from lst_cli.display.canvas import LIGHT, add_legend, make_figure, render, style_axes
from lst_cli.display.fonts import short_name
from lst_cli.display.markup import escape_markdown, render_markdown
from lst_cli.display.tables import Column, Table, bin_heading, format_classes, format_value

CLEAR = "*"  # marks a difference whose interval excludes 0
SETTINGS_SHOWN = 12  # of those that differ, in a sentence
NAMES = {"segm": "Mask", "bbox": "Box"}
WIDTH = 1080  # this and the next in pixels of the page; an image has `scale` times as many
_SURROUNDINGS = 150
_LONGEST = 200  # letters of a run's name
_MARKERS = ("o", "^", "s", "D", "v", "p", "X", "h")
_COLOURS = (LIGHT.old, LIGHT.new, LIGHT.ink, LIGHT.ramp[3], LIGHT.ramp[0], LIGHT.muted)
_SPREAD = 0.5  # of a row's height, between its first and its last run

_IMAGE_PASSES = Column("image_passes", "image passes", "integer", description="in training")


def row_name(row: ComparedRow) -> str:
    """The name of a set of classes; a spreadsheet takes what begins with = as a formula."""
    return f"instances {bin_heading(row.name)}" if row.what == "bin" else row.name


def compare_table(comparison: Comparison) -> Table:
    """Make the table of AP of every run and of the differences from the first."""
    names = [run.name for run in comparison.runs]
    columns = [
        Column("row", "classes", "text", row_name),
        Column("classes", "number", "integer"),
        Column("with_ground_truth", "with ground truth", "integer"),
    ]
    for place, name in enumerate(names):
        columns.append(Column(f"AP({name})", name, get=_estimate(place)))
    for place, name in enumerate(names[1:]):
        heading = "difference" if len(names) == 2 else f"{name} minus {names[0]}"
        columns += _difference_columns(place, name, heading)
    return Table.of(
        _title(comparison),
        comparison.rows,
        columns,
        "AP in percent; differences in points, each minus the first. From and to: the 95 % "
        f"interval over {comparison.resamples:,} resamples of the images, the same for both. "
        f"{CLEAR} marks intervals that exclude 0.",
    )


def _estimate(place: int) -> Callable[[ComparedRow], float | None]:
    return lambda row: row.estimates[place].AP


def _difference_columns(place: int, name: str, heading: str) -> Iterator[Column]:
    def bound(end: int) -> Callable[[ComparedRow], float | None]:
        return lambda row: (row.differences[place].interval or (None, None))[end]

    def clear(row: ComparedRow) -> str:
        return CLEAR if row.differences[place].clear else ""

    yield Column(f"difference({name})", heading, "change", lambda row: row.differences[place].AP)
    yield Column(f"low({name})", "from", "change", bound(0))
    yield Column(f"high({name})", "to", "change", bound(1))
    meaning = f"{CLEAR}: the interval is all to one side of 0"
    yield Column(f"clear({name})", "", "text", clear, description=meaning)


def runs_table(comparison: Comparison) -> Table:
    """Make the table of what is compared."""
    columns = (
        Column("run", "run", "text", lambda run: run.name),
        Column("phase", "phase", "phase"),
        Column("classes", "classes seen", "integer"),
        Column("detections", "detections", "integer"),
        _IMAGE_PASSES,
        Column("source", "source", "text"),
    )
    return Table.of("What is compared", comparison.runs, columns)


def layout_table(comparison: Comparison) -> Table:
    """Make the table with a row a run: the layout of the paper's Table 1."""

    def ap(row: ComparedRow) -> Callable[[ComparedRun], float | None]:
        return lambda run: row.estimates[comparison.runs.index(run)].AP

    columns = [Column("run", "run", "text", lambda run: run.name)]
    for one in sorted(comparison.rows, key=lambda one: one.what == "all"):  # as in the paper
        heading = bin_heading(one.name) if one.what == "bin" else one.name
        count = one.with_ground_truth
        columns.append(Column(f"AP({one.name})", heading, get=ap(one), classes=count))
    columns.append(_IMAGE_PASSES)
    return Table.of(_title(comparison), comparison.runs, columns, "AP in percent.")


def differences_table(comparison: Comparison) -> Table:
    """Make the table of differences from the first run, with a row for each set of classes."""

    def text(place: int) -> Callable[[ComparedRow], str | None]:
        def of(row: ComparedRow) -> str | None:
            one = row.differences[place]
            if one.AP is None or one.interval is None:
                return None if one.AP is None else format_value("change", one.AP)
            shown = [format_value("change", value) for value in (one.AP, *one.interval)]
            return "{} ({} to {})".format(*shown) + CLEAR * one.clear

        return of

    first, *others = comparison.runs
    columns = [Column("row", "classes", "text", row_name)]
    for place, run in enumerate(others):
        columns.append(Column(f"difference({run.name})", run.name, "change", text(place)))
    return Table.of(
        f"{NAMES[comparison.iou_type]} AP minus that of {first.name}",
        comparison.rows,
        columns,
        f"Points. In brackets the 95 % interval over {comparison.resamples:,} resamples of the "
        f"images, the same for both. {CLEAR} marks intervals that exclude 0.",
    )


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All tables: two runs stand side by side, more than two have a row each."""
    if len(comparison.runs) == 2:
        return [runs_table(comparison), compare_table(comparison)]
    return [runs_table(comparison), layout_table(comparison), differences_table(comparison)]


def difference_sentences(comparison: Comparison) -> list[str]:
    """A sentence for each run whose settings differ from the first."""
    first = comparison.runs[0]
    found = []
    for run in comparison.runs[1:]:
        shown = [str(one) for one in run.differs[:SETTINGS_SHOWN]]
        if len(run.differs) > len(shown):
            shown.append(f"and {len(run.differs) - len(shown)} more, see --json")
        if shown:
            found.append(f"{run.name} differs from {first.name}: {'; '.join(shown)}")
    return found


def render_comparison_markdown(comparison: Comparison) -> str:
    """Render a comparison as a Markdown page."""
    parts = ["# Comparison"]
    for table in comparison_tables(comparison):
        parts += [f"## {escape_markdown(table.title)}", render_markdown(table).rstrip()]
        if table.remark:
            parts.append(escape_markdown(table.remark))
    if sentences := [*comparison.notes, *difference_sentences(comparison)]:
        parts.append("\n".join(f"- {escape_markdown(one)}" for one in sentences))
    return "\n\n".join(parts) + "\n"


def _title(comparison: Comparison) -> str:
    return (
        f"{NAMES[comparison.iou_type]} AP of the same {comparison.classes:,} classes in the same "
        f"{comparison.images:,} images"
    )


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
