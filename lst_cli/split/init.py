"""`lst init`: every setting with its default, as a commented file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lst_cli.errors import LstError
from lst_cli.settings.load import load_settings
from lst_cli.settings.nested import override_table, toml_value
from lst_cli.workspace.atomic import write_text

_HEADER = """\
# Settings of an lst workspace. What is commented out has the value shown: the preset's.
# Remove the "#" to set a value of your own. `--set key=value` overrides this file, and what
# a phase really used is stored in its manifest.
"""


def write_settings(file: Path, overrides: Sequence[str] = (), *, force: bool = False) -> None:
    """Write what `render_settings` renders; without `force` an `LstError` if there is a file."""
    if file.exists() and not force:
        raise LstError(f"{file} exists already", "edit it, or replace it with --force")
    write_text(file, render_settings(overrides))


def render_settings(overrides: Sequence[str] = ()) -> str:
    """The settings file as text; read back, it gives the settings of the same overrides.

    What is overridden, the preset included, is not commented out.
    """
    settings = load_settings(None, overrides)
    chosen = override_table(overrides)
    lines = [_HEADER, _comment(settings, "preset"), f'preset = "{settings.preset}"']
    tables: list[str] = []
    for name, value in settings:
        own = chosen.get(name, {})
        if isinstance(value, BaseModel):
            title = (type(value).__doc__ or "").strip().splitlines()[0]
            tables.append(f"[{name}]  # {title}")
            for key, one in value:
                tables += [_comment(value, key), _line(key, key, one, own)]
            tables.append("")
        elif isinstance(value, dict):
            tables.append(f"[{name}]  {_comment(settings, name)}")
            tables += [_line(json.dumps(key), key, one, own) for key, one in value.items()]
            tables.append("")
        elif name != "preset":
            lines += ["", _comment(settings, name), _line(name, name, value, chosen)]
    return "\n".join([*lines, "", *tables])


def _comment(model: BaseModel, name: str) -> str:
    return f"# {type(model).model_fields[name].description}"


def _line(written: str, key: str, value: Any, chosen: Mapping[str, Any]) -> str:
    return f"{'' if key in chosen else '#'}{written} = {toml_value(value)}"
