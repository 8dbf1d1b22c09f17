"""Progress of long work: one callback type for the whole package."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, "int | None"], None]
"""Called with what is done, how much of it, and of how much; None where that is not known."""


def silent(what: str, done: int, total: int | None) -> None:
    """Show nothing."""


def stage(progress: Progress, name: str) -> Progress:
    """Call work by this name, whatever it calls itself."""
    return lambda what, done, total: progress(name, done, total)


def within(progress: Progress, where: str) -> Progress:
    """Say before the name of work what it is part of."""
    return lambda what, done, total: progress(f"{where}{what}", done, total)
