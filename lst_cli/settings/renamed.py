"""Settings that have another name now, or were removed: old files and commands keep working."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lst_cli.errors import LstWarning

RENAMED: Mapping[str, str] = {
    "base.future": "base.future_classes",
    "step.future": "step.future_classes",
    "step.others": "step.other_objects",
    "mwg.kept": "mwg.bank_size",
}
"""Today's name of a setting by its old one; both are in the same section."""

_RENAMED_VALUES = {("mwg.support", "kept"): "bank"}

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


class OldSettingWarning(LstWarning):
    """A setting was given by an old name, or has no effect any more."""


def modern(key: str, value: Any, source: str = "") -> tuple[str, Any] | None:
    """Today's dotted key and value of a setting; None for a removed one whose value does nothing.

    With a `source`, where it was given, an old name is noted in a warning.
    """
    if key in REMOVED and (REMOVED[key] is _ANY or REMOVED[key] == value):
        return None
    new, new_value = RENAMED.get(key, key), value
    if isinstance(value, str):
        new_value = _RENAMED_VALUES.get((key, value), value)
    if source and (new, new_value) != (key, value):
        old, now = (key, new) if new != key else (f"{key} = {value}", f"{key} = {new_value}")
        text = f"{source}: {old} is called {now} now"
        warnings.warn(text, OldSettingWarning, stacklevel=2)
    return new, new_value


def modern_table(table: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Nested settings by today's names; see `modern`."""
    found = dict(table)
    for section, part in table.items():
        if isinstance(part, Mapping) and section != "detectron2":
            # Old names first: where both names of a setting are given, the new one counts.
            names = sorted(part, key=lambda name: f"{section}.{name}" not in RENAMED)
            now = [modern(f"{section}.{name}", part[name], source) for name in names]
            found[section] = {one[0].partition(".")[2]: one[1] for one in now if one}
    return found


def take_removed(
    table: Mapping[str, Any], source: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Nested settings by today's names without removed ones, and the values of these by key."""
    found, removed = modern_table(table, source), dict[str, Any]()
    for key in REMOVED:
        section, name = key.split(".")
        if isinstance(part := found.get(section), dict) and name in part:
            removed[key] = part.pop(name)
    return found, removed
