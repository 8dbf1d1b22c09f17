"""Every picture of a report: AP by bin, old against new, AP of each class, counts, images.

Sizes are in pixels of the page: an image has `scale` times as many. Every number of classes in a
mean stands in the legend beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, NamedTuple, get_args

from lst_cli.ap.metrics import Metrics, comparable
from lst_cli.display import canvas, class_plots, tables
from lst_cli.display.canvas import DARK, LIGHT, Theme
from lst_cli.display.class_plots import RANK, WIDE_SIZE, phase_sizes
from lst_cli.display.objects import Panel
from lst_cli.display.panels import draw_panel
from lst_cli.display.tables import ReplayBalance, ReportClass
from lst_cli.errors import LstError
from lst_cli.figures.attention import attention_caption, attention_size, compose_attention, lay_out
from lst_cli.progress import Progress, silent
from lst_cli.report.data import ReportData
from lst_cli.settings.models import StepSampling

BIN_SIZE = (640, 400)
OLD_NEW_SIZE = (440, 400)

_MARKERS = ("X", "s", "^", "D", "v", "h", "p", "d")


class Plot(NamedTuple):
    """One plot in both themes."""

    name: str  # its file name without suffix
    caption: str  # one sentence
    size: tuple[int, int]  # width and height on the page
    light: bytes  # PNG for a light page, and for the file
    dark: bytes

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        return self.size[0] >= WIDE_SIZE[0]


class Artwork(NamedTuple):
    """The plots, and one JPEG for each panel of the report that could be drawn."""

    plots: Sequence[Plot] = ()
    panels: Sequence[tuple[Panel, bytes]] = ()


def draw_artwork(
    data: ReportData,
    progress: Progress = silent,
    skip: Callable[[LstError], None] | None = None,
) -> Artwork:
    """Draw every plot and panel of a report; `skip` is called with why a panel is left out."""
    plots, panels = [], []
    planned = list(_plan_plots(data))
    total = len(planned) + len(data.panels)
    for done, (name, caption, size, draw) in enumerate(planned, start=1):
        plots.append(Plot(name, caption, size, light=draw(LIGHT), dark=draw(DARK)))
        progress("pictures", done, total)
    for done, panel in enumerate(data.panels, start=len(planned) + 1):
        try:
            panels.append((panel, draw_panel(panel)))
        except LstError as error:
            if skip is None:
                raise
            skip(error)
        progress("pictures", done, total)
    return Artwork(plots, panels)


def _plan_plots(
    data: ReportData,
) -> Iterator[tuple[str, str, tuple[int, int], Callable[[Theme], bytes]]]:
    """Name, caption, size and drawing of each plot."""
    metrics = data.metrics
    yield (
        "ap_by_bin",
        "Mask AP by bins of training instances after each phase. Bins overlap; a bin has no "
        "point before its first class is learned.",
        BIN_SIZE,
        lambda theme: plot_ap_by_bin(metrics, theme, joint=data.joint),
    )
    if not data.joint:  # where all classes are learned at once, none is old
        yield (
            "old_new",
            "Classes of earlier phases, of the phase itself, and both.",
            OLD_NEW_SIZE,
            lambda theme: plot_old_new(metrics, theme),
        )
    gap = " The gap between a dashed line and the thick one is what a phase's classes lost or "
    yield (
        "class_ap",
        "Every class with ground truth, after the last phase."
        + (f"{gap}gained since." if len(metrics) > 1 else ""),
        WIDE_SIZE,
        lambda theme: plot_class_ap(data.classes, metrics, theme),
    )
    yield (
        "class_counts",
        "Training instances of each class, and where the phases begin.",
        WIDE_SIZE,
        lambda theme: class_plots.plot_class_counts(data.classes, theme),
    )
    if data.replay:
        counted = " The other objects in an image of a sample count too."
        yield (
            "replay_balance",
            "Grey: instances of the seen classes in all their images. Colour: what the phase "
            f"trains on{_replay_clause(data.replay)}"
            + (counted if data.settings.get("step.other_objects") == "count" else ""),
            class_plots.replay_size(len(data.replay)),
            lambda theme: class_plots.plot_replay_balance(data.replay, theme),
        )
    if data.attention is not None:
        attention, layout = data.attention, lay_out(data.attention)
        yield (
            "attention",
            attention_caption(attention, layout),
            attention_size(len(attention.classes)),
            lambda theme: canvas.render(compose_attention(attention, layout, theme)),
        )


def _replay_clause(balances: Sequence[ReplayBalance]) -> str:
    ways = sorted({balance.replay for balance in balances if balance.phase})
    if ways == ["balanced"]:
        return ", where old classes are replayed until they have as many instances as the new ones."
    keys = ("step.sampler" if way in get_args(StepSampling) else "step.replay" for way in ways)
    words = [f"{key} = {way}" for key, way in zip(keys, ways, strict=True)]
    return f" ({', '.join(words)})." if words else "."


class _Line(NamedTuple):
    """AP over the phases."""

    label: str
    values: list[float | None]
    colour: str
    marker: str
    width: float = 1.8


def plot_ap_by_bin(
    metrics: Sequence[Metrics],
    theme: Theme = LIGHT,
    scale: float = 2.0,
    *,
    joint: bool = False,
) -> bytes:
    """Draw mask AP of every bin, and of all classes, over the phases."""
    bins = tables.bins_in_order(metrics)
    lines = []
    colours = canvas.ramp_colours(theme, len(bins))
    for entry, colour, marker in zip(bins, colours, cycle(_MARKERS), strict=False):
        found = [tables.find_bin(metric, entry) for metric in metrics]
        classes = tables.format_classes(found[-1].with_ground_truth if found[-1] else 0)
        label = f"{tables.bin_heading(entry.bin)}  ({classes})"
        lines.append(_Line(label, [one.AP if one else None for one in found], colour, marker))
    label = f"all seen  ({tables.format_classes(tables.classes_with_ground_truth(metrics[-1]))})"
    lines.append(_Line(label, [one.segm.AP for one in metrics], theme.ink, "o", 2.6))
    figure = canvas.make_figure(*BIN_SIZE, theme, scale)
    axes = figure.subplots()
    canvas.style_axes(axes, theme, "Mask AP by training instances", "phase", "mask AP (%)")
    _draw_phases(axes, metrics, lines, joint)
    canvas.add_legend(figure, theme, loc="outside right center", labelspacing=0.75)
    return canvas.render(figure)


def plot_old_new(metrics: Sequence[Metrics], theme: Theme = LIGHT, scale: float = 2.0) -> bytes:
    """Draw mask AP of old classes, new classes and both; the base phase has no old classes."""
    last = metrics[-1]
    new = sum(one.with_ground_truth for one in last.segm.groups if one.phase == last.phase)
    total = tables.classes_with_ground_truth(last)
    lines = [
        _Line(f"old ({total - new:,})", [one.segm.old for one in metrics], theme.old, "o"),
        _Line(f"new ({new:,})", [one.segm.new for one in metrics], theme.new, "^"),
        _Line(f"both ({total:,})", [one.segm.all for one in metrics], theme.ink, "s"),
    ]
    figure = canvas.make_figure(*OLD_NEW_SIZE, theme, scale)
    axes = figure.subplots()
    canvas.style_axes(axes, theme, "Old and new classes", "phase", "mask AP (%)")
    _draw_phases(axes, metrics, lines)
    title = "classes with ground truth in the last phase"
    placing: dict[str, Any] = {"loc": "outside lower center", "ncols": 3, "columnspacing": 1.4}
    canvas.add_legend(figure, theme, title=title, title_fontsize=8, **placing)
    figure.legends[0].get_title().set_color(theme.muted)
    return canvas.render(figure)


def _draw_phases(
    axes: Any, metrics: Sequence[Metrics], lines: Sequence[_Line], joint: bool = False
) -> None:
    """Draw lines over the phases, and name the phases below."""
    phases = [metric.phase for metric in metrics]
    edge = {"markeredgecolor": axes.get_facecolor(), "markeredgewidth": 0.8, "markersize": 5.5}
    for line in lines:
        look = {"color": line.colour, "marker": line.marker, "linewidth": line.width}
        points = zip(phases, line.values, strict=True)
        canvas.draw_line(axes, points, label=line.label, **look, **edge, zorder=4)
    shown = phases if len(phases) <= 12 else phases[:: -(-len(phases) // 12)]
    axes.set_xticks(shown, ["joint" if joint else tables.phase_name(phase) for phase in shown])
    axes.set_xlim(phases[0] - 0.25, phases[-1] + 0.25)
    # Without a single point the limit of the data is minus infinity.
    axes.set_ylim(0, max(1.08 * axes.dataLim.y1, 5.0))


def plot_class_ap(
    classes: Sequence[ReportClass],
    metrics: Sequence[Metrics],
    theme: Theme = LIGHT,
    scale: float = 2.0,
) -> bytes:
    """Draw every class's AP along the class order, and each phase's mean then and now."""
    figure = canvas.make_figure(*WIDE_SIZE, theme, scale)
    axes = figure.subplots()
    canvas.style_axes(axes, theme, "Mask AP of each class", RANK, "mask AP (%)")
    axes.set_xlim(0.5, len(classes) + 0.5)
    canvas.count_in_whole_numbers(axes.xaxis)
    per_class = metrics[-1].segm.per_class
    highest = max((100 * value for value in per_class.values()), default=0)
    step = next(step for step in (5, 10, 20) if step * 5 >= highest or step == 20)
    top = max(step, step * math.ceil(highest / step))
    axes.set_ylim(0, 1.2 * top)  # room for the names of the phases
    axes.set_yticks(range(0, top + 1, step))
    sizes = phase_sizes(classes)
    canvas.shade_phases(axes, theme, sizes)
    known = [
        (rank, per_class[record.category_id])
        for rank, record in enumerate(classes, start=1)
        if record.category_id in per_class
    ]
    many = len(classes) > 100
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3 if many else 6}
    look |= {"markerfacecolor": theme.old, "markeredgecolor": "none"}
    look |= {"alpha": 0.45 if many else 0.85, "label": f"one class  ({len(known):,})"}
    canvas.draw_line(axes, known, **look, zorder=3)
    _draw_group_means(axes, theme, sizes, metrics)
    canvas.add_legend(figure, theme, loc="outside right center")
    return canvas.render(figure)


def _draw_group_means(
    axes: Any, theme: Theme, sizes: Sequence[int], metrics: Sequence[Metrics]
) -> None:
    now = {group.phase: group.AP for group in metrics[-1].segm.groups}
    learned = {
        group.phase: group.AP
        for metric in comparable(metrics)[:-1]
        for group in metric.segm.groups
        if group.phase == metric.phase
    }
    mean = "mean of a phase's\nclasses"
    dashes: dict[str, Any] = {"color": theme.ink, "linewidth": 1.5, "linestyle": (0, (2, 1.5))}
    thick: dict[str, Any] = {"color": theme.new, "linewidth": 2.6, "solid_capstyle": "butt"}
    kinds: tuple[tuple[Any, str | None, Any], ...] = (
        (learned, f"{mean} when learned", {**dashes, "zorder": 5}),
        (now, "the same mean now" if learned else mean, {**thick, "zorder": 4}),
    )
    for values, label, look in kinds:
        left = 0.5
        for phase, size in enumerate(sizes):
            value = values.get(phase)
            if value is not None:
                axes.plot([left, left + size], [100 * value] * 2, label=label, **look)
                label = None  # once in the legend
            left += size
