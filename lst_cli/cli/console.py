"""Everything that draws on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from lst_cli.reporting.tables import Table, format_seconds
from lst_cli.text import escape_unseen, printable, printable_lines

_PLAIN_EVERY = 10.0


def print_json(value: Any) -> None:
    """Print a value for a script, numbers unrounded."""
    click.echo(escape_unseen(json.dumps(value, indent=1, ensure_ascii=False)))


def say(text: str) -> None:
    """Print one line of the result."""
    click.echo(printable(text))


def out() -> Console:
    """Console for results. A file or a pipe gets lines as long as the tables are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def note(text: str) -> None:
    """Say something on the side, on stderr."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """Say something on the side that deserves attention."""
    click.secho(f"warning: {printable(text)}", fg="yellow", err=True)


def print_table(table: Table) -> None:
    """Print a report table."""
    columns = []
    for column, classes in zip(table.columns, table.class_line(), strict=True):
        # An AP over five classes must look like one.
        columns.append(f"{column.heading}\n{classes}" if table.counts_classes else column.heading)
    textual = [column.kind in {"text", "phase"} for column in table.columns]
    _print_grid(table.title, columns, table.texts(), textual)
    if table.remark:
        out().print(Text(printable(table.remark), style="dim"))


def print_rows(title: str, columns: list[str], rows: list[list[str]], *, text: int = 1) -> None:
    """Print a small table.

    Args:
        title: What it shows.
        columns: Headings; without any the table has none.
        rows: Cells.
        text: How many columns, from the left, hold text; the others hold numbers.
    """
    width = max(len(row) for row in [columns, *rows])
    _print_grid(title, columns, rows, [place < text for place in range(width)])


def _print_grid(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], textual: Sequence[bool]
) -> None:
    columns = [printable_lines(heading) for heading in columns]
    rows = [[printable(cell) for cell in row] for row in rows]
    console = out()
    # Columns move together where the terminal is narrow.
    for padding in (1, 0):
        shown = _grid(columns, rows, textual, padding)
        wanted = shown.__rich_measure__(console, console.options.update_width(10_000)).minimum
        if wanted <= console.width:
            break
    else:
        # Let the terminal wrap lines that are too long for it, rather than lose digits.
        console = Console(highlight=False, width=wanted, soft_wrap=True)
    console.print(Text(f"\n{printable(title)}", style="bold"))
    console.print(shown)


def _grid(
    columns: Sequence[str], rows: Sequence[Sequence[str]], textual: Sequence[bool], padding: int
) -> RichTable:
    shown = RichTable(
        box=SIMPLE_HEAD,
        show_header=bool(columns),
        show_edge=False,
        pad_edge=False,
        padding=(0, padding),
        collapse_padding=True,
    )
    for place, left in enumerate(textual):
        heading = columns[place] if columns else ""
        # Headings may wrap between words; numbers are never cut.
        widest = max((len(row[place]) for row in rows), default=0)
        words = max((len(word) for word in heading.split()), default=0)
        shown.add_column(
            Text(heading),
            justify="left" if left else "right",
            min_width=max(widest, words),
            # Else rich takes the room from long text, and crops what stands to its right.
            no_wrap=widest >= len(heading),
        )
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


class Meter:
    """Progress of one piece of work after another: a bar on a terminal, lines elsewhere."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._what = ""
        self._began = self._told = 0.0
        self._first = 0

    def __call__(self, what: str, done: int, total: int | None, detail: str = "") -> None:
        """Tell how far a piece of work is."""
        what, detail = printable(what), printable(detail)
        now = time.monotonic()
        new = what != self._what
        if new:
            # A phase that continues begins with what an earlier run has done.
            self._what, self._began, self._told, self._first = what, now, now, done
        spent = now - self._began
        rate = (done - self._first) / spent if spent > 0 and done > self._first else 0.0
        if self._progress is None:
            if now - self._told >= _PLAIN_EVERY:
                self._told = now
                self._print_line(done, total, rate, detail)
            return
        if new or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(
                what, total=total, completed=done, detail=detail, rate=""
            )
            return
        self._progress.update(
            self._task, completed=done, total=total, detail=detail, rate=_rate_text(rate)
        )

    def _print_line(self, done: int, total: int | None, rate: float, detail: str) -> None:
        parts = [f"{self._what}: {done:,}" + (f" of {total:,}" if total else "")]
        if rate:
            parts.append(_rate_text(rate))
            if total:
                parts.append(f"{format_seconds((total - done) / rate)} left")
        note(", ".join(parts) + (f"  {detail}" if detail else ""))


def _rate_text(rate: float) -> str:
    if not rate:
        return ""
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


@contextmanager
def meter() -> Iterator[Meter]:
    """A progress display on stderr; gone when the work is done."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Meter(None)
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
        console=console,
        transient=True,
    )
    with progress:
        yield Meter(progress)
