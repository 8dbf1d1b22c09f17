"""CPU time that commands take to start, beside imports of the libraries they need."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.bench

RUNS = 7
LIBRARIES = "python -c 'import click, pydantic, rich'"
MOST = 1.5  # times LIBRARIES, for the list of commands
STARTS = {
    "python -c pass": ["-c", "pass"],
    LIBRARIES: ["-c", "import click, pydantic, rich"],
    "lst --help": ["-m", "lst_cli", "--help"],
    "lst step --help": ["-m", "lst_cli", "step", "--help"],
    "lst split --help": ["-m", "lst_cli", "split", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_list_of_commands_costs_little_more_than_its_libraries():
    for words in STARTS.values():
        seconds(words)  # fills the disk's cache
    # In turn, so that a slow minute of the machine slows all of them.
    rounds = [{name: seconds(words) for name, words in STARTS.items()} for _ in range(RUNS)]
    medians = {name: statistics.median(each[name] for each in rounds) for name in STARTS}
    print(f"\nseconds of CPU, median of {RUNS} in turn; {os.cpu_count()} cores")
    print("| command | seconds | of an import of click, pydantic and rich |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| `{name}` | {median:.2f} | {median / medians[LIBRARIES]:.1f} |")
    assert medians["lst --help"] <= MOST * medians[LIBRARIES]
