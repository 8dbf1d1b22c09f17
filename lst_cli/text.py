"""Text from files of other people, made fit to be shown: on a terminal, in a table, a picture."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
# What moves the cursor, changes the direction of writing or cannot be seen; and halves of
# characters, which no file can hold. The joiners of emoji and of Persian are left.
_UNSEEN = "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_UNSEEN += "\ufff9-\ufffb\ud800-\udfff"
_HIDDEN = re.compile(f"[{_UNSEEN}\U000e0000-\U000e007f]")
_HIDDEN_IN_JSON = re.compile(f"(?!\n)[{_UNSEEN}]")


def printable(text: str) -> str:
    r"""One line in which every character can be seen; the others as escapes.

    Example:
        >>> printable("a\x1b[31m\nb")
        'a\\x1b[31m b'
    """
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], _BREAKS.sub(" ", text))


def printable_lines(text: str) -> str:
    """As `printable`, where the text may have several lines."""
    return "\n".join(map(printable, text.split("\n")))


def json_text(value: Any) -> str:
    """A value as JSON to be read by people too: escapes only for what cannot be seen."""
    return escape_unseen(json.dumps(value, indent=1, ensure_ascii=False))


def escape_unseen(text: str) -> str:
    """JSON or TOML with the same content and no such character; line ends stay."""
    return _HIDDEN_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def first_few(names: Sequence[str], most: int) -> str:
    """Names in a sentence, the first few of many.

    Example:
        >>> first_few(["a", "b", "c"], 3), first_few(["a", "b", "c"], 2)
        ('a, b, c', 'a, b and 1 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """End of an error about an unknown name: the most similar known name, if any.

    Example:
        >>> did_you_mean("blance", ["balance", "tail"]), did_you_mean("x", ["tail"])
        ('; did you mean balance?', '')
    """
    by_letters = {one.casefold(): one for one in reversed(list(known))}
    close = difflib.get_close_matches(word[:100].casefold(), list(by_letters), n=1)
    return f"; did you mean {by_letters[close[0]]}?" if close else ""
