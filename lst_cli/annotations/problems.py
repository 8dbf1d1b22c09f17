"""What a check found: how bad, what, how often, and a few places to look."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lst_cli.errors import LstError

Severity = Literal["error", "warning", "info"]

SKIP_HINT = "correct or remove these annotations, or leave them out with --skip-unusable"
"""What helps where the annotation itself is the problem."""

EXAMPLES = 5
"""How many places a problem names."""

_NUMBER = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


@dataclass(frozen=True)
class Problem:
    """One kind of problem with all places where it was met.

    An error must be fixed before training; a warning may be what the user wants; an info only
    says what will be done.
    """

    severity: Severity
    kind: str  # a short name that scripts can rely on, such as "box-no-area"
    message: str  # one sentence with the count
    count: int = 1  # of records or files
    examples: tuple[str, ...] = ()  # at most `EXAMPLES`
    hint: str | None = None  # how to fix it, if one thing does
    where: str = ""  # the file or files it was found in

    @property
    def sentence(self) -> str:
        """The message with its place and an example."""
        place = f"{self.where}: " if self.where and self.where not in self.message else ""
        example = f", for instance {self.examples[0]}" if self.examples else ""
        return f"{place}{self.message}{example}"

    def at(self, where: object) -> Problem:
        """Return the same problem, found in a file or files."""
        return replace(self, where=str(where))


def problems_of(
    records: Collection[Any],
    name: Callable[[Any], str],
    severity: Severity,
    kind: str,
    text: str,
    hint: str | None = None,
) -> list[Problem]:
    """One problem of some records, or none if there are none.

    `name` says which one a record is. `text` is the message behind their number; of "[is|are]"
    it takes what fits that.

    Example:
        >>> problems_of([3], str, "error", "thin", "box[|es] [is|are] thin")[0].message
        '1 box is thin'
    """
    count = len(records)
    message = f"{count:,} {_NUMBER.sub(lambda found: found[1 if count == 1 else 2], text)}"
    problem = Problem(severity, kind, message, count, examples(map(name, records)), hint)
    return [problem] if count else []


def examples(places: Iterable[str]) -> tuple[str, ...]:
    """Take the first few of many places without making the others."""
    return tuple(place for place, _ in zip(places, range(EXAMPLES), strict=False))


def count_of(count: int, one: str, many: str) -> str:
    """Write a count with its noun.

    Example:
        >>> count_of(1, "box", "boxes"), count_of(1204, "box", "boxes")
        ('1 box', '1,204 boxes')
    """
    return f"{count:,} {one if count == 1 else many}"


def incomplete(what: str, reasons: Sequence[str], hint: str | None) -> LstError:
    """The error, with its reasons, of a command that did everything else: a script must notice."""
    more = ", …" if len(reasons) > EXAMPLES else ""
    return LstError(f"{what}: {'; '.join(examples(reasons))}{more}", hint)
