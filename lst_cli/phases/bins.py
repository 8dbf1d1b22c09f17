"""Classes by how many training instances they have.

The six bins of the paper's Table 1 are half-open; the first three overlap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lst_cli.errors import LstError

_SPELLING = re.compile(
    r"(?P<sign>=|<|>=)(?P<bound>[0-9]{1,12})|(?P<first>[0-9]{1,12})-(?P<last>[0-9]{1,12})"
)
_RARE, _COMMON = 10, 100  # most training images of a rare and of a common class (LVIS)
_HINT = "write bins as in '=1,<5,<10,10-99,100-999,>=1000'"


@dataclass(frozen=True)
class Bin:
    """Classes with at least `low` and fewer than `high` training instances.

    Example:
        >>> [Bin(1, 5).contains(instances) for instances in (4, 5)]
        [True, False]
    """

    low: int  # 1 or more: a class without any instance is never learned
    high: int | None = None  # no bound

    @property
    def name(self) -> str:
        """How it is written."""
        if self.high is None:
            return f">={self.low}"
        if self.high == self.low + 1:
            return f"={self.low}"
        return f"<{self.high}" if self.low == 1 else f"{self.low}-{self.high - 1}"

    def contains(self, instances: int) -> bool:
        """Tell whether a class with that many training instances is in the bin."""
        return self.low <= instances and (self.high is None or instances < self.high)


def parse_bins(text: str, given_by: str = "") -> tuple[Bin, ...]:
    """Read bins as they are written on the command line; they may overlap and leave gaps.

    `=n` is exactly n instances, `<n` one to n - 1, `>=n` n or more, `a-b` both included. An
    `LstError`, which names the option or setting `given_by`, if one cannot be used.

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
    number = int(match["bound"] or match["first"])
    low, high = {
        "=": (number, number + 1),
        "<": (1, number),
        ">=": (number, None),
        None: (number, int(match["last"] or 0) + 1),
    }[match["sign"]]
    if low < 1 or high in (0, 1):
        raise LstError(
            f"cannot use the bin {item!r}: classes have 1 training instance or more", _HINT
        )
    if high is not None and high <= low:
        raise LstError(f"cannot use the bin {item!r}: it is empty", _HINT)
    return Bin(low, high)


DEFAULT_BINS = parse_bins("=1,<5,<10,10-99,100-999,>=1000")
