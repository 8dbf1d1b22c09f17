"""The exceptions a user meets."""

from __future__ import annotations


class LstError(Exception):
    """A problem that the user can fix, in one line.

    The command line turns it into a red line, its hint into a second one, and
    exits with a code that is not 0. Everything else is a bug and keeps its
    traceback.

    Args:
        message: What is wrong, naming the offending file, class or value.
        hint: How to fix it, preferably a command to paste.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InterruptionError(LstError):
    """The user asked to stop, and what was done so far is kept."""
