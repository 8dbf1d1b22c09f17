"""Settings that have another name now, or were removed: old files and commands keep working."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

RENAMED: Mapping[str, str] = {
    "base.future": "base.future_classes",
    "step.future": "step.future_classes",
    "step.others": "step.other_objects",
    "mwg.kept": "mwg.bank_size",
}
"""Today's name of a setting by its old one; both are in the same section."""

_RENAMED_VALUES: Mapping[str, Mapping[str, str]] = {"mwg.support": {"kept": "bank"}}

_ANY = object()
REMOVED: Mapping[str, Any] = {
    "step.previous_share": 0.0,
    "step.rebalance_epochs": 0.0,
    "step.distill_boxes": 0.0,
    "eval.calibration": "none",
    "eval.calibration_strength": _ANY,  # these two did nothing without eval.calibration
    "eval.calibration_images": _ANY,
}
"""Settings that gained nothing, with the value under which they did nothing."""

WHY_REMOVED = "was removed, because it gained nothing (docs/benchmarks/options.md)"


class OldSettingWarning(UserWarning):
    """A setting was given by an old name, or has no effect any more."""


def modern(key: str, value: Any, source: str = "") -> tuple[str, Any] | None:
    """Today's name and value of a setting.

    Args:
        key: Its dotted key, old or new.
        value: Its value.
        source: Where it was given, for the note about an old name; "" for no note.

    Returns:
        Key and value; None for a removed setting whose value does nothing.
    """
    if key in REMOVED and (REMOVED[key] is _ANY or REMOVED[key] == value):
        return None
    new, new_value = RENAMED.get(key, key), value
    if isinstance(value, str):
        new_value = _RENAMED_VALUES.get(key, {}).get(value, value)
    if source and (new, new_value) != (key, value):
        told = (key, new) if new != key else (f"{key} = {value}", f"{key} = {new_value}")
        text = f"{source}: {told[0]} is called {told[1]} now"
        warnings.warn(text, OldSettingWarning, stacklevel=2)
    return new, new_value


def modern_table(table: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Nested settings by today's names; where both names of one are given, the new one counts."""
    found = dict(table)
    for section, part in table.items():
        if not isinstance(part, Mapping) or section == "detectron2":
            continue
        old, new = dict[str, Any](), dict[str, Any]()
        for name, value in part.items():
            if (one := modern(f"{section}.{name}", value, source)) is not None:
                key = one[0].removeprefix(f"{section}.")
                (new if key == name else old)[key] = one[1]
        found[section] = {**old, **new}
    return found


def take_removed(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part nested settings by today's names from the removed ones.

    Returns:
        The table without these, and their values by dotted key.
    """
    found, removed = dict(table), dict[str, Any]()
    for key in REMOVED:
        section, name = key.split(".")
        part = found.get(section)
        if isinstance(part, Mapping) and name in part:
            removed[key] = part[name]
            found[section] = {one: value for one, value in part.items() if one != name}
    return found, removed
