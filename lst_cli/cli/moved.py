"""Old spellings of commands: the answer is the new one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lst_cli.errors import LstError

_MOVED = {
    ("eval", "--detections"): "score",
    ("report", "--compare"): "compare",
    ("report", "--figure"): "figure",
}


def refuse_moved(words: Sequence[str]) -> None:
    """Refuse an option that has become a command.

    Raises:
        LstError: Its hint is the new command with the user's own words.
    """
    for (command, option), new in _MOVED.items():
        rest = [word for word in words[1:] if word != option]
        plain = [word.removeprefix(f"{option}=") for word in rest]
        if words[0] == command and plain != list(words[1:]):
            hint = shlex.join(["lst", new, *plain])
            raise LstError(f"lst {command} {option} is now lst {new}", hint)
