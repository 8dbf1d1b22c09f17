"""Everything that draws on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
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

_PLAIN_EVERY = 10.0


def print_json(value: Any) -> None:
    """Print a value for a script, numbers unrounded."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def out() -> Console:
    """Console for results. A file or a pipe gets lines as long as the tables are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def note(text: str) -> None:
    """Say something on the side, on stderr."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """Say something on the side that deserves attention."""
    click.secho(f"warning: {text}", fg="yellow", err=True)


def print_table(table: Table) -> None:
    """Print a report table."""
    shown = RichTable(title=Text(table.title), title_justify="left", title_style="bold")
    counts = table.class_line()
    for column, classes in zip(table.columns, counts, strict=True):
        textual = column.kind in {"text", "phase"}
        # An AP over five classes must look like one.
        heading = f"{column.heading}\n{classes}" if table.counts_classes else column.heading
        shown.add_column(Text(heading), justify="left" if textual else "right")
    for texts in table.texts():
        shown.add_row(*map(Text, texts))
    console = out()
    console.print(shown)
    if table.remark:
        console.print(Text(table.remark, style="dim"))


def print_rows(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a small table: the first column is text, the others are numbers."""
    shown = RichTable(title=Text(title), title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        shown.add_column(Text(column), justify="right" if place else "left")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    out().print(shown)


class Meter:
    """Progress of one piece of work after another: a bar on a terminal, lines elsewhere."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._what = ""
        self._began = self._told = 0.0

    def __call__(self, what: str, done: int, total: int | None, detail: str = "") -> None:
        """Tell how far a piece of work is."""
        if self._progress is None:
            self._print_line(what, done, total, detail)
            return
        if what != self._what or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(what, total=total, detail="", rate="")
            self._what, self._began = what, time.monotonic()
        rate = done / max(time.monotonic() - self._began, 1e-6)
        self._progress.update(
            self._task,
            completed=done,
            total=total,
            detail=detail,
            rate=f"{rate:.1f}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.1f} s each",
        )

    def _print_line(self, what: str, done: int, total: int | None, detail: str) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._told = what, now, now
            return
        if now - self._told < _PLAIN_EVERY:
            return
        self._told = now
        spent = now - self._began
        left = f", {format_seconds(spent / done * (total - done))} left" if total and done else ""
        of = f"/{total}" if total else ""
        note(f"{what}: {done}{of}, {done / spent:.2f}/s{left}{'  ' if detail else ''}{detail}")


@contextmanager
def meter() -> Iterator[Meter]:
    """A progress display on stderr; gone when the work is done."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Meter(None)
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
        console=console,
        transient=True,
    )
    with progress:
        yield Meter(progress)
