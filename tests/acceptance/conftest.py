"""Running `lst` as a user does, with its time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[float, float]]


@pytest.fixture
def lst() -> Run:
    """Run `lst` with some words; gives its seconds and its peak memory in GiB."""

    def run(*words: str | Path) -> tuple[float, float]:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "lst_cli", *map(str, words)])
        _, status, usage = os.wait4(process.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        return time.perf_counter() - began, usage.ru_maxrss / 2**20

    return run


@pytest.fixture
def shared_data() -> Path:
    """Real data that is not part of the repository."""
    root = Path(os.environ.get("LST_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("no real data here; LST_SHARED_DATA names its directory")
    return root
