"""Tables in a given number of characters: numbers are never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_SHORT_TEXT = 24
"""Longer text may be wrapped to so many characters where a table is too wide."""


@dataclass(frozen=True)
class GridColumn:
    """A column of text.

    Attributes:
        heading: May be wrapped between words.
        cells: One for each row.
        is_text: Whether cells hold text, which may be wrapped, and not numbers.
        below: A second line of the head, perhaps a number.
    """

    heading: str
    cells: Sequence[str]
    is_text: bool = False
    below: str = ""

    def width(self, *, wrap_heading: bool) -> int:
        """Characters that it takes."""
        parts = self.heading.split() if wrap_heading else [self.heading]
        return max(map(cell_len, [*parts, self.below, *self.cells]))


def grid_lines(columns: Sequence[GridColumn], width: int) -> list[str]:
    """Lay out a table in lines of so many characters.

    Where it does not fit, headings are wrapped, then columns stand closer, then long text is
    wrapped. Where that is not enough, columns continue below, after the first one again.

    Args:
        columns: At least one. Without any heading, the table has no head.
        width: Characters a line.
    """
    blocks, widths, gap = _arrange(columns, width)
    lines: list[str] = []
    for places in blocks:
        chosen = [(columns[place], widths[place]) for place in places]
        if lines:
            lines.append("")
        if any(column.heading for column in columns):
            lines += _row([(column.heading, size, column) for column, size in chosen], gap)
            if any(column.below for column, _ in chosen[1:]):
                lines += _row([(column.below, size, column) for column, size in chosen], gap)
            lines.append("─" * (sum(size for _, size in chosen) + gap * (len(chosen) - 1)))
        for row in range(len(columns[0].cells)):
            lines += _row([(column.cells[row], size, column) for column, size in chosen], gap)
    return lines


def _arrange(columns: Sequence[GridColumn], width: int) -> tuple[list[list[int]], list[int], int]:
    """Which columns stand beside each other, how wide they are, and how far apart."""
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


def _row(cells: Sequence[tuple[str, int, GridColumn]], gap: int) -> Iterator[str]:
    parts = [_wrap(text, size) for text, size, _ in cells]
    for number in range(max(map(len, parts))):
        line = []
        for part, (_, size, column) in zip(parts, cells, strict=True):
            text = part[number] if number < len(part) else ""
            space = " " * (size - cell_len(text))
            line.append(text + space if column.is_text else space + text)
        yield (" " * gap).join(line).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(Console(), width)]
