"""Classes by how many training instances they have.

The paper's Table 1 has six bins. They are half-open, whatever its headings say, and the
first three overlap on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lst_cli.errors import LstError

_SPELLING = re.compile(
    r"(?P<sign>=|<|>=)(?P<bound>[0-9]{1,12})|(?P<first>[0-9]{1,12})-(?P<last>[0-9]{1,12})"
)
_RARE, _COMMON = 10, 100  # most training images of a rare and of a common class (LVIS)
_HINT = "write bins as in '=1,<5,<10,10-99,100-999,>=1000'"


class Bin(BaseModel):
    """Classes with at least `low` and fewer than `high` training instances.

    Example:
        >>> Bin(name="<5", low=1, high=5).contains(4)
        True
        >>> Bin(name="<5", low=1, high=5).contains(5)
        False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    low: int = Field(ge=1)  # a class without any instance is never learned
    high: int | None = None  # no bound

    @model_validator(mode="after")
    def _check_bounds(self) -> Bin:
        if self.high is not None and self.high <= self.low:
            raise ValueError(f"bin {self.name!r} is empty: high {self.high} <= low {self.low}")
        return self

    def contains(self, instances: int) -> bool:
        """Tell whether a class with that many training instances is in the bin."""
        return self.low <= instances and (self.high is None or instances < self.high)


def parse_bins(text: str, given_by: str = "") -> tuple[Bin, ...]:
    """Read bins as they are written on the command line, each named by its one plain spelling.

    `=n` is exactly n instances, `<n` one to n - 1, `>=n` n or more, `a-b` both included. They may
    overlap and leave gaps. `given_by` is the option or setting, for the errors.
    Raises an `LstError` if one cannot be read, is empty, or is written twice.

    Example:
        >>> [(b.low, b.high) for b in parse_bins("=1, <5, 10-99, >=1000")]
        [(1, 2), (1, 5), (10, 100), (1000, None)]
    """
    bins: list[Bin] = []
    try:
        for item in text.split(","):
            parsed = _parse_bin(item.strip())
            if parsed in bins:
                raise LstError(f"bins {text!r}: {item.strip()!r} is written twice", _HINT)
            bins.append(parsed)
    except LstError as error:
        raise LstError(f"{given_by and given_by + ': '}{error.message}", error.hint) from error
    return tuple(bins)


def format_bins(bins: Sequence[Bin]) -> str:
    """Write bins so that `parse_bins` reads the same bounds again.

    Example:
        >>> format_bins(DEFAULT_BINS)
        '=1,<5,<10,10-99,100-999,>=1000'
    """
    return ",".join(_spell(each.low, each.high) for each in bins)


def frequency_of(images: int) -> str:
    """Give LVIS's letter for a class: rare, common or frequent, by training images.

    Example:
        >>> [frequency_of(images) for images in (1, 10, 11, 100, 101)]
        ['r', 'r', 'c', 'c', 'f']
    """
    if images <= _RARE:
        return "r"
    return "c" if images <= _COMMON else "f"


def _parse_bin(item: str) -> Bin:
    match = _SPELLING.fullmatch(item)
    if match is None:
        raise LstError(f"cannot read the bin {item!r}", _HINT)
    low, high = _bounds(match)
    if low < 1 or high in (0, 1):
        raise LstError(
            f"cannot use the bin {item!r}: classes have 1 training instance or more", _HINT
        )
    if high is not None and high <= low:
        raise LstError(f"cannot use the bin {item!r}: it is empty", _HINT)
    return Bin(name=_spell(low, high), low=low, high=high)


def _bounds(match: re.Match[str]) -> tuple[int, int | None]:
    if match["sign"] is None:
        return int(match["first"]), int(match["last"]) + 1
    bound = int(match["bound"])
    return {"=": (bound, bound + 1), "<": (1, bound), ">=": (bound, None)}[match["sign"]]


def _spell(low: int, high: int | None) -> str:
    if high is None:
        return f">={low}"
    if high == low + 1:
        return f"={low}"
    return f"<{high}" if low == 1 else f"{low}-{high - 1}"


DEFAULT_BINS = parse_bins("=1,<5,<10,10-99,100-999,>=1000")
