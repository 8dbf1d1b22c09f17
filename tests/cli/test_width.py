"""What commands print fits terminals of 60 columns and more, and every number stays whole."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import pytest
from rich.cells import cell_len

from lst_cli.workspace.records import save_json

Lst = Callable[..., Any]
WIDTHS = [60, 80, 82, 84, 100]


def numbers(text: str) -> Counter[str]:
    """Words of a table that hold a digit."""
    return Counter(word for word in text.split() if re.search(r"\d", word))


class Terminal:
    """Runs a command as in a pipe and as on a terminal of so many columns."""

    def __init__(self, lst: Lst, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lst, self._patch = lst, monkeypatch

    def output(self, words: list[object], width: int | None) -> str:
        with self._patch.context() as patch:
            patch.delenv("FORCE_COLOR", raising=False)
            if width is not None:
                for word in ("FORCE_COLOR=1", f"COLUMNS={width}", "TERM=xterm"):
                    patch.setenv(*word.split("="))
            outcome = self._lst(*words)
        assert outcome.code == 0, outcome.err
        return click.unstyle(outcome.out)

    def check(self, *words: object) -> str:
        """See that nothing of the output is lost at any width; the output in a pipe."""
        wide = self.output(list(words), None)
        for width in WIDTHS:
            narrow = self.output(list(words), width)
            lost = numbers(wide) - numbers(narrow)
            # Long words of text, such as paths, may be broken; numbers never.
            assert not [word for word in lost if cell_len(word) < 20], f"{width}: {narrow}"
            for line in narrow.splitlines():
                plain = line.startswith(("next: ", "/"))  # to be copied: a line stays one line
                assert plain or cell_len(line) <= width, f"{width}: {line}"
        return wide


@pytest.fixture
def terminal(lst: Lst, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(lst, monkeypatch)


def test_status_with_large_numbers(terminal, runs):
    run = runs.train("first")
    runs.evaluate(run, 0.4472)
    for phase in run.done_phases():
        path = run.phase(phase).manifest
        record = json.loads(path.read_text())
        del record["checksum"]
        record |= {"seconds": 123456.7, "new_entries": 98765, "iterations": 1234567}
        save_json(record, path)
    shown = terminal.check("status", "-w", run.root)
    assert "44.7" in shown
    assert "1,234,567" in shown
    assert "34 h 17 min" in shown


def test_split_and_dry_runs(terminal, small_lvis, workspace, tmp_path):
    terminal.check(*small_lvis.split_words(), "-w", tmp_path / "new")
    terminal.check("train-base", "--dry-run", "-w", workspace.root)
    terminal.check(
        "sweep", "table1", *small_lvis.split_words()[1:], "--dry-run", "--preset", "lite",
        "--dir", tmp_path / "sweep",
    )  # fmt: skip
    terminal.check("sweep", "--list")


def test_hold_out_and_check(terminal, small_lvis, tmp_path):
    words = ["--train", small_lvis.train_json]
    terminal.check("hold-out", *words, "--out", tmp_path / "out", "--rare", 3, "--force")
    terminal.check("check", *words, "--val", small_lvis.val_json, "--images", small_lvis.images)


def test_scores_of_a_file(terminal, small_lvis, tmp_path):
    keys = ("image_id", "category_id", "bbox")
    found = [
        {"score": 0.5, **{key: one[key] for key in keys}}
        for one in small_lvis.val["annotations"][::2]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    shown = terminal.check(
        "score", results, "--annotations", small_lvis.val_json,
        "--train-counts", small_lvis.train_json, "--errors", "--iou-type", "bbox",
    )  # fmt: skip
    assert "lies on an annotation" in shown
