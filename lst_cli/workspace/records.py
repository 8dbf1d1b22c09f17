"""JSON files that lst reads again: each ends with a checksum of what stands before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lst_cli.errors import LstError
from lst_cli.files import read_regular
from lst_cli.text import json_text
from lst_cli.workspace.atomic import write_text

_KEY = "checksum"
_FIRST_WITH_CHECKSUM = 2  # version of a manifest or split; other files tell by the key alone

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def save_record(record: BaseModel, path: Path) -> None:
    """Write a record atomically, with its checksum."""
    save_json(json.loads(record.model_dump_json()), path)


def save_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON object atomically, with its checksum."""
    sealed = {**content, _KEY: _checksum(content)}
    write_text(path, json_text(sealed) + "\n")


def load_record(
    kind: type[AnyModel], path: Path, hint: str, versions: tuple[int, ...] | None = None
) -> AnyModel:
    """Read a record; see `load_json`. An `LstError` also if it has another shape."""
    content = load_json(path, hint, versions)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LstError(f"{path}: {key + ': ' if key else ''}{first['msg']}", hint) from error


def load_json(path: Path, hint: str, versions: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Read a JSON object, without its checksum, and check that it is as it was written.

    Files of lst 0.1 have no checksum and are taken as they are. The hint of an error says how to
    make the file again; `versions` are the values of `format` that can be read.
    """
    try:
        content = json.loads(read_regular(path))
    except FileNotFoundError as error:
        raise LstError(f"{path}: missing", hint) from error
    except OSError as error:
        raise LstError(f"{path}: cannot be read: {error.strerror}", hint) from error
    except (ValueError, RecursionError) as error:
        raise LstError(f"{path}: not valid JSON, perhaps cut short: {error}", hint) from error
    version: Any = content.get("format") if isinstance(content, dict) else None
    if versions is not None and (type(version) is not int or version not in versions):
        raise LstError(
            f"{path}: format version {version}, but this lst reads version "
            f"{' and '.join(map(str, versions))}",
            "use the lst that wrote the workspace, or start a new one with -w DIR",
        )
    if not isinstance(content, dict):
        raise LstError(f"{path}: no JSON object", hint)
    found = content.pop(_KEY, None)
    lacking = found is None and versions is not None and version >= _FIRST_WITH_CHECKSUM
    if lacking or (found is not None and found != _checksum(content)):
        raise LstError(f"{path}: changed or damaged after lst wrote it", hint)
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
