"""The tables of an evaluation, and the plot of where AP is lost."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

from lst_cli.ap.metrics import KINDS, BinMetrics, ErrorAnalysis, ErrorShares, Scores
from lst_cli.display.canvas import LIGHT, add_heading, make_figure, ramp_colours, render, style_axes
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Column, Table, bin_heading
from lst_cli.workspace.atomic import write_bytes, write_text

NAMES = {"segm": "masks", "bbox": "boxes"}

MEANINGS = {
    "classification": "lies on an annotation of another class",
    "localisation": "touches one of its class, IoU 0.1 to 0.5",
    "both": "touches one of another class only",
    "duplicate": "lies on one that a better detection took",
    "background": "lies on nothing that is annotated",
    "missed": "annotation that nothing found",
}

# Of the plot, in pixels of the page; the image has twice as many.
WIDTH = 1080
_SURROUNDINGS = 150  # title, names of the panels, axis
_BAR = 26
_ROOM = 1.28  # of the longest bar: its number stands behind it
_SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}


def scores_table(scores: Scores, what: str = "Mask AP") -> Table:
    """Make the table of AP and its interval: all classes, and each bin of training instances."""
    scored = len(scores.per_class)
    means = {name: getattr(scores, name) for name in ("AP", "AP50", "AP75", "interval")}
    every = BinMetrics(
        bin="all", low=0, high=None, classes=scored, with_ground_truth=scored, **means
    )
    instances = " by training instances" if scores.bins else ""

    return Table.of(
        f"{what}{instances}, with intervals",
        (*scores.bins, every),
        (
            Column(
                "bin",
                "classes with",
                "text",
                lambda one: bin_heading(one.bin),
                description="training instances of a class",
            ),
            Column("with_ground_truth", "scored", "integer", description="with ground truth"),
            Column("AP", "AP"),
            Column(
                "low",
                "from",
                get=lambda one: one.interval and one.interval[0],
                description="lower bound of AP",
            ),
            Column(
                "high",
                "to",
                get=lambda one: one.interval and one.interval[1],
                description="upper bound of AP",
            ),
            Column("AP50", "AP50"),
            Column("AP75", "AP75"),
        ),
        "From and to: AP and 1.96 standard deviations to each side, over 200 evaluations of images "
        "drawn with replacement. Where they do not differ the images are too few to tell, and "
        "nothing is printed.",
    )


def newest(phase: int) -> str:
    """Head of the table's title in a report that has several phases."""
    return f"Mask AP after {'the base phase' if phase == 0 else f'phase {phase}'}"


def means_table(found: dict[str, Scores]) -> Table:
    """Make the table of lvis-api's means: a row for masks, a row for boxes."""
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR")
    return Table.of(
        "LVIS AP",
        ({"of": name, **dict(scores)} for name, scores in found.items()),
        (
            Column("of", "", "text", itemgetter("of")),
            *(Column(name, name, get=itemgetter(name)) for name in names),
        ),
    )


def errors_table(analysis: ErrorAnalysis, *, counts: bool = False) -> Table:
    """Make the table of errors by kind, and of what each kind costs by bin.

    The last row is AP50 and the number of right detections. With `counts` the table has the counts
    of every bin instead of what the kinds mean.
    """
    columns = [
        Column("kind", "kind", "text", lambda kind: kind),
        Column("meaning", "", "text", lambda kind: MEANINGS.get(kind, "as it is")),
        Column(
            "count",
            "count",
            "integer",
            lambda kind: analysis.all.counts.get(kind, analysis.right),
            description="detections, or missed annotations",
        ),
        _price_column("dAP50", "all", analysis.all),
        *(_price_column(f"dAP50({one.bin})", bin_heading(one.bin), one) for one in analysis.bins),
    ]
    if counts:
        del columns[1]
        columns += [
            Column(f"count({one.bin})", f"count {one.bin}", "integer", one.counts.get)
            for one in analysis.bins
        ]
    return Table.of(
        f"Where AP50 of {NAMES[analysis.iou_type]} is lost",
        (*KINDS, "AP50"),
        columns,
        "What AP50 would gain, in points, if all errors of one kind were fixed and no others; by "
        "training instances. Prices overlap and do not sum to what is lost.",
    )


def _price_column(key: str, heading: str, shares: ErrorShares) -> Column:
    def price(kind: Any) -> float | None:
        return shares.dAP50.get(kind, shares.AP50)

    return Column(key, heading, get=price, classes=shares.with_ground_truth)


def write_errors(analysis: ErrorAnalysis, directory: Path) -> tuple[Path, ...]:
    """Write an analysis of masks, its table with the counts of every bin, and its plot."""
    paths = tuple(directory / name for name in ("errors.json", "errors.csv", "errors.png"))
    drawn = plot_errors(analysis)
    write_text(paths[0], analysis.model_dump_json(indent=1) + "\n")
    write_text(paths[1], render_csv(errors_table(analysis, counts=True)))
    write_bytes(paths[2], drawn)
    return paths


def plot_errors(analysis: ErrorAnalysis) -> bytes:
    """Draw what each kind of error costs in mask AP50, by training instances, as a PNG.

    It has a panel for each kind of error, all to one scale, and a bar for each bin with ground
    truth.
    """
    shown = [one for one in analysis.bins if one.with_ground_truth]
    sets: list[ErrorShares] = [analysis.all, *shown]
    # A bin has its colour whether or not its neighbours have ground truth.
    ramp = zip(analysis.bins, ramp_colours(LIGHT, len(analysis.bins)), strict=True)
    colours = [LIGHT.muted, *(colour for one, colour in ramp if one.with_ground_truth)]
    figure = make_figure(WIDTH, _SURROUNDINGS + _BAR * len(sets), LIGHT, 2.0)
    add_heading(figure, LIGHT, "Mask AP50 lost to each kind of error, by training instances")
    highest = max((one.dAP50[kind] or 0 for one in sets for kind in KINDS), default=0)
    panels = figure.subplots(1, len(KINDS), sharey=True)
    for axes, kind in zip(panels, KINDS, strict=True):
        style_axes(axes, LIGHT, "", "points of AP50", "")
        axes.grid(visible=False)
        axes.set_title(kind, loc="left", fontsize=9.5, pad=22, color=LIGHT.ink, fontweight="bold")
        count, noun = analysis.all.counts[kind], "annotation" if kind == "missed" else "detection"
        text = f"{count:,} {noun}{'' if count == 1 else 's'}"
        axes.annotate(
            text, (0, 1), xytext=(0, 7), xycoords="axes fraction", color=LIGHT.muted, **_SMALL
        )
        # All classes are no bin.
        axes.axhline(0.5, color=LIGHT.grid, linewidth=0.8, zorder=1)
        for row, (one, colour) in enumerate(zip(sets, colours, strict=True)):
            if (value := one.dAP50[kind]) is not None:
                end = 100 * value
                axes.barh(row, end, height=0.68, color=colour, zorder=3)
                look = {"xytext": (4, 0), "va": "center", "color": LIGHT.ink, "zorder": 4}
                axes.annotate(f"{end:.1f}", (end, row), **look, **_SMALL)
        axes.set_xlim(0, _ROOM * 100 * max(highest, 0.01))
    names = [f"all ({analysis.all.with_ground_truth:,})"]
    names += [f"{bin_heading(one.bin)} ({one.with_ground_truth:,})" for one in shown]
    panels[0].set_yticks(range(len(sets)), names)
    panels[0].set_ylim(len(sets) - 0.45, -0.55)
    panels[0].set_ylabel("training instances (classes)", color=LIGHT.muted)
    return render(figure)
