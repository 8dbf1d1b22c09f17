"""Commands in hints: which workspace they are for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lst_cli.errors import LstError

# Commands that take -w, except `lst demo`, which has a default of its own.
COMMANDS = (
    "init", "split", "check", "train-base", "train-joint", "step", "adopt", "extend", "bank",
    "eval", "predict", "report", "figure", "status",
)  # fmt: skip
# A command in a sentence, with its options: to the next command or semicolon.
_COMMAND = re.compile(rf"(?<![\w./-])(lst (?:{'|'.join(COMMANDS)}))(?![\w-])((?:(?!\blst )[^;])*)")
# It names its workspace already, or needs none.
_COMPLETE = re.compile(r"(?<!\S)(-w|--workspace|--help|--print)\b")


def name_workspace(text: str, root: Path) -> str:
    """Add `-w ROOT` to each command in a text that names no workspace.

    Examples:
        >>> name_workspace("lst step --all, then lst eval", Path("my work"))
        "lst step -w 'my work' --all, then lst eval -w 'my work'"
    """
    words = f" -w {shlex.quote(str(root))}"

    def add(match: re.Match[str]) -> str:
        command, options = match.groups()
        return match[0] if _COMPLETE.search(options) else f"{command}{words}{options}"

    return _COMMAND.sub(add, text)


@contextmanager
def hints_for(root: Path) -> Iterator[None]:
    """Complete the hints of errors about a workspace that is not the one of `-w`."""
    try:
        yield
    except LstError as error:
        error.hint = name_workspace(error.hint, root) if error.hint else None
        raise
