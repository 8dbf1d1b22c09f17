"""Nested tables of settings, from TOML files and `key=value` words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.text import escape_unseen


def override_table(overrides: Sequence[str]) -> dict[str, Any]:
    """The nested table that `key=value` words stand for.

    Raises:
        LstError: If a word is none of these.
    """
    table: dict[str, Any] = {}
    for word in overrides:
        key, value = parse_override(word)
        assign(table, key, value, word)
    return table


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested table over another; neither is changed."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both and below is not None else value
    return merged


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        LstError: If it is missing, unreadable or no TOML.
    """
    try:
        return _loads(read_regular(file).decode("utf-8"))
    except FileNotFoundError as error:
        raise LstError(f"{file}: no such file", "lst init") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LstError(f"{file}: cannot be read: {reason}", "give a TOML file") from error
    except ValueError as error:
        raise LstError(f"{file}: not valid TOML: {error}", f"correct {file}") from error


def _loads(text: str) -> dict[str, Any]:
    import sys

    # tomllib came with Python 3.11; tomli is the same parser for 3.10.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    table: dict[str, Any] = tomllib.loads(text)
    return table


def parse_override(word: str) -> tuple[list[str], Any]:
    """The path and the value of a `key=value` word; the value is TOML, or a plain string.

    Raises:
        LstError: If it is no such word.
    """
    key, equals, text = word.partition("=")
    if not equals or not key.strip():
        raise LstError(f"--set {word}: expected key=value", "for instance --set base.lr=0.02")
    path = key.strip().split(".")
    if path[0] == "detectron2" and len(path) > 1:
        # `lst init --print` shows these keys in quotes.
        path = ["detectron2", ".".join(path[1:]).strip("\"'")]
    try:
        return path, _loads(f"value = {text}")["value"]
    except ValueError:
        return path, text.strip()


def assign(table: dict[str, Any], path: Sequence[str], value: Any, word: str) -> None:
    """Put a value into a nested table; `word` is how the user gave it.

    Raises:
        LstError: If something on the path is no table.
    """
    for name in path[:-1]:
        child = table.setdefault(name, {})
        if not isinstance(child, dict):
            raise LstError(f"--set {word}: {name} is not a table of settings", "lst init --print")
        table = child
    table[path[-1]] = value


def leaves(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of all values of a nested table."""
    return [key for key, _ in flatten(table, prefix)]


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
