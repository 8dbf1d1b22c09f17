"""Everything that is printed on the terminal."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lst_cli.cli.options import WORKSPACE
from lst_cli.text import json_text, printable

if TYPE_CHECKING:
    from lst_cli.display.tables import Table

_PLAIN_EVERY = 10.0  # seconds between lines where there is no bar
_NO_LIMIT = 10_000  # columns
_LONGEST = 4_000  # characters of an error
_BAR, _SHORTEST_BAR = 24, 8  # characters
_SHORT_TEXT = 24  # characters that longer text may be wrapped to in a table
_progress_on: list[Console] = []


def print_json(value: Any) -> None:
    """Print a value for a script, numbers unrounded."""
    click.echo(json_text(value))


def say(text: str, *, label: str = "", colour: str = "") -> None:
    """Print one line of the result, perhaps after a coloured label."""
    text = printable(text)
    if label:
        text = in_colour(label, colour) + _wrapped(label + text, Console()).removeprefix(label)
    click.echo(text)


def out() -> Console:
    """Console for results. In a file or a pipe, lines are as long as the tables are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_NO_LIMIT)


def complete(text: str) -> str:
    """Add the workspace in use to each command in a text, unless it is the default one."""
    context = click.get_current_context(silent=True)
    root: Path | None = context.meta.get(WORKSPACE) if context else None
    if root is None:
        return text
    from lst_cli.workspace.hints import name_workspace
    from lst_cli.workspace.store import find_workspace

    if root.absolute() == find_workspace(None).absolute():
        return text
    return name_workspace(text, root)


def show_next(command: str | None) -> None:
    """Say what to type next."""
    done = "nothing is left: everything is trained, evaluated and in the report"
    say(done if command is None else f"next: {complete(command)}")


def note(text: str) -> None:
    """Print a remark on stderr."""
    _say(complete(text), wrap=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    _say(f"warning: {complete(text)}", "yellow", wrap=True)


def show_error(message: str, hint: str | None) -> None:
    """Print an error and its hint, one line each."""
    # One line, even if a library put line breaks into its message, or a file a long name.
    line = " ".join(message.split())
    _say(f"error: {line if len(line) <= _LONGEST else line[:_LONGEST] + '...'}", "red")
    if hint:
        _say(f"  try: {complete(hint)}")


def _wrapped(text: str, console: Console) -> str:
    """Wrap a sentence between words, on a terminal."""
    if not console.is_terminal:
        return text
    width = max(console.width, 20)
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def in_colour(text: str, colour: str) -> str:
    """Colour a text where that is wanted."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, fg=colour)


def _say(text: str, colour: str | None = None, *, wrap: bool = False) -> None:
    text = printable(text)
    if wrap:
        text = _wrapped(text, Console(stderr=True))
    if _progress_on:  # above the progress line, and not into it
        _progress_on[-1].print(Text(text, style=colour or ""), soft_wrap=True)
    else:
        click.echo(in_colour(text, colour) if colour else text, err=True)


def print_table(table: Table) -> None:
    """Print a report table."""
    kinds = [column.is_text for column in table.columns]
    # The number of classes stands below a heading: an AP over five classes must look like one.
    headings = [column.heading for column in table.columns]
    _print_grid(table.title, headings, table.texts(), kinds, table.class_line() or repeat(""))
    if table.remark:
        out().print(Text(printable(table.remark), style="dim"))


def print_rows(title: str, headings: list[str], rows: list[list[str]], *, text: int = 1) -> None:
    """Print a small table; without any headings it has no head.

    So many columns from the left hold `text`, the others numbers.
    """
    headings = headings or [""] * len(rows[0])
    kinds = [place < text for place in range(len(headings))]
    _print_grid(title, headings, rows, kinds)


def _print_grid(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    kinds: Sequence[bool],
    below: Iterable[str] = repeat(""),
) -> None:
    console = out()
    console.print(Text(f"\n{printable(title)}", style="bold"))
    cells = [[printable(row[place]) for row in rows] for place in range(len(headings))]
    columns = map(GridColumn, map(printable, headings), cells, kinds, below)
    for line in grid_lines(list(columns), console.width):
        console.print(Text(line), soft_wrap=True)


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


class Meter:
    """Progress of one piece of work after another: a bar on a terminal, lines elsewhere."""

    def __init__(self, bar_on: Console | None) -> None:
        self._console = bar_on
        self._what = self._detail = ""
        self._began = self._printed = self._rate = 0.0
        self._first = self._done = 0
        self._total: int | None = None

    def __call__(self, what: str, done: int, total: int | None, detail: str = "") -> None:
        """Show how far a piece of work is."""
        what, self._detail = printable(what), printable(detail)
        now = time.monotonic()
        if what != self._what or done < self._done:  # other work, or more of the same name
            # A phase that continues begins with what an earlier run has done.
            self._what, self._began, self._printed, self._first = what, now, now, done
        self._done, self._total = done, total
        spent = now - self._began
        self._rate = (done - self._first) / spent if spent > 0 and done > self._first else 0.0
        if self._console is None and now - self._printed >= _PLAIN_EVERY:
            self._printed = now
            count = f"{what}: {done:,}" + (f" of {total:,}" if total else "")
            note(", ".join([count, *self._pace()]) + (f"  {self._detail}" if detail else ""))

    def _pace(self) -> list[str]:
        """The rate and the time that is left, where they are known."""
        from lst_cli.display.tables import format_seconds

        rate = self._rate
        if not rate:
            return []
        each = f"{rate:,.{1 if rate < 100 else 0}f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        if not self._total:
            return [each]
        return [each, f"{format_seconds((self._total - self._done) / rate)} left"]

    def line(self) -> Text:
        """The bar, one character shorter than the terminal; details are left out first."""
        if self._console is None or not self._what:
            return Text()
        room = self._console.width - 1
        count = f"{self._done:,}" + (f"/{self._total:,}" if self._total else "")
        end = "  ".join([count, *self._pace()])
        bar = min(_BAR, room - cell_len(end) - 4 - min(_BAR, cell_len(self._what)))
        bar = bar if bar >= _SHORTEST_BAR else -2
        name = Text(self._what, no_wrap=True)
        name.truncate(max(1, room - bar - cell_len(end) - 4), overflow="ellipsis")
        line = Text.assemble(name, "  ")
        if bar > 0:
            done = round(bar * min(1.0, self._done / self._total)) if self._total else 0
            line.append("━" * done, "bar.complete")
            line.append("━" * (bar - done) + "  ", "bar.back")
        line.append(end, "progress.remaining")
        for detail in self._detail.split("  "):  # each whole, or not at all
            if line.cell_len + 2 + cell_len(detail) > room:
                break
            line.append(f"  {detail}" if detail else "", "dim")
        line.truncate(max(1, room))
        return line


@contextmanager
def meter() -> Iterator[Meter]:
    """A progress display on stderr, which is removed when the work is done."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Meter(None)
        return
    meter = Meter(console)
    _progress_on.append(console)
    try:
        with Live(
            console=console, get_renderable=meter.line, transient=True, refresh_per_second=10
        ):
            yield meter
    finally:
        _progress_on.pop()
