"""Settings from a preset, a `lst.toml` and the command line, with all problems in one error."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lst_cli.errors import LstError
from lst_cli.settings import nested, renamed
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import flatten, leaves, merge, shorten
from lst_cli.settings.presets import PRESETS, TIMM, preset_values
from lst_cli.settings.renamed import WHY_REMOVED
from lst_cli.text import did_you_mean

# detectron2 keys that are set from elsewhere: a second value could contradict the first.
OWNED_DETECTRON2_KEYS = {
    "MODEL.ROI_HEADS.NUM_CLASSES": "the split",
    "MODEL.WEIGHTS": "--weights",
    "MODEL.DEVICE": "device",
    "MODEL.META_ARCHITECTURE": "the method",
    "MODEL.ROI_HEADS.NAME": "the method",
    "MODEL.PROPOSAL_GENERATOR.NAME": "the method",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": "model.class_agnostic_boxes",
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": "model.class_loss",
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": "model.class_loss",
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": "model.mask",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "base.rois_per_image and step.rois_per_image",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "eval.score_threshold",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "eval.nms_threshold",
    "TEST.DETECTIONS_PER_IMAGE": "eval.detections",
}

_LARGEST_NUMBER = 2**31
_UNREAD_DETECTRON2_KEYS = ("SOLVER.", "DATASETS.", "DATALOADER.", "INPUT.")


def load_settings(file: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Settings from the defaults, the preset, a `lst.toml` and the command line, in that order.

    `overrides` are words such as `base.lr=0.02`; the value is TOML, or a plain string. Raises an
    `LstError` if the file is not TOML or any value is refused; all problems at once, each with
    its file and key.
    """
    table = _read_settings(file) if file is not None else {}
    sources = dict.fromkeys(leaves(table), file.name if file else "")
    sources |= dict.fromkeys(nested.apply_overrides(table, overrides), "--set")
    return build_settings(table, sources)


def build_settings(table: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> Settings:
    """Check a nested table of values and add those of its preset and the defaults.

    `sources` says where a dotted key was given, for the `LstError` if values are refused.
    """
    sources = sources or {}
    name = table.get("preset", "paper-r50")
    if not isinstance(name, str) or name not in PRESETS:
        wrong = f"{_source(('preset',), sources)}preset: {shorten(name)}"
        raise LstError(f"{wrong} is not one of {', '.join(PRESETS)}", "choose one of these")
    if isinstance(keys := table.get("detectron2"), Mapping):
        # Written without quotes they are nested tables.
        table = {**table, "detectron2": dict(flatten(keys))}
    model = table.get("model")
    config = model.get("config") if isinstance(model, Mapping) else None
    merged = merge(merge({"preset": name}, preset_values(name, config)), table)
    lines = [
        f"{_source(('detectron2', key), sources)}detectron2.{key[:100]}: {reason}"
        for key, reason in _refused_detectron2_keys(merged.get("detectron2"), config)
    ]
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        lines = [_describe(problem, sources) for problem in error.errors()] + lines
    if lines:
        count = f"{len(lines)} settings refused: " if len(lines) > 1 else ""
        hint = "correct them; `lst init --print` shows every setting with its default"
        raise LstError(count + nested.first_few(lines), hint)
    return settings


def _read_settings(file: Path) -> dict[str, Any]:
    """Read a `lst.toml`; removed options in it have no effect any more, which is noted."""
    table, removed = renamed.take_removed(nested.read_toml(file), file.name)
    for key, value in removed.items():
        text = f"{file.name}: {key} = {shorten(value)} has no effect: the option {WHY_REMOVED}"
        warnings.warn(text, renamed.OldSettingWarning, stacklevel=2)
    return table


def _refused_detectron2_keys(keys: Any, config: object) -> Iterator[tuple[str, str]]:
    owned = OWNED_DETECTRON2_KEYS
    if str(config).startswith(TIMM):
        owned = {**owned, "MODEL.BACKBONE.NAME": f"model.config = {shorten(config)}"}
    for key, value in keys.items() if isinstance(keys, Mapping) else ():
        if key in owned:
            yield key, f"is decided by {owned[key]}"
        elif key.startswith(_UNREAD_DETECTRON2_KEYS) and key != "INPUT.FORMAT":
            yield key, "has no effect; see [data], [base] and [step]"
        elif not _is_plain(value):
            yield (
                key,
                f"should be a number, text, true, false or a list of these, got {shorten(value)}",
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, int | float):
        return abs(value) < _LARGEST_NUMBER  # which nan is not
    return isinstance(value, str) and len(value) <= 1_000


def _describe(problem: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "extra_forbidden":
        message = "unknown setting" + did_you_mean(key, leaves(Settings().model_dump()))
        message = WHY_REMOVED if key in renamed.REMOVED else message
    elif problem["type"] in {"model_type", "dict_type"}:
        message = f"should be a table of settings, got {shorten(problem['input'])}"
    elif problem["type"] != "value_error":  # these name the value themselves
        message += f", got {shorten(problem['input'])}"
    where = ".".join(part for part in problem["loc"] if isinstance(part, str))[:100]
    if isinstance(problem["loc"][-1], int):
        where += f", value {problem['loc'][-1] + 1}"
    return f"{_source(problem['loc'], sources, message)}{where}: {message}"


def _source(loc: Sequence[Any], sources: Mapping[str, str], message: str = "") -> str:
    """Where the value at a key, inside it (a table) or around it (a list's item) was given.

    Where several values were given: first those that the message names, then the command line's.
    """
    key = ".".join(map(str, loc)) + "."
    around = [
        (dotted, name)
        for dotted, name in sources.items()
        if f"{dotted}.".startswith(key) or key.startswith(f"{dotted}.")
    ]
    words = re.findall(r"\w+", message)
    named = [one for one in around if one[0].rpartition(".")[2] in words]
    names = [name for _, name in named or around]
    if not names:
        return ""
    return f"{'--set' if '--set' in names else names[0]}: "
