"""The paper's Figs. 7 to 9: what one setting changes, phase by phase, with a line for each run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lst_cli.ap.metrics import WAYS, Way
from lst_cli.display import canvas, tables
from lst_cli.display.canvas import COLUMN_WIDTH, LIGHT, PAPER_WIDTH
from lst_cli.display.fonts import short_name
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Column, Table
from lst_cli.figures import Figure
from lst_cli.figures import ablation_data as data
from lst_cli.figures.ablation_data import FEW, SETTINGS, Ablation, AblationRun

_SUBJECTS: dict[data.AblationName, str] = {
    "distill": "distillation",
    "replay": "replay of old classes",
    "mwg": "the meta weight generator",
}
_PARTS = {"old": "old classes", "new": "new classes", "all": "all seen classes"}
_TITLES = {"old": "Old classes", "new": "New classes", "all": "All classes"}
_HEIGHT = {COLUMN_WIDTH: 150, PAPER_WIDTH: 175}  # of the axes and what stands around them
_LINE = 14  # of the legend
_LETTERS_A_LINE = {COLUMN_WIDTH: 40, PAPER_WIDTH: 44}  # of a name in the legend
_ASIDE = 0.13  # of a phase, between the markers of two runs
_BEFORE = 0.3  # how far left of its phase iteration 0 stands
_MARKERS: dict[Way, str] = {"random": "x", "mean-feature": "+", "generated": "*"}


def ablation_figure(ablation: Ablation) -> Figure:
    """Draw the runs, with their numbers."""
    return Figure(
        ablation.figure,
        caption=ablation_caption(ablation),
        picture=compose_ablation(ablation, scale=canvas.PAPER_SCALE),
        csv=render_csv(ablation_table(ablation, counts=True)),
        numbers={
            "setting": SETTINGS[ablation.figure],
            "notes": list(ablation.notes),
            "runs": [
                {"run": run.name, "source": run.source, "phases": list(map(asdict, run.points))}
                for run in ablation.runs
            ],
        },
        table=ablation_table(ablation),
    )


def ablation_caption(ablation: Ablation) -> str:
    """Say what is drawn, and what a reader could not know."""
    sentences = [
        f"What {_SUBJECTS[ablation.figure]} does ({SETTINGS[ablation.figure]}): mask AP of old, "
        "new and all seen classes after each phase, one run each."
    ]
    if ablation.ways:
        names = ", ".join(WAYS[way] for way in ablation.ways)
        sentences.append(
            "Left of the new classes' lines: before the first iteration, with rows of the "
            f"classifier that no one trained ({names}), on the model of the run whose colour they "
            "have."
        )
    last = ablation.phases[-1]
    points = [(run.name, point) for run in ablation.runs for point in run.points]
    few = [(name, point) for name, point in points if point.phase == last and point.few_classes]
    if ablation.figure == "mwg" and len(few) > 1:  # the paper's number
        values = "; ".join(f"{name} {tables.format_value('ap', point.few)}" for name, point in few)
        sentences.append(
            f"New classes of phase {tables.phase_name(last)} with fewer than {FEW} training "
            f"instances ({few[0][1].few_classes:,} with ground truth): {values}."
        )
    return " ".join([*sentences, *ablation.notes])


def ablation_table(ablation: Ablation, *, counts: bool = False) -> Table:
    """Make the table of every run after every phase.

    With `counts`, for programs, it also has numbers of classes and the runs' directories.
    """
    records = [(run, point) for run in ablation.runs for point in run.points]
    rows = []
    for run, point in sorted(records, key=lambda record: record[1].phase):
        row = {"run": run.name, "source": run.source, **vars(point)}
        row |= {f"classes({part})": count for part, count in point.with_ground_truth.items()}
        row |= {"classes(few)": point.few_classes}
        rows.append(row | {f"iteration 0 ({way})": ap for way, ap in point.instant.items()})
    names = dict(_PARTS)
    if any(row["classes(few)"] for row in rows):
        names["few"] = f"new, <{FEW} instances"
    columns = [Column("run", "run", "text"), Column("phase", "phase", "phase")]
    for part, name in names.items():
        own = Column(f"classes({part})", "", "integer") if counts else None
        columns.append(Column(part, name, row_classes=own))
    columns += [Column(f"iteration 0 ({way})", f"at 0: {WAYS[way]}") for way in ablation.ways]
    if counts:
        columns.append(Column("source", "source", "text"))
    remark = "Mask AP after each phase."
    if ablation.ways:
        remark += " At 0: of the new classes before the phase's first iteration."
    title = f"What {_SUBJECTS[ablation.figure]} does"
    return Table(title, tuple(columns), tuple(rows), remark)


def compose_ablation(ablation: Ablation, scale: float = 2.0) -> Any:
    """Lay out three panels with a line for each run, at most `MOST_LINES` of them.

    Every panel has its own range, so that what a setting changes can be seen.
    """
    ways = ablation.ways
    width = PAPER_WIDTH if ways else COLUMN_WIDTH
    size: dict[str, Any] = {"linewidth": 1.3, "markersize": 4.0, "markeredgewidth": 1.0}
    looks = [size | style for style in canvas.line_styles(LIGHT, len(ablation.runs))]
    whole = [short_name(run.name, len(run.name) + 1) for run in ablation.runs]
    names = ["\n".join(textwrap.wrap(name, _LETTERS_A_LINE[width])) for name in whole]
    lines = max(sum(name.count("\n") + 1 for name in names), len(ways))
    height = _HEIGHT[width] + _LINE * lines
    figure = canvas.make_figure(width, height, LIGHT, scale, pad=canvas.PAPER_PAD)
    order = ("new", "old", "all") if ways else ("old", "new", "all")
    ratios = (1.9, 1, 1) if ways else (1, 1, 1)
    panels = dict(zip(order, figure.subplots(1, 3, width_ratios=ratios), strict=True))
    for place, (part, axes) in enumerate(panels.items()):
        x_label = "phase" if place == 1 or ways else " "
        y_label = "mask AP (%)" if place == 0 else ""
        canvas.style_axes(axes, LIGHT, _TITLES[part], x_label, y_label, canvas.PAPER_LETTERS)
        for index, (run, look) in enumerate(zip(ablation.runs, looks, strict=True)):
            # Side by side, or runs with similar AP would hide each other.
            aside = _ASIDE * (index - (len(looks) - 1) / 2)
            values = [(point.phase + aside, getattr(point, part)) for point in run.points]
            canvas.draw_line(axes, values, **look, zorder=4)
            if part == "new" and ways:
                _draw_instant(axes, run, look["color"])
        _set_ranges(axes, ablation.phases, wide=part == "new" and bool(ways))
    _add_legend(figure, names, looks, ways)
    return figure


def _add_legend(
    figure: Any, names: list[str], looks: list[dict[str, Any]], ways: Sequence[Way]
) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], label=name, **look) for name, look in zip(names, looks, strict=True)]
    marks = [
        Line2D([], [], label=f"at iteration 0: {WAYS[way]} rows", **_mark_look(way, LIGHT.muted))
        for way in ways
    ]
    if marks:  # the runs in one column, the marks in the other
        for column, other in ((lines, marks), (marks, lines)):
            missing = len(other) - len(column)
            column += [Line2D([], [], linestyle="none", label=" ") for _ in range(missing)]
    placing = {"loc": "outside lower center", "ncols": 2 if marks else 1, "columnspacing": 2.0}
    spacing = {"handlelength": 3.4, "labelspacing": 0.35}
    handles = [*lines, *marks]
    canvas.add_legend(figure, LIGHT, canvas.PAPER_LETTERS, handles=handles, **placing, **spacing)


def _mark_look(way: Way, colour: str) -> dict[str, Any]:
    return {
        "color": colour,
        "linestyle": "none",
        "marker": _MARKERS[way],
        "markersize": 4.5 if way == "random" else 6,
        "markeredgewidth": 0.6 if way == "generated" else 1.2,
    }


def _draw_instant(axes: Any, run: AblationRun, colour: str) -> None:
    """Mark iteration 0 left of each phase, in the colour of the run whose model it was."""
    for point in run.points:
        known = [(way, 100 * ap) for way, ap in point.instant.items() if ap is not None]
        for place, (way, ap) in enumerate(known):
            # A little aside too: the ways of a phase may have the same AP.
            x = point.phase - _BEFORE - 0.08 * (len(known) - 1 - place)
            axes.plot([x], [ap], **_mark_look(way, colour), clip_on=False, zorder=5)


def _set_ranges(axes: Any, phases: Sequence[int], *, wide: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = phases[:: -(-len(phases) // (12 if wide else 6))]
    axes.set_xticks(shown, [tables.phase_name(phase) for phase in shown])
    axes.set_xlim(phases[0] - (0.65 if wide else 0.4), phases[-1] + 0.4)
    low, high = axes.dataLim.y0, axes.dataLim.y1
    if not (math.isfinite(low) and math.isfinite(high)):  # not one number
        low, high = 0.0, 5.0
    # No narrower than two points of AP, or noise would look like a finding.
    room = max(0.12 * (high - low), (2 - (high - low)) / 2)
    axes.set_ylim(max(0.0, low - room), high + room)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
