"""The plots of what came out: AP by bin, old against new, AP of each class.

Sizes are in pixels of the page: an image has `scale` times as many. Every number
of classes that a mean rests on stands in the legend beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lst_cli.ap.metrics import Metrics, comparable
from lst_cli.display.canvas import (
    LIGHT,
    Theme,
    add_legend,
    count_in_whole_numbers,
    make_figure,
    ramp_colours,
    render,
    shade_phases,
    style_axes,
)
from lst_cli.display.class_plots import RANK, WIDE_SIZE, phase_sizes
from lst_cli.display.fonts import FONT
from lst_cli.display.records import ReportClass
from lst_cli.display.tables import (
    bin_heading,
    bins_in_order,
    classes_with_ground_truth,
    find_bin,
    phase_name,
)

BIN_SIZE = (640, 400)
OLD_NEW_SIZE = (440, 400)

_MARKERS = ("X", "s", "^", "D", "v", "h", "p", "d")


def plot_ap_by_bin(
    metrics: Sequence[Metrics], theme: Theme = LIGHT, scale: float = 2.0, *, joint: bool = False
) -> bytes:
    """Draw mask AP of every bin, and of all classes, over the phases.

    Args:
        metrics: At least one evaluated phase, in order.
        theme: Colours.
        scale: Image pixels per page pixel.
        joint: Whether all classes are learned at once.

    Returns:
        A PNG of `BIN_SIZE` times `scale`. A bin has no point in a phase that
        has seen none of its classes.
    """
    figure = make_figure(*BIN_SIZE, theme, scale)
    axes = figure.subplots()
    style_axes(axes, theme, "Mask AP by training instances", "phase", "mask AP (%)")
    bins = bins_in_order(metrics)
    for index, (entry, colour) in enumerate(zip(bins, ramp_colours(theme, len(bins)), strict=True)):
        found = [find_bin(metric, entry) for metric in metrics]
        final = found[-1]
        _draw_line(
            axes,
            [metric.phase for metric in metrics],
            [one.AP if one else None for one in found],
            _bin_label(entry.bin, final.with_ground_truth if final else 0),
            color=colour,
            marker=_MARKERS[index % len(_MARKERS)],
        )
    _draw_line(
        axes,
        [metric.phase for metric in metrics],
        [metric.segm.AP for metric in metrics],
        f"all seen  ({_classes(classes_with_ground_truth(metrics[-1]))})",
        color=theme.ink,
        marker="o",
        linewidth=2.6,
    )
    _phase_ticks(axes, metrics, joint)
    add_legend(figure, theme, loc="outside right center", labelspacing=0.75)
    return render(figure)


def plot_old_new(metrics: Sequence[Metrics], theme: Theme = LIGHT, scale: float = 2.0) -> bytes:
    """Draw mask AP of old classes, new classes and both over the phases.

    Returns:
        A PNG of `OLD_NEW_SIZE` times `scale`. The base phase has no old classes.
    """
    figure = make_figure(*OLD_NEW_SIZE, theme, scale)
    axes = figure.subplots()
    style_axes(axes, theme, "Old and new classes", "phase", "mask AP (%)")
    phases = [metric.phase for metric in metrics]
    groups = metrics[-1].segm.groups
    new = sum(group.with_ground_truth for group in groups if group.phase == metrics[-1].phase)
    total = classes_with_ground_truth(metrics[-1])
    lines = (
        ("old", [m.segm.old for m in metrics], total - new, theme.old, "o"),
        ("new", [m.segm.new for m in metrics], new, theme.new, "^"),
        ("both", [m.segm.all for m in metrics], total, theme.ink, "s"),
    )
    for name, values, classes, colour, marker in lines:
        _draw_line(axes, phases, values, f"{name} ({classes:,})", color=colour, marker=marker)
    _phase_ticks(axes, metrics)
    add_legend(
        figure,
        theme,
        loc="outside lower center",
        ncols=3,
        columnspacing=1.4,
        title="classes with ground truth in the last phase",
        title_fontproperties=_small(),
    )
    figure.legends[0].get_title().set_color(theme.muted)
    return render(figure)


def plot_class_ap(
    classes: Sequence[ReportClass],
    metrics: Sequence[Metrics],
    theme: Theme = LIGHT,
    scale: float = 2.0,
) -> bytes:
    """Draw every class's AP along the class order, and each phase's mean then and now.

    Args:
        classes: All classes in class order.
        metrics: At least one evaluated phase, in order; the last gives the dots.
        theme: Colours.
        scale: Image pixels per page pixel.

    Returns:
        A PNG of `WIDE_SIZE` times `scale`. Classes without ground truth have no dot.
    """
    figure = make_figure(*WIDE_SIZE, theme, scale)
    axes = figure.subplots()
    last = metrics[-1]
    style_axes(axes, theme, "Mask AP of each class", RANK, "mask AP (%)")
    axes.set_xlim(0.5, len(classes) + 0.5)
    count_in_whole_numbers(axes.xaxis)
    highest = max((100 * value for value in last.segm.per_class.values()), default=0)
    step = next(step for step in (5, 10, 20) if step * 5 >= highest or step == 20)
    top = max(step, step * math.ceil(highest / step))
    axes.set_ylim(0, 1.2 * top)  # room for the names of the phases
    axes.set_yticks(range(0, top + 1, step))
    sizes = phase_sizes(classes)
    shade_phases(axes, theme, sizes)
    ranks, values = [], []
    for rank, record in enumerate(classes, start=1):
        value = last.segm.per_class.get(record.category_id)
        if value is not None:
            ranks.append(rank)
            values.append(100 * value)
    axes.plot(
        ranks,
        values,
        linestyle="none",
        marker="o",
        markersize=6 if len(classes) <= 100 else 3,
        markerfacecolor=theme.old,
        markeredgecolor="none",
        alpha=0.85 if len(classes) <= 100 else 0.45,
        clip_on=not ranks,
        label=f"one class  ({len(values):,})",
        zorder=3,
    )
    _draw_group_means(axes, theme, sizes, metrics)
    add_legend(figure, theme, loc="outside right center")
    return render(figure)


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
    left = 0.5
    labels = {
        "then": "mean of a phase's\nclasses when learned",
        "now": "the same mean now" if learned else "mean of a phase's\nclasses",
    }
    for phase, size in enumerate(sizes):
        ends = (left, left + size)
        left += size
        then_value, now_value = learned.get(phase), now.get(phase)
        if then_value is not None:
            axes.plot(
                ends,
                [100 * then_value] * 2,
                color=theme.ink,
                linewidth=1.5,
                linestyle=(0, (2, 1.5)),
                label=labels.pop("then", None),
                zorder=5,
            )
        if now_value is not None:
            axes.plot(
                ends,
                [100 * now_value] * 2,
                color=theme.new,
                linewidth=2.6,
                solid_capstyle="butt",
                label=labels.pop("now", None),
                zorder=4,
            )


def _draw_line(
    axes: Any,
    phases: Sequence[int],
    values: Sequence[float | None],
    label: str,
    *,
    color: str,
    marker: str,
    linewidth: float = 1.8,
) -> None:
    points = [
        (phase, 100 * value)
        for phase, value in zip(phases, values, strict=True)
        if value is not None
    ]
    axes.plot(
        [phase for phase, _ in points],
        [value for _, value in points],
        label=label,
        color=color,
        marker=marker,
        markersize=5.5,
        markeredgecolor=axes.get_facecolor(),
        markeredgewidth=0.8,
        linewidth=linewidth,
        # An empty line that is not clipped counts as lying at the figure's corner
        # and pushes the axes aside.
        clip_on=not points,
        zorder=4,
    )


def _phase_ticks(axes: Any, metrics: Sequence[Metrics], joint: bool = False) -> None:
    phases = [metric.phase for metric in metrics]
    shown = phases if len(phases) <= 12 else phases[:: -(-len(phases) // 12)]
    axes.set_xticks(shown, ["joint" if joint else phase_name(phase) for phase in shown])
    axes.set_xlim(phases[0] - 0.25, phases[-1] + 0.25)
    # Without a single point the limit of the data is minus infinity.
    axes.set_ylim(0, max(1.08 * axes.dataLim.y1, 5.0))


def _classes(count: int) -> str:
    return f"{count:,} class" if count == 1 else f"{count:,} classes"


def _bin_label(name: str, classes: int) -> str:
    # A dollar sign would start a formula.
    plain = bin_heading(name).replace("$", r"\$")
    return f"{plain}  ({_classes(classes)})"


def _small() -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=FONT, size=8)
