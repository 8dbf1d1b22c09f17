"""The paper's Fig. 5: classes of few training instances, in numbers and in pictures.

AP of each above, objects of the rarest below. Everything has its place in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lst_cli.display import canvas
from lst_cli.display.canvas import DOTS_PER_INCH, LIGHT, PAPER_LETTERS
from lst_cli.display.fonts import families, finish_texts, short_name
from lst_cli.display.markup import render_csv
from lst_cli.display.panels import DETAIL_ASPECT, Colour, draw_detail
from lst_cli.display.tables import Cell, Column, Table
from lst_cli.figures import Figure
from lst_cli.figures import tail_data as data
from lst_cli.figures.tail_data import Answer, Tail, TailClass, TailExample

_WIDTH = canvas.PAPER_WIDTH / DOTS_PER_INCH  # inches, as all of these
_LEFT, _EDGE = 0.42, 0.06
_TITLE = 0.24
_LEGEND_LINE = 0.17
_AP_HEIGHT = 1.25
_ABOVE = 0.5  # pictures: the names of the runs
_HEAD = 0.19  # of a block: the name of the class
_WORDS = 0.38  # below pictures: two lines
_GAP = 0.05  # between pictures
_BLOCK_GAP = 0.3
_PIXELS = 420  # of a picture's width, in the file
_LEGEND_COLUMNS = 2
_LONGEST = 28  # letters of a name below the axes
_LONGEST_RUN = 36  # and in the legend
_LONGEST_HEAD = 80  # where it is cut to the room there is

_RIGHT_COLOUR: Colour = (0, 158, 235)
_WRONG_COLOUR: Colour = (247, 144, 30)


def tail_figure(tail: Tail) -> Figure:
    """Draw the tail, with its numbers."""
    examples = {one.of.category_id: one for one in tail.examples}
    rows = [
        _row(one, run, name, examples.get(one.category_id))
        for one in tail.classes
        for run, name in enumerate(tail.runs)
    ]
    return Figure(
        "tail",
        caption=tail_caption(tail),
        picture=compose_tail(tail, scale=canvas.PAPER_SCALE),
        csv=render_csv(Table.of_rows("Tail classes", rows)),
        numbers={"runs": list(tail.runs), "rows": rows},
        table=_means_table(tail),
    )


def tail_caption(tail: Tail) -> str:
    """Say what is shown and how it was chosen."""
    counts = [one.instances for one in tail.classes]
    few = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    sentences = [
        f"The {len(tail.classes)} rarest classes with ground truth ({few} training instances), the "
        "rarest left. Above: mask AP of each."
    ]
    if tail.examples:
        sentences.append(
            f"Below: the largest annotated object of {len(tail.examples)} of the rarest, no image "
            "twice, and the most confident detection that each run has there (mask IoU "
            f"{data.FOUND_IOU} or more), whatever its class: ✓ and blue if it is the object's, ✗ "
            "and orange if not; then the scores are that of the wrong class and that of the right."
        )
    return " ".join([*sentences, *tail.notes])


def _row(one: TailClass, run: int, name: str, example: TailExample | None) -> dict[str, Cell]:
    """A class in a run, and the detections of its own class and with the highest score."""
    answer = Answer(None, None) if example is None else example.answers[run]
    own, best = answer.own, answer.best
    return {
        "class": one.name,
        "category_id": one.category_id,
        "training_instances": one.instances,
        "run": name,
        "AP": one.ap[run],
        "image": None if example is None else example.panel.title,
        "image_id": None if example is None else example.image_id,
        "score": None if own is None else f"{own.score:.6g}",
        "IoU": None if own is None else f"{own.iou:.6g}",
        "answer": None if best is None else best.found.label,
        "answer_score": None if best is None else f"{best.score:.6g}",
        "answer_IoU": None if best is None else f"{best.iou:.6g}",
    }


def _means_table(tail: Tail) -> Table:
    """What a terminal shows of it: a row a run."""
    rows: list[dict[str, Cell]] = [
        {
            "run": name,
            "AP": tail.mean_ap(run),
            "some": sum(one.ap[run] > 0 for one in tail.classes),
            "right": sum(example.answers[run].right for example in tail.examples),
        }
        for run, name in enumerate(tail.runs)
    ]
    columns = (
        Column("run", "run", "text"),
        Column("AP", "mean mask AP"),
        Column("some", "classes above 0", "integer"),
        Column("right", f"right of the {len(tail.examples)} shown", "integer"),
    )
    return Table(f"The {len(tail.classes)} rarest classes", columns, tuple(rows))


def compose_tail(tail: Tail, scale: float = 2.0) -> Any:
    """Lay out AP of every tail class, and pictures of the rarest."""
    runs, blocks = len(tail.runs), data.blocks_in_row(len(tail.runs))
    rows = -(-len(tail.examples) // blocks)
    room = _WIDTH - 2 * _EDGE - (blocks - 1) * _BLOCK_GAP - blocks * runs * _GAP
    wide = room / (blocks * (runs + 1))  # of a picture
    high = wide / DETAIL_ASPECT
    head = _TITLE + _LEGEND_LINE * -(-runs // _LEGEND_COLUMNS)
    figure = canvas.make_figure(canvas.PAPER_WIDTH, DOTS_PER_INCH, LIGHT, scale)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    _draw_ap(axes, tail, head)
    finish_texts(figure)
    labels = [label.get_window_extent().height for label in axes.get_xticklabels()]
    top = head + _AP_HEIGHT + max(labels) / figure.dpi + 0.12  # where the axes and their names end
    height = top + (_ABOVE + rows * (_HEAD + high + _WORDS) - 0.13 if rows else 0.0)
    height = round(height * DOTS_PER_INCH) / DOTS_PER_INCH
    figure.set_size_inches(_WIDTH, height)

    def place(left: float, top: float, width: float, high: float) -> tuple[float, ...]:
        """Fractions of the figure for inches from its upper left corner."""
        return left / _WIDTH, 1 - (top + high) / height, width / _WIDTH, high / height

    axes.set_position(place(_LEFT, head, _WIDTH - _LEFT - _EDGE, _AP_HEIGHT))
    for number, example in enumerate(tail.examples):
        row, column = divmod(number, blocks)
        left = _EDGE + column * ((runs + 1) * (wide + _GAP) - _GAP + _BLOCK_GAP)
        upper = top + _ABOVE + row * (_HEAD + high + _WORDS)
        pictures = [
            figure.add_axes(place(left + each * (wide + _GAP), upper, wide, high))
            for each in range(runs + 1)
        ]
        _draw_example(pictures, example, wide)
        if row == 0:
            for picture, name in zip(pictures, ("annotated", *tail.runs), strict=True):
                _write(picture, name, (0, 1), (0, 24), wide, color=LIGHT.muted)
    return figure


def _draw_ap(axes: Any, tail: Tail, head: float) -> None:
    canvas.style_axes(axes, LIGHT, "", "", "mask AP (%)", PAPER_LETTERS)
    title = f"Mask AP of the {len(tail.classes)} rarest classes (training instances)"
    bold: dict[str, Any] = {"weight": "bold", "color": LIGHT.ink}
    _write(axes, title, (0, 1), (0, 72 * head - 13), size=PAPER_LETTERS.title, **bold)
    places, runs = range(len(tail.classes)), len(tail.runs)
    if runs > 1:
        ends = [(100 * min(one.ap), 100 * max(one.ap)) for one in tail.classes]
        axes.vlines(places, *zip(*ends, strict=True), color=LIGHT.plain, linewidth=0.9, zorder=2)
    handles = []
    marks = {"linestyle": "none", "markersize": 3.8, "markeredgewidth": 0.9, "clip_on": False}
    styles = canvas.line_styles(LIGHT, runs)
    for run, (name, style) in enumerate(zip(tail.runs, styles, strict=True)):
        mean, ap = 100 * tail.mean_ap(run), [100 * one.ap[run] for one in tail.classes]
        dashes = {key: style[key] for key in ("color", "linestyle")}
        axes.axhline(mean, **dashes, linewidth=0.8, zorder=1)
        label = f"{short_name(name, _LONGEST_RUN)}: mean {mean:.1f}"
        handles += axes.plot(places, ap, **style | marks, label=label, zorder=4)
    axes.set_xlim(-0.6, len(tail.classes) - 0.4)
    highest = max(100 * ap for one in tail.classes for ap in one.ap)
    axes.set_ylim(0, max(1.06 * highest, 5.0))
    names = [
        f"{short_name(one.name, _LONGEST, one.category_id)} ({one.instances})"
        for one in tail.classes
    ]
    axes.set_xticks(places, names, parse_math=False)
    axes.tick_params(axis="x", labelrotation=90, length=2, pad=2)
    spacing = {"columnspacing": 1.6, "handlelength": 1.0, "handletextpad": 0.3}
    placing = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": _LEGEND_COLUMNS}
    tight = {"borderaxespad": 0.0, "borderpad": 0.1}
    canvas.add_legend(axes, LIGHT, PAPER_LETTERS, handles=handles, **placing, **spacing, **tight)


def _draw_example(pictures: Sequence[Any], example: TailExample, wide: float) -> None:
    count = example.of.instances
    remark = f"{count} training instance{'' if count == 1 else 's'}"
    taken = _write(pictures[-1], remark, (1, 1), (0, 4), ha="right", color=LIGHT.muted)
    name = short_name(example.of.name, _LONGEST_HEAD, example.of.category_id)
    bold: dict[str, Any] = {"weight": "bold", "size": PAPER_LETTERS.label, "color": LIGHT.ink}
    block = len(pictures) * (wide + _GAP) - _GAP
    _write(pictures[0], name, (0, 1), (0, 4), block - taken - 0.1, **bold)
    for axes, answer in zip(pictures, (None, *example.answers), strict=True):
        objects = [(example.truth, _RIGHT_COLOUR)]
        if answer is not None:
            colour = _RIGHT_COLOUR if answer.right else _WRONG_COLOUR
            objects = [] if answer.best is None else [(answer.best.found, colour)]
        axes.set_facecolor(LIGHT.band)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        detail = draw_detail(example.panel, example.truth.box, objects, _PIXELS)
        axes.imshow(detail, interpolation="antialiased")
        for line, text in enumerate(_words(answer) if answer else ()):
            ink = LIGHT.muted if line else LIGHT.ink
            _write(axes, text, (0, 0), (0, -2 - 9 * line), wide, va="top", color=ink)


def _words(answer: Answer) -> list[str]:
    """Say what was answered in two short lines; a mark says at once whether it is right."""
    best, own = answer.best, answer.own
    if best is None:
        return ["✗ nothing found"]
    if answer.right:
        return [f"✓ score {best.score:.2f}, IoU {best.iou:.2f}"]
    label = short_name(best.found.label, _LONGEST_HEAD, best.found.category_id)
    score = f"{own.score:.2f}" if own is not None and own.there else "none"
    return [f"✗ {label}", f"{best.score:.2f}; right: {score}"]


def _write(
    axes: Any,
    text: str,
    corner: tuple[float, float],
    offset: tuple[float, float],
    room: float = _WIDTH,
    **look: Any,
) -> float:
    """Write text at a corner of axes, some points aside, cut to `room`; both widths in inches."""
    plain = {"family": families(text), "size": PAPER_LETTERS.tick, "parse_math": False}
    at = {"xycoords": "axes fraction", "xytext": offset, "textcoords": "offset points"}
    written = axes.annotate(text, corner, **at, **plain | look)
    renderer = axes.figure.canvas.get_renderer()
    while (width := written.get_window_extent(renderer).width / axes.figure.dpi) > room:
        text = text[:-1]
        if not text:
            break
        written.set_text(text.rstrip() + "…")
    return float(width)
