"""The plot of tail classes: AP of each above, objects of the rarest below.

Everything has its place in inches: pictures in rows leave an automatic layout no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lst_cli.display.canvas import (
    DOTS_PER_INCH,
    LIGHT,
    PAPER_LETTERS,
    PAPER_WIDTH,
    Theme,
    add_legend,
    line_styles,
    make_figure,
    style_axes,
)
from lst_cli.display.fonts import families, short_name
from lst_cli.display.panels import Colour
from lst_cli.display.records import Panel
from lst_cli.figures.details import choose_window, draw_detail

if TYPE_CHECKING:
    from lst_cli.figures.records import Answer, Tail, TailExample

MOST_RUNS = 4

_WIDTH = PAPER_WIDTH / DOTS_PER_INCH  # inches, as all of these
_LEFT, _RIGHT = 0.42, 0.06
_AP_HEIGHT = 1.25
_TITLE = 0.24
_LEGEND_LINE = 0.17
_LEGEND_COLUMNS = 2
_NAMES_PAD = 0.12
_SECTION = 0.2  # between the parts
_RUNS_LINE = 0.17  # names of the runs, above the pictures
_BLOCK_HEAD = 0.19
_TEXT_LINE = 0.125
_BLOCK_PAD = 0.13
_GAP = 0.05  # between pictures
_BLOCK_GAP = 0.3
_ASPECT = 4 / 3
_PIXELS = 420  # of a picture's width, in the file
_LONGEST = 28  # letters of a name below the axes
_LONGEST_RUN = 36  # and in the legend
_LONGEST_HEAD = 80  # where it is cut to the room there is

_RIGHT_COLOUR: Colour = (0, 158, 235)
_WRONG_COLOUR: Colour = (247, 144, 30)


def compose_tail(tail: Tail, theme: Theme = LIGHT, scale: float = 2.0) -> Any:
    """Lay out AP of every tail class, and pictures of the rarest.

    Args:
        tail: At least one run, at most `MOST_RUNS`, and one class.
        theme: Colours.
        scale: Image pixels per page pixel.

    Returns:
        The figure, to be rendered.

    Raises:
        LstError: If an image cannot be read or a mask cannot be decoded.
    """
    blocks = blocks_in_row(len(tail.runs))
    rows = -(-len(tail.examples) // blocks)
    picture = _picture_width(len(tail.runs))
    block_height = _BLOCK_HEAD + picture / _ASPECT + 2 * _TEXT_LINE + _BLOCK_PAD
    below = _SECTION + _RUNS_LINE + rows * block_height if rows else 0.0
    names = _names_height(tail, theme)
    head = _TITLE + _LEGEND_LINE * -(-len(tail.runs) // _LEGEND_COLUMNS)
    height = head + _AP_HEIGHT + names + below
    figure = make_figure(PAPER_WIDTH, round(height * DOTS_PER_INCH), theme, scale)
    figure.set_layout_engine("none")
    page = _Page(figure, theme, round(height * DOTS_PER_INCH) / DOTS_PER_INCH)
    _draw_ap(page, tail, head)
    if rows:
        top = head + _AP_HEIGHT + names + _SECTION
        _draw_headings(page, tail, top, blocks, picture)
        for place, example in enumerate(tail.examples):
            row, column = divmod(place, blocks)
            left = _block_left(column, len(tail.runs), picture)
            _draw_example(page, example, left, top + _RUNS_LINE + row * block_height, picture)
    return figure


def blocks_in_row(runs: int) -> int:
    """How many examples stand side by side."""
    return 2 if runs <= 2 else 1


class _Page:
    """A figure whose places are inches from its upper left corner."""

    def __init__(self, figure: Any, theme: Theme, height: float) -> None:
        self.figure = figure
        self.theme = theme
        self.height = height

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        place = (
            left / _WIDTH,
            1 - (top + height) / self.height,
            width / _WIDTH,
            height / self.height,
        )
        return self.figure.add_axes(place)

    def text(self, left: float, top: float, text: str, **look: Any) -> Any:
        plain = {"family": families(text), "size": PAPER_LETTERS.tick, "color": self.theme.ink}
        return self.figure.text(
            left / _WIDTH,
            1 - top / self.height,
            text,
            parse_math=False,
            **{"va": "top", **plain, **look},
        )

    def fitted(self, left: float, top: float, width: float, text: str, **look: Any) -> Any:
        """Text that is cut where it would be wider than there is room."""
        written = self.text(left, top, text, **look)
        renderer = self.figure.canvas.get_renderer()
        room = width * self.figure.dpi
        while len(text) > 1 and written.get_window_extent(renderer).width > room:
            text = text[:-1]
            written.set_text(text.rstrip() + "…")
        return written


def _draw_ap(page: _Page, tail: Tail, top: float) -> None:
    theme = page.theme
    axes = page.axes(_LEFT, top, _WIDTH - _LEFT - _RIGHT, _AP_HEIGHT)
    title = f"Mask AP of the {len(tail.classes)} rarest classes (training instances)"
    page.text(_LEFT, 0.05, title, weight="bold", size=PAPER_LETTERS.title)
    style_axes(axes, theme, "", "", "mask AP (%)", PAPER_LETTERS)
    runs = len(tail.runs)
    for place, one in enumerate(tail.classes):
        if runs > 1:
            ends = [100 * min(one.ap), 100 * max(one.ap)]
            axes.plot([place, place], ends, color=theme.plain, linewidth=0.9, zorder=2)
    handles = []
    for run, (name, style) in enumerate(zip(tail.runs, line_styles(theme, runs), strict=True)):
        mean = 100 * tail.mean_ap(run)
        axes.axhline(mean, color=style.colour, linewidth=0.8, linestyle=style.dashes, zorder=1)
        handles += axes.plot(
            range(len(tail.classes)),
            [100 * one.ap[run] for one in tail.classes],
            linestyle="none",
            marker=style.marker,
            markersize=3.8,
            markerfacecolor=style.colour if style.filled else theme.background,
            markeredgecolor=style.colour,
            markeredgewidth=0.9,
            label=f"{short_name(name, _LONGEST_RUN)}: mean {mean:.1f}".replace("$", r"\$"),
            clip_on=False,
            zorder=4,
        )
    axes.set_xlim(-0.6, len(tail.classes) - 0.4)
    highest = max(100 * ap for one in tail.classes for ap in one.ap)
    axes.set_ylim(0, max(1.06 * highest, 5.0))
    axes.set_xticks(range(len(tail.classes)), _tick_names(tail), parse_math=False)
    axes.tick_params(axis="x", labelrotation=90, length=2, pad=2)
    add_legend(
        axes,
        theme,
        PAPER_LETTERS,
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=_LEGEND_COLUMNS,
        columnspacing=1.6,
        handlelength=1.0,
        handletextpad=0.3,
        borderaxespad=0.0,
        borderpad=0.1,
    )


def _tick_names(tail: Tail) -> list[str]:
    return [
        f"{short_name(one.name, _LONGEST, one.category_id)} ({one.instances})"
        for one in tail.classes
    ]


def _names_height(tail: Tail, theme: Theme) -> float:
    """Inches that the longest name takes, written upwards."""
    figure = make_figure(100, 100, theme, 1.0)
    renderer = figure.canvas.get_renderer()
    longest = 0.0
    for name in _tick_names(tail):
        text = figure.text(
            0, 0, name, family=families(name), size=PAPER_LETTERS.tick, parse_math=False
        )
        longest = max(longest, text.get_window_extent(renderer).width / figure.dpi)
        text.remove()
    return longest + _NAMES_PAD


def _picture_width(runs: int) -> float:
    blocks, pictures = blocks_in_row(runs), runs + 1
    room = _WIDTH - 2 * _RIGHT - (blocks - 1) * _BLOCK_GAP - blocks * (pictures - 1) * _GAP
    return room / (blocks * pictures)


def _block_left(column: int, runs: int, picture: float) -> float:
    block = (runs + 1) * picture + runs * _GAP
    return _RIGHT + column * (block + _BLOCK_GAP)


def _draw_headings(page: _Page, tail: Tail, top: float, blocks: int, picture: float) -> None:
    for column in range(min(blocks, len(tail.examples))):
        left = _block_left(column, len(tail.runs), picture)
        for place, name in enumerate(("annotated", *tail.runs)):
            page.fitted(
                left + place * (picture + _GAP),
                top - _RUNS_LINE * 0.3,
                picture,
                name,
                color=page.theme.muted,
            )


def _draw_example(
    page: _Page, example: TailExample, left: float, top: float, picture: float
) -> None:
    theme = page.theme
    count = example.of.instances
    side = f"{count} training instance{'' if count == 1 else 's'}"
    block = len(example.answers) * (picture + _GAP) + picture
    remark = page.text(left + block, top + 0.03, side, ha="right", color=theme.muted)
    wide = remark.get_window_extent(page.figure.canvas.get_renderer()).width / page.figure.dpi
    name = short_name(example.of.name, _LONGEST_HEAD, example.of.category_id)
    look = {"weight": "bold", "size": PAPER_LETTERS.label}
    page.fitted(left, top + 0.03, block - wide - 0.1, name, **look)
    window = choose_window(example.truth.box, example.size, _ASPECT)
    pictures: list[tuple[Any, Sequence[str]]] = [
        ([(example.truth, _RIGHT_COLOUR)], ()),
        *((_shown(answer), _words(answer)) for answer in example.answers),
    ]
    high = picture / _ASPECT
    panel = Panel(example.image, example.image.name, size=example.size[::-1])
    for place, (shown, words) in enumerate(pictures):
        x = left + place * (picture + _GAP)
        axes = page.axes(x, top + _BLOCK_HEAD, picture, high)
        axes.set_facecolor(theme.band)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.imshow(draw_detail(panel, window, shown, _PIXELS), interpolation="antialiased")
        for line, text in enumerate(words):
            page.fitted(
                x,
                top + _BLOCK_HEAD + high + 0.03 + line * _TEXT_LINE,
                picture,
                text,
                color=theme.muted if line else theme.ink,
            )


def _shown(answer: Answer) -> list[tuple[Any, Colour]]:
    if answer.best is None:
        return []
    return [(answer.best.found, _RIGHT_COLOUR if answer.right else _WRONG_COLOUR)]


def _words(answer: Answer) -> list[str]:
    """Say what was answered in two short lines; a mark says at once whether it is right."""
    if answer.best is None:
        return ["✗ nothing found"]
    best = answer.best
    if answer.right:
        return [f"✓ score {best.score:.2f}, IoU {best.iou:.2f}"]
    label = short_name(best.found.label, _LONGEST_HEAD, best.found.category_id)
    own = "none" if answer.own is None or not answer.own.there else f"{answer.own.score:.2f}"
    return [f"✗ {label}", f"{best.score:.2f}; right: {own}"]
