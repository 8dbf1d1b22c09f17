"""In what two finished phases differ: settings, data, weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lst_cli.compare.paired import Setting
from lst_cli.evaluate.stored import load_metrics
from lst_cli.settings.diff import differences, unused_sections, values
from lst_cli.settings.models import Settings
from lst_cli.workspace.manifest import completed
from lst_cli.workspace.store import Workspace

_ABSENT = "not recorded"
_LENGTHS = ("epochs", "decay_epochs", "image_passes")


def find_differences(
    first: tuple[Workspace, int], this: tuple[Workspace, int]
) -> tuple[Setting, ...]:
    """Find in what a finished phase differs from another one.

    The base phase's settings are those that it was trained with, the others those of the phase
    itself; settings that change no result, as the number of workers, are ignored. Where a number
    of images decided how long a phase was, images are compared, and not epochs.
    """
    both = (first, this)
    mwg = any(
        phase and completed(workspace.require_done(phase))["step"]["mwg"]
        for workspace, phase in both
    )
    tables = [_describe(*one, mwg) for one in both]
    # Sections of the settings whose number of epochs comes from a number of images.
    budgeted = {
        "step" if one else "base"
        for workspace, phase in both
        for one in range(phase + 1)
        if workspace.require_done(one).image_budget
    }
    for table, (workspace, phase) in zip(tables, both, strict=True):
        for section in budgeted:
            for key in _LENGTHS:
                table.pop(f"{section}.{key}", None)
        if budgeted:
            shown = [workspace.require_done(one).image_passes for one in range(phase + 1)]
            table["image passes"] = " + ".join(f"{one:,}" for one in shown)
    # Settings that only one run uses are ignored.
    before, now = ({key.partition(".")[0] for key in table} for table in tables)
    found = []
    for key in dict.fromkeys(key for table in tables for key in table):
        one, other = (table.get(key, _ABSENT) for table in tables)
        # Older evaluations did not record how they were made.
        unknown = key.startswith("eval.") and _ABSENT in (one, other)
        if one != other and key.partition(".")[0] in before & now and not unknown:
            found.append(Setting(key=key, first=one, this=other))
    return tuple(found)


def network_differences(this: Settings, first: Settings) -> list[Setting]:
    """Find the settings of network and images in which a training differs from one before it."""
    return [
        Setting(key=key, first=_shown(before), this=_shown(now))
        for key, before, now in differences(first, this, "weights")
        if key.startswith(("preset", "model.", "data.", "detectron2."))
        # The rows of a table differ in these.
        and key not in ("model.head", "model.mask", "model.class_loss", "model.federated_classes")
    ]


def _describe(workspace: Workspace, phase: int, mwg: bool) -> dict[str, str]:
    split, base = workspace.split, workspace.require_done(0)
    groups = [list(group) for group in split.groups[: phase + 1]]
    sizes = " + ".join(str(len(group)) for group in groups)
    digest = hashlib.sha256(str(groups).encode()).hexdigest()
    table: dict[str, Any] = {
        "phase": phase,
        # The same file may lie in two places, and two files may have one name.
        "training annotations": f"{Path(split.train.path).name} ({split.train.sha256[:8]})",
        "classes of the phases": f"{sizes} ({digest[:8]})",
        "initial weights": (base.weights or {}).get("source", "none"),
    }
    for one in sorted({0, phase}):
        settings = completed(workspace.require_done(one))
        unused = unused_sections(mwg, base=one == 0, later=one > 0)
        for key, value in values(settings, "weights").items():
            if key.partition(".")[0] not in unused:
                table[key] = value
    # Those of [eval] are chosen for each evaluation.
    metrics = load_metrics(workspace, phase)
    made_with = metrics.made_with if metrics is not None else {}
    table |= {key: value for key, value in made_with.items() if key.startswith("eval.")}
    return {key: _shown(value) for key, value in table.items()}


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
