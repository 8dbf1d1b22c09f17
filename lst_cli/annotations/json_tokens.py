"""Where a value of a JSON list or object ends."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
_QUOTE, _COMMA, _OPEN_LIST, _OPEN = b'",[{'


def find_cut(data: bytes, start: int) -> tuple[int, bool]:
    """Find where the last whole element of a list ends.

    Args:
        data: Bytes of a JSON list, possibly cut anywhere at the end.
        start: Where an element (or the end of the list) begins.

    Returns:
        The position of the last comma between elements and False, or the
        position of the bracket that closes the list and True; -1 and False
        when no element is complete.

    Example:
        >>> find_cut(b'{"a": "],{"}, {"b": [1, 2', 0)
        (12, False)
    """
    depth, comma = 0, -1
    for match in _TOKEN.finditer(data, start):
        at = match.start()
        token = data[at]
        if token == _QUOTE:
            if match.end() - at == 1:  # a string that goes on behind the end of data
                break
        elif token == _COMMA:
            if depth == 0:
                comma = at
        elif token in (_OPEN, _OPEN_LIST):
            depth += 1
        elif depth == 0:
            return at, True
        else:
            depth -= 1
    return comma, False


def find_end(data: bytes, start: int) -> int:
    """Find where one value of an object ends: at a comma or a closing bracket.

    Example:
        >>> find_end(b'{"a": [1, 2]}, "b": 3', 0)
        13
    """
    depth = 0
    for match in _TOKEN.finditer(data, start):
        at = match.start()
        token = data[at]
        if token == _QUOTE:
            if match.end() - at == 1:
                break
        elif token in (_OPEN, _OPEN_LIST):
            depth += 1
        elif depth == 0:
            return at
        elif token != _COMMA:
            depth -= 1
    return -1
