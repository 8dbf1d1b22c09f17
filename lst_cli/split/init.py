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
    """Write a commented settings file.

    Args:
        file: Where to.
        overrides: `key=value` words, among them `preset=NAME`; they are not commented out.
        force: Whether an existing file is replaced.

    Raises:
        LstError: If there is one already and `force` is not given, or a value is refused.
    """
    if file.exists() and not force:
        raise LstError(f"{file} exists already", "edit it, or write it anew with --force")
    write_text(file, render_settings(overrides))


def render_settings(overrides: Sequence[str] = ()) -> str:
    """The settings file as text; read back, it gives the settings of the same overrides.

    Raises:
        LstError: If a value is refused.
    """
    settings = load_settings(None, overrides)
    chosen = override_table(overrides)
    lines = [_HEADER, f"# {_description(settings, 'preset')}", f'preset = "{settings.preset}"']
    tables: list[str] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name == "preset":
            continue
        if isinstance(value, BaseModel):
            tables.append(_table(name, value, chosen.get(name, {})))
        elif isinstance(value, dict):
            tables.append(
                _free_table(name, _description(settings, name), value, chosen.get(name, {}))
            )
        else:
            lines += ["", f"# {_description(settings, name)}", _line(name, value, chosen)]
    return "\n".join([*lines, "", *tables])


def _table(name: str, section: BaseModel, chosen: Mapping[str, Any]) -> str:
    title = (type(section).__doc__ or "").strip().splitlines()[0]
    lines = [f"[{name}]  # {title}"]
    for key in type(section).model_fields:
        lines += [f"# {_description(section, key)}", _line(key, getattr(section, key), chosen)]
    return "\n".join([*lines, ""])


def _free_table(
    name: str, description: str, values: Mapping[str, Any], chosen: Mapping[str, Any]
) -> str:
    lines = [f"[{name}]  # {description}"]
    lines += [_line(key, value, chosen, json.dumps(key)) for key, value in values.items()]
    return "\n".join([*lines, ""])


def _line(key: str, value: Any, chosen: Mapping[str, Any], written: str | None = None) -> str:
    return f"{'' if key in chosen else '#'}{written or key} = {toml_value(value)}"


def _description(model: BaseModel, name: str) -> str:
    return type(model).model_fields[name].description or ""
