"""How long commands take to start, beside Python itself and an import of torch."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.bench

RUNS = 7
STARTS = {
    "python -c pass": ["-c", "pass"],
    "lst --help": ["-m", "lst_cli", "--help"],
    "lst split --help": ["-m", "lst_cli", "split", "--help"],
    "lst report --help": ["-m", "lst_cli", "report", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def test_starts_are_measured_against_an_import_of_torch() -> None:
    for words in STARTS.values():
        seconds(words)  # fills the disk's cache
    # In turn, so that a slow minute of the machine slows all of them.
    rounds = [{name: seconds(words) for name, words in STARTS.items()} for _ in range(RUNS)]
    medians = {name: statistics.median(each[name] for each in rounds) for name in STARTS}
    torch = medians["python -c 'import torch'"]
    print(f"\nseconds from start to end, median of {RUNS} in turn; {os.cpu_count()} cores")
    print("| command | seconds | of an import of torch |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| `{name}` | {median:.2f} | {median / torch:.0%} |")
    assert medians["lst --help"] < torch
