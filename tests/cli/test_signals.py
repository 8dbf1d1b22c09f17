"""A command that is told to stop ends with one line, a code that says so, and no temporary file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.errors import LstError
from lst_cli.workspace.store import Workspace

Lst = Callable[..., Any]
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def _stop_while_writing(number: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def stop(path: Path, data: bytes) -> int:
        if path.parent == workspace.root:
            write_bytes(path, data[:2])
            os.kill(os.getpid(), number)
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", stop)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_command_that_is_stopped_says_so_and_leaves_nothing(
    number: int, code: int, workspace: Workspace, small_lvis: Any, lst: Lst,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = {path: path.read_bytes() for path in workspace.root.iterdir()}
    with monkeypatch.context() as patch:
        _stop_while_writing(number, workspace, patch)
        outcome = lst(*small_lvis.split_words(base=4), "-w", workspace.root)
    assert outcome.code == code
    assert outcome.error == f"error: stopped by {signal.Signals(number).name}"
    assert outcome.hint == "run the same command again to continue"
    assert {path: path.read_bytes() for path in workspace.root.iterdir()} == before
    assert signal.getsignal(number) == signal.SIG_DFL
    assert lst(*small_lvis.split_words(base=4), "-w", workspace.root).code == 0


def test_an_ignored_hangup_does_not_stop_a_command(workspace, small_lvis, lst, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _stop_while_writing(signal.SIGHUP, workspace, monkeypatch)
        assert lst(*small_lvis.split_words(), "-w", workspace.root).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_worker_ends_by_the_signal_without_a_word(workspace, lst, monkeypatch):
    codes = []

    def with_a_worker(*args: Any, **others: Any) -> Any:
        fork = multiprocessing.get_context("fork")
        begun = fork.Event()
        worker = fork.Process(target=lambda: (begun.set(), time.sleep(60)))
        worker.start()
        assert begun.wait(10)
        worker.terminate()
        worker.join(10)
        codes.append(worker.exitcode)
        raise LstError("enough", "lst")

    monkeypatch.setattr("lst_cli.report.status.read_status", with_a_worker)
    assert lst("status", "-w", workspace.root).code == 1
    assert codes == [-signal.SIGTERM]
