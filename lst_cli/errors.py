"""The exceptions that a user sees."""

from __future__ import annotations


class LstError(Exception):
    """A problem that the user can fix.

    The message is one line that names the wrong file, class or value; the hint says how to fix
    it, preferably with a command to paste. The command line shows both and exits with a code that
    is not 0. Every other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InterruptionError(LstError):
    """The user asked to stop, and what was done so far is kept."""


class LostProcessError(LstError):
    """Another process that trains with this one has ended."""


class LstWarning(UserWarning):
    """What a user should know, and work goes on; the command line shows it as a note."""
