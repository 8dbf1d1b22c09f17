"""In what two finished phases differ: settings, data, weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lst_cli.compare.paired import Setting
from lst_cli.evaluate.stored import load_metrics
from lst_cli.settings.diff import differences, values
from lst_cli.settings.models import Settings
from lst_cli.workspace.manifest import completed
from lst_cli.workspace.store import Workspace

_OF_STEPS = ("step.", "mwg.")
_ABSENT = "not recorded"
_LENGTHS = ("epochs", "decay_epochs", "image_passes")


def find_differences(
    first: tuple[Workspace, int], this: tuple[Workspace, int]
) -> tuple[Setting, ...]:
    """Say in what a phase of one workspace differs from a phase of another.

    The base phase's settings are those that it was trained with, the others those of the phase
    itself; what changes no result, as the number of workers, is left out. Where images to show
    decided how long a phase was, these are compared, and not the epochs that they came to.

    Args:
        first: A workspace and a finished phase.
        this: Another, or the same.
    """
    known = [_describe(*one) for one in (first, this)]
    budgeted = {section for one in (first, this) for section in _budgeted(*one)}
    for table, (workspace, phase) in zip(known, (first, this), strict=True):
        for section in budgeted:
            for key in _LENGTHS:
                table.pop(f"{section}.{key}", None)
        if budgeted:
            table["image passes"] = _shown_images(workspace, phase)
    keys = dict.fromkeys(key for table in known for key in table)
    sections = [{key.split(".")[0] for key in table} for table in known]
    return tuple(
        Setting(key=key, first=both[0], this=both[1])
        for key in keys
        # A section that one run has no use for is no difference.
        if all(key.split(".")[0] in names for names in sections)
        and (both := [table.get(key, _ABSENT) for table in known])[0] != both[1]
        # Older evaluations did not record how they were made.
        and not (key.startswith("eval.") and _ABSENT in both)
    )


def network_differences(this: Settings, first: Settings) -> list[Setting]:
    """Settings of network and images in which a training differs from one before it."""
    return [
        Setting(
            key=one.key,
            first=_ABSENT if one.before is None else _shown(one.before),
            this=_ABSENT if one.now is None else _shown(one.now),
        )
        for one in differences(first, this, "weights")
        if one.key.startswith(("preset", "model.", "data.", "detectron2."))
        and one.key not in ("model.head", "model.mask")  # the rows of Table 1 differ in these
    ]


def _describe(workspace: Workspace, phase: int) -> dict[str, str]:
    split = workspace.split
    base = workspace.require_done(0)
    table = {
        "phase": str(phase),
        "training annotations": _file(split.train.path, split.train.sha256),
        "classes of the phases": _groups(split.groups[: phase + 1]),
        "initial weights": str((base.weights or {}).get("source", "none")),
    }
    for key, value in values(completed(base), "weights").items():
        if not key.startswith(_OF_STEPS):
            table[key] = _shown(value)
    if phase:
        for key, value in values(completed(workspace.require_done(phase)), "weights").items():
            if not key.startswith("base."):
                table[key] = _shown(value)
    # Those of [eval] are chosen for each evaluation.
    made = load_metrics(workspace, phase)
    if made is not None and made.made_with:
        for key, value in made.made_with.items():
            if key.startswith("eval."):
                table[key] = _shown(value)
    return table


def _budgeted(workspace: Workspace, phase: int) -> set[str]:
    """Sections of the settings whose number of epochs comes from a number of images."""
    budgets = [workspace.require_done(one).image_budget for one in range(phase + 1)]
    found = {"base"} if budgets[0] else set()
    return found | {"step"} if any(budgets[1:]) else found


def _shown_images(workspace: Workspace, phase: int) -> str:
    shown = [workspace.require_done(one).image_passes for one in range(phase + 1)]
    return " + ".join(f"{one:,}" for one in shown)


def _file(path: str, sha256: str) -> str:
    # The same file may lie in two places, and two files may have one name.
    return f"{Path(path).name} ({sha256[:8]})"


def _groups(groups: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256(str([list(group) for group in groups]).encode()).hexdigest()
    return f"{' + '.join(str(len(group)) for group in groups)} ({digest[:8]})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
