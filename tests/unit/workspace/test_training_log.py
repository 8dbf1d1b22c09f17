"""The log of a phase, cut short by crashes and continued."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lst_cli.errors import LstError
from lst_cli.workspace.training_log import logged_iterations, open_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def write(log: Path, start: int, until: int, **values: float) -> None:
    with open_log(log, start) as add:
        for iteration in range(start + 1, until + 1):
            add(iteration, 0.12345, 1e-3, values)


def test_a_line_holds_what_was_told(log):
    write(log, 0, 1, loss=1.23456789, scale=math.inf)
    assert json.loads(log.read_text()) == {
        "iteration": 1, "seconds": 0.123, "lr": 1e-3, "loss": 1.234568, "scale": None,
    }  # fmt: skip


def test_what_comes_after_the_start_is_written_again(log):
    write(log, 0, 5, loss=1.0)
    write(log, 3, 4, loss=2.0)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["iteration"], one["loss"]) for one in lines] == [
        (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0),
    ]  # fmt: skip


def test_how_far_it_is_is_read_from_its_end(log):
    assert logged_iterations(log) == 0
    log.touch()
    assert logged_iterations(log) == 0
    write(log, 0, 2500, loss=1.0)  # more than is read of it
    assert logged_iterations(log) == 2500
    with log.open("a") as file:
        file.write('{"iterat')
    assert logged_iterations(log) == 2500


def test_a_directory_in_the_way_is_named(log):
    log.mkdir()
    with pytest.raises(LstError, match=str(log)):
        write(log, 0, 1)


@pytest.mark.parametrize("place", range(6))
def test_a_damaged_line_changes_no_count_and_loses_no_other_line(tmp_path, place):
    path = tmp_path / "log.jsonl"
    whole = [f'{{"iteration": {number}, "lr": 0.1}}' for number in range(4, 10)]
    for damaged in ('{"iteration": 94}', '{"iterat', "[]", '{"iteration": 1e999}', ""):
        path.write_text("\n".join([*whole[:place], damaged, *whole[place + 1 :]]) + "\n")
        assert logged_iterations(path) >= 8  # a last line may have been cut short by a crash
        if damaged == '{"iteration": 94}':
            assert logged_iterations(path) == 9
        with open_log(path, 9):
            pass
        kept = whole[:place] + whole[place + 1 :]
        assert path.read_text().splitlines() == kept
