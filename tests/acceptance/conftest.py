"""Running `lst` as a user does, with its time and memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[float, float]]

# The kernel's own high-water mark of the process: what wait4 tells includes the parent's memory.
PROGRAM = """
import atexit, pathlib, sys
report = pathlib.Path(sys.argv.pop(1))
def keep():
    status = pathlib.Path("/proc/self/status").read_text()
    report.write_text(next(l for l in status.splitlines() if l.startswith("VmHWM")).split()[1])
atexit.register(keep)
from lst_cli.cli.main import main
main()
"""


@pytest.fixture
def lst(tmp_path_factory):
    """Run `lst` with some words; gives its seconds and its peak memory in GiB."""

    report = tmp_path_factory.mktemp("memory") / "kilobytes"

    def run(*words: str | Path) -> tuple[float, float]:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", PROGRAM, report, *map(str, words)], check=True)
        return time.perf_counter() - began, int(report.read_text()) / 2**20

    return run


@pytest.fixture
def kept():
    """Where runs are kept, so that what is interrupted goes on with the next call.

    By default each state of the code has a place of its own: what another one made would pass for
    what this one does.
    """
    if place := os.environ.get("LST_KEEP"):
        return Path(place)
    root = Path(__file__).parents[2]
    code = hashlib.sha256()
    for file in sorted((root / "lst_cli").rglob("*.py")):
        code.update(file.read_bytes())
    return root / ".acceptance" / code.hexdigest()[:8]
