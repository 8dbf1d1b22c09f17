"""Tables in a given number of characters: numbers are never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_SHORT_TEXT = 24
"""Longer text may be wrapped to so many characters where a table is too wide."""


@dataclass(frozen=True)
class GridColumn:
    """A column of text."""

    heading: str  # may be wrapped between words
    cells: Sequence[str]
    is_text: bool = False  # its cells may be wrapped; otherwise they are numbers
    below: str = ""  # a second line of the head

    def width(self, *, wrap_heading: bool) -> int:
        """Width in characters."""
        parts = self.heading.split() if wrap_heading else [self.heading]
        return max(map(cell_len, [*parts, self.below, *self.cells]))


def grid_lines(columns: Sequence[GridColumn], width: int) -> list[str]:
    """Lay out a table of one or more columns in lines of at most `width` characters.

    Where it does not fit, headings are wrapped, then columns stand closer, then long text is
    wrapped. Where that is not enough, columns continue below, after the first one again.
    Without any heading, the table has no head.
    """
    blocks, widths, gap = _arrange(columns, width)
    lines: list[str] = []
    for places in blocks:
        chosen = [columns[place] for place in places]
        sizes = [widths[place] for place in places]
        if lines:
            lines.append("")
        rows = [[column.cells[row] for column in chosen] for row in range(len(columns[0].cells))]
        head = [[column.heading for column in chosen]]
        if any(column.below for column in chosen[1:]):
            head.append([column.below for column in chosen])
        if any(column.heading for column in columns):
            lines += [line for row in head for line in _row(row, chosen, sizes, gap)]
            lines.append("─" * (sum(sizes) + gap * (len(sizes) - 1)))
        lines += [line for row in rows for line in _row(row, chosen, sizes, gap)]
    return lines


def _arrange(columns: Sequence[GridColumn], width: int) -> tuple[list[list[int]], list[int], int]:
    """Which columns stand beside each other, how wide they are, and the gap between them."""
    everything = list(range(len(columns)))
    for wrap_heading, gap in ((False, 2), (True, 2), (True, 1)):
        widths = [column.width(wrap_heading=wrap_heading) for column in columns]
        if sum(widths) + gap * (len(widths) - 1) <= width:
            return [everything], widths, gap
    shortest = [
        max(_SHORT_TEXT, *map(cell_len, column.heading.split() or [""]))
        if column.is_text
        else widths[place]
        for place, column in enumerate(columns)
    ]
    excess = sum(widths) + len(widths) - 1 - width
    for place in sorted(everything, key=lambda place: -widths[place]):
        given = min(excess, max(0, widths[place] - shortest[place]))
        widths[place] -= given
        excess -= given
    if excess <= 0:
        return [everything], widths, 1
    blocks = [[0]]
    used = widths[0]
    for place in everything[1:]:
        if used + 2 + widths[place] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(place)
        used += 2 + widths[place]
    return blocks, widths, 2


def _row(
    cells: Sequence[str], columns: Sequence[GridColumn], sizes: Sequence[int], gap: int
) -> Iterator[str]:
    for parts in zip_longest(*map(_wrap, cells, sizes), fillvalue=""):
        line = []
        for text, column, size in zip(parts, columns, sizes, strict=True):
            space = " " * (size - cell_len(text))
            line.append(text + space if column.is_text else space + text)
        yield (" " * gap).join(line).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(Console(), width)]
