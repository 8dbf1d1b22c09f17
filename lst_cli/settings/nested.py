"""Nested tables of settings, from TOML files and `key=value` words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.settings.renamed import modern
from lst_cli.text import escape_unseen

_LARGEST = 2**20  # bytes of a file of settings
_DEEPEST = 20  # tables and lists inside each other


def override_table(overrides: Sequence[str]) -> dict[str, Any]:
    """The nested table that `key=value` words stand for; see `apply_overrides`."""
    table: dict[str, Any] = {}
    apply_overrides(table, overrides)
    return table


def apply_overrides(table: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Put the values of `key=value` words into a nested table; returns their dotted keys.

    The keys are today's names. Raises an `LstError` if a word has another form.
    """
    keys = []
    for word in overrides:
        path, value = parse_override(word)
        given = ".".join(path)
        if (now := modern(given, value, "--set")) is not None:
            key, value = now
            # A detectron2 key has dots of its own.
            assign(table, path if key == given else key.split("."), value, word)
            keys.append(key)
    return keys


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested table over another; neither is changed."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both and below is not None else value
    return merged


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file; an `LstError` if it is missing, cannot be read or is not TOML."""
    try:
        if file.stat().st_size > _LARGEST:
            raise LstError(f"{file}: larger than {_LARGEST:,} bytes", "give a TOML file")
        # Some editors put a byte order mark before the text.
        return _loads(read_regular(file).decode("utf-8-sig").replace("\r\n", "\n"))
    except FileNotFoundError as error:
        raise LstError(f"{file}: no such file", "lst init") from error
    except OSError as error:
        raise LstError(f"{file}: cannot be read: {error.strerror}", "give a TOML file") from error
    except UnicodeDecodeError as error:
        where = f"{file}, byte {error.start + 1:,}"
        raise LstError(f"{where}: cannot be read: not UTF-8 text", "save it as UTF-8") from error
    except ValueError as error:
        raise LstError(f"{file}: not valid TOML: {error}", f"correct {file}") from error


def _loads(text: str) -> dict[str, Any]:
    # tomllib came with Python 3.11; tomli is the same parser for 3.10.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    level: list[Any] = [table]
    for _ in range(_DEEPEST):
        tables = [one.values() if isinstance(one, dict) else one for one in level]
        level = [inner for one in tables for inner in one if isinstance(inner, dict | list)]
    if level:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    return table


def parse_override(word: str) -> tuple[list[str], Any]:
    """The path and the value of a `key=value` word; the value is TOML, or a plain string."""
    key, equals, text = word.partition("=")
    if not equals or not key.strip():
        raise LstError(f"--set {word[:100]}: expected key=value", "for instance --set base.lr=0.02")
    path = key.strip().split(".")
    if path[0] == "detectron2" and len(path) > 1:
        # `lst init --print` shows these keys in quotes.
        path = ["detectron2", ".".join(path[1:]).strip("\"'")]
    try:
        return path, _loads(f"value = {text}")["value"]
    except ValueError:
        return path, text.strip()


def assign(table: dict[str, Any], path: Sequence[str], value: Any, word: str) -> None:
    """Put a value into a nested table; an `LstError` if something on the path is no table.

    `word` is how the user gave it.
    """
    if len(path) > _DEEPEST:
        raise LstError(f"--set {word[:100]}: a key of {len(path):,} parts", "lst init --print")
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            problem = f"{name} is not a table of settings"
            raise LstError(f"--set {word[:100]}: {problem}", "lst init --print")
    table[path[-1]] = value


def shorten(value: Any) -> str:
    """A refused value as an error shows it: at most 100 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def first_few(lines: Sequence[str]) -> str:
    """Problems in one line, at most ten of them."""
    more = f"; and {len(lines) - 10:,} more" if len(lines) > 10 else ""
    return "; ".join(lines[:10]) + more


def leaves(table: Mapping[str, Any]) -> list[str]:
    """Dotted keys of all values of a nested table."""
    return [key for key, _ in flatten(table)]


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in a nested table."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def override_words(table: Mapping[str, Any]) -> tuple[str, ...]:
    """`key=value` words that stand for everything in a nested table; see `override_table`."""
    return tuple(f"{key}={toml_value(value)}" for key, value in flatten(table))


def toml_value(value: Any) -> str:
    """A value as TOML writes it: a number, text, a truth value, or a list of these."""
    # JSON's numbers, strings, booleans and lists are TOML too; not so its surrogate escapes.
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return escape_unseen(text)
