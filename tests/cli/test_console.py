"""What commands print fits the terminal: tables, progress, every number whole."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from lst_cli.cli import console
from lst_cli.cli.console import GridColumn, grid_lines
from lst_cli.cli.training import training_events
from lst_cli.workspace.records import save_json

NUMBER = st.integers(0, 10**9).map(lambda number: f"{number:,}")
WORDS = st.text("abc 犬", min_size=1, max_size=90)


@st.composite
def tables(draw: st.DrawFn) -> list[GridColumn]:
    rows = draw(st.integers(0, 4))
    columns = [GridColumn("run", [f"run {row}" for row in range(rows)], is_text=True)]
    for _ in range(draw(st.integers(0, 12))):
        is_text = draw(st.booleans()) and rows > 0
        cells = draw(st.lists(WORDS if is_text else NUMBER, min_size=rows, max_size=rows))
        columns.append(GridColumn(draw(st.text("xy ", max_size=20)), cells, is_text))
    return columns


@settings(max_examples=200)
@given(tables(), st.integers(40, 120))
def test_no_line_is_too_long_and_no_number_is_cut(columns, width):
    lines = grid_lines(columns, width)
    assert max(map(cell_len, lines)) <= width
    printed = sorted(re.findall(r"(?<![\d,])[\d,]+(?![\d,])", "\n".join(lines)))
    for column in columns[1:]:
        if not column.is_text:
            for cell in column.cells:
                assert cell in printed


def test_columns_that_do_not_fit_stand_below_beside_the_first_one_again():
    columns = [
        GridColumn("phase", ["base", "1"], is_text=True),
        GridColumn("instances", ["12,345", "99"]),
        GridColumn("AP", ["44.7", "8.5"]),
    ]
    first = ["phase  instances", "────────────────", "base      12,345", "1             99"]
    second = ["    AP", "──────", "  44.7", "   8.5"]
    whole = [one + more for one, more in zip(first, second, strict=True)]
    assert grid_lines(columns, 22) == whole
    below = ["phase    AP", "───────────", "base   44.7", "1       8.5"]
    assert grid_lines(columns, 16) == [*first, "", *below]
    with_counts = [replace(columns[0], below="classes"), columns[1], replace(columns[2], below="9")]
    assert grid_lines(with_counts, 30)[:3] == [
        "phase    instances    AP", "classes                9", "─" * 24
    ]  # fmt: skip


@pytest.mark.parametrize("width", [60, 75, 130])
def test_long_text_is_wrapped_and_the_number_beside_it_is_whole(width, monkeypatch, capsys):
    monkeypatch.setattr(console, "out", lambda: Console(highlight=False, width=80))
    words = ("owl, " * 40)[: width - 1] + "x"
    rows = [["photo.jpg", words, "0.66"]]
    console.print_rows("found", ["image", "objects found", "best score"], rows, text=2)
    printed = capsys.readouterr().out
    assert printed.count("owl") == words.count("owl")
    assert "0.66" in printed
    assert max(map(len, printed.splitlines())) <= 80


def terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Let `meter` and what is said beside it write to a terminal of so many columns."""
    written = io.StringIO()

    def make(**words: object) -> Console:
        return Console(
            file=written, width=width, force_terminal=True, color_system=None, highlight=False,
            _environ={"TERM": "xterm"},
        )  # fmt: skip

    monkeypatch.setattr(console, "Console", make)
    return written


def seen(written: io.StringIO) -> list[str]:
    """Lines that were drawn one after another, without control codes."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


LOSSES = "loss 1.234  cls 0.321  box 0.456  mask 0.693  distill 0.123  distill box 0.001  lr 0.01"


@pytest.mark.parametrize("width", [50, 60, 80, 82, 84, 120, 200])
def test_the_progress_line_keeps_count_rate_and_time_left_and_drops_losses(width, monkeypatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("lst_cli.cli.console.time.monotonic", lambda: float(next(clock)))
    written = terminal(width, monkeypatch)
    with console.meter() as tell:
        for done in range(4):
            tell("phase 3 of 6: images", done, 12_345, LOSSES)
    last = seen(written)[-1]
    assert len(last) < width
    assert "3/12,345" in last
    assert "5.0 s each" in last
    assert "left" in last
    assert last.startswith("phase")
    assert ("━" in last) == (width >= 80)
    shown = [part for part in LOSSES.split("  ") if part in last]
    assert shown == LOSSES.split("  ")[: len(shown)]
    rest = last.split("left", 1)[1].split()
    assert rest == "  ".join(shown).split()  # no piece of another
    assert (len(shown) == 7) == (width == 200)


def test_work_of_a_name_that_was_there_before_has_a_rate_of_its_own(monkeypatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("lst_cli.cli.console.time.monotonic", lambda: float(next(clock)))
    written = terminal(80, monkeypatch)
    with console.meter() as tell:
        for done in (60, 0, 1):  # images are looked at, and then the network runs on them
            tell("images", done, 60)
    assert "1/60  5.0 s each  4 min 55 s left" in seen(written)[-1]


def test_what_is_said_beside_a_progress_line_stands_on_a_line_of_its_own(monkeypatch):
    written = terminal(80, monkeypatch)
    with console.meter() as tell:
        tell("phase 1", 10, 10, "loss 0.5")
        console.note("phase 1 done: 10 iterations")
        console.warn("something")
    lines = seen(written)
    assert "phase 1 done: 10 iterations" in lines
    assert "warning: something" in lines


def test_a_terminal_that_cannot_move_gets_lines(monkeypatch, capsys):
    monkeypatch.setattr(
        console, "Console",
        lambda **_: Console(force_terminal=True, _environ={"TERM": "dumb"}),
    )  # fmt: skip
    monkeypatch.setattr(console, "_PLAIN_EVERY", 0.0)
    with console.meter() as tell:
        tell("images", 3, 10)
    assert capsys.readouterr().err == "images: 3 of 10\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nothing_is_coloured_where_colour_is_not_wanted(name, value, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.in_colour("error", "red") == "\x1b[31merror\x1b[0m"
    monkeypatch.setenv(name, value)
    assert console.in_colour("error", "red") == "error"


def test_the_progress_line_shows_every_loss_but_those_of_the_proposals():
    told: list[Any] = []
    losses = {"total": 3.0, "loss_cls": 1.0, "loss_rpn_loc": 0.5, "loss_new_one": 0.25}
    report: Any = SimpleNamespace(iteration=1, iterations=2, lr=0.1, losses=losses)
    tell: Any = lambda *words: told.append(words)  # noqa: E731
    training_events(tell).iteration(report)
    assert told == [("", 1, 2, "loss 3.000  cls 1.000  new_one 0.250  lr 0.1")]


# --- whole commands on terminals of 60 columns and more -------------------------------------------

WIDTHS = [60, 80, 82, 84, 100]


def numbers(text):
    """Words of a table that hold a digit."""
    return Counter(word for word in text.split() if re.search(r"\d", word))


@pytest.fixture
def check(lst, monkeypatch):
    """See that nothing of a command's output is lost at any width; its output in a pipe."""

    def output(words, **environment):
        with monkeypatch.context() as patch:
            patch.delenv("FORCE_COLOR", raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            return click.unstyle(lst(*words).ok().out)

    def check(*words):
        wide = output(words)
        for width in WIDTHS:
            narrow = output(words, FORCE_COLOR="1", COLUMNS=str(width), TERM="xterm")
            lost = numbers(wide) - numbers(narrow)
            # Long words of text, such as paths, may be broken; numbers never.
            assert not [word for word in lost if cell_len(word) < 20], f"{width}: {narrow}"
            for line in narrow.splitlines():
                plain = line.startswith(("next: ", "/"))  # to be copied: a line stays one line
                assert plain or cell_len(line) <= width, f"{width}: {line}"
        return wide

    return check


def test_status_with_large_numbers(check, runs):
    run = runs.train("first")
    runs.evaluate(run, 0.4472)
    for phase in run.done_phases():
        path = run.phase(phase).manifest
        record = json.loads(path.read_text())
        del record["checksum"]
        record |= {"seconds": 123456.7, "new_entries": 98765, "iterations": 1234567}
        save_json(record, path)
    shown = check("status", "-w", run.root)
    assert "44.7" in shown
    assert "1,234,567" in shown
    assert "34 h 17 min" in shown


def test_files_splits_and_dry_runs(check, small_lvis, workspace, tmp_path):
    split = small_lvis.split_words()
    check(*split, "-w", tmp_path / "new")
    check("train-base", "--dry-run", "-w", workspace.root)
    table1 = ["sweep", "table1", *split[1:], "--preset", "lite", "--dir", tmp_path / "sweep"]
    check(*table1, "--dry-run")
    check("sweep", "--list")
    check("hold-out", *split[1:3], "--out", tmp_path / "out", "--rare", 3, "--force")
    check("check", *split[1:7])


def test_scores_of_a_file(check, small_lvis, tmp_path):
    keys = ("image_id", "category_id", "bbox")
    found = [
        {"score": 0.5, **{key: one[key] for key in keys}}
        for one in small_lvis.val["annotations"][::2]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    shown = check(
        "score", results, "--annotations", small_lvis.val_json,
        "--train-counts", small_lvis.train_json, "--errors", "--iou-type", "bbox",
    )  # fmt: skip
    assert "lies on an annotation" in shown
