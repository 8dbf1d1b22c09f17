"""`log.jsonl` of a phase: losses, learning rate and seconds, a line of JSON for each iteration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lst_cli.workspace.atomic import explain_os_error, write_text

Write = Callable[[int, float, float, Mapping[str, float]], None]
"""Called with an iteration from 1 on, its seconds, its learning rate, and values by name."""

_TAIL = 1 << 16  # bytes, many lines: a log of 90,000 iterations is not read for its last one


@contextmanager
def open_log(path: Path, start: int) -> Iterator[Write]:
    """Open a log, cut back to the iteration `start` that training continues from.

    Yields a function that appends an iteration; a number that is not finite becomes null.
    """
    with explain_os_error(path):
        old = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        # A line that is damaged or cut short has no iteration.
        lines = [(_iteration(line), line) for line in old.splitlines()]
        kept = [line for number, line in lines if number is not None and number <= start]
        write_text(path, "".join(f"{line}\n" for line in kept))
    with path.open("a", encoding="utf-8", buffering=1) as file:

        def write(iteration: int, seconds: float, lr: float, values: Mapping[str, float]) -> None:
            entry = {"iteration": iteration, "seconds": round(seconds, 3), "lr": lr}
            # JSON has no infinity, which a gradient of mixed precision may be.
            rounded = {k: round(v, 6) if math.isfinite(v) else None for k, v in values.items()}
            with explain_os_error(path):
                file.write(json.dumps(entry | rounded) + "\n")

        yield write


def logged_iterations(path: Path) -> int:
    """How many iterations a log has; 0 without a log. Training may go on from a few before them."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return 0
    found = [_iteration(line) for line in lines]
    while found and found[-1] is None:  # cut short by a crash
        found.pop()
    # A damaged digit shows by the line before: the newest two that follow each other count.
    for after, (one, other) in enumerate(zip(found[-2::-1], found[:0:-1], strict=True)):
        if one is not None and other == one + 1:
            return other + after
    return found[-1] or 0 if found else 0


def _iteration(line: str) -> int | None:
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
