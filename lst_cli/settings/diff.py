"""What each setting decides, and in which settings two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lst_cli.settings.models import PasteSettings, Role, Section, Settings
from lst_cli.settings.nested import flatten


class ChangedSetting(NamedTuple):
    """A setting with two values; None where it is not given."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        was, value = ("not given" if one is None else repr(one) for one in (self.before, self.now))
        return f"{self.key} was {was}, is now {value}"


def roles_of(key: str) -> tuple[Role, ...]:
    """What a setting decides: its field says it, else its section.

    Example:
        >>> roles_of("base.lr"), roles_of("eval.bins"), roles_of("data.workers")
        (('weights',), ('display',), ('speed',))
    """
    kind: Any = Settings
    for name in key.split("."):
        field = kind.model_fields.get(name)
        if field is None:
            break  # a setting that was removed
        if field.json_schema_extra is not None:
            roles: tuple[Role, ...] = field.json_schema_extra["decides"]
            return roles
        if not hasattr(field.annotation, "decides"):
            break
        kind = field.annotation
    return tuple(kind.decides)


def values(settings: Settings | Mapping[str, Any], *deciding: Role) -> dict[str, Any]:
    """Settings that decide one of some things, by dotted key, as JSON has them."""
    table = settings.model_dump(mode="json") if isinstance(settings, Settings) else settings
    return {
        key: value for key, value in flatten(table) if not set(deciding).isdisjoint(roles_of(key))
    }


def differences(
    before: Settings | Mapping[str, Any], now: Settings | Mapping[str, Any], *deciding: Role
) -> list[ChangedSetting]:
    """Settings that decide one of some things and are not the same, ordered by key."""
    old, new = (values(one, *deciding) for one in (before, now))
    return [
        ChangedSetting(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def network_differences(
    before: Settings | Mapping[str, Any], now: Settings | Mapping[str, Any]
) -> list[ChangedSetting]:
    """Settings of the network that are not the same: weights fit a network of one make only."""
    found = differences(before, now, "weights")
    return [one for one in found if one.key.startswith(("model.", "detectron2."))]


def unused_sections(
    mwg: bool, *, base: bool = True, later: bool = True, extend: bool = False
) -> tuple[str, ...]:
    """Sections of the settings that a training with these parts does not read.

    `base` stands for a base phase or joint training, `later` for phases after the base phase,
    `extend` for those among them that `lst extend --finetune` trains.
    """
    used = {"base": base, "step": later, "extend": extend, "mwg": later and mwg}
    return tuple(name for name, is_used in used.items() if not is_used)


def unused_by_pasting(settings: Settings, phase: int, *, quick: bool) -> tuple[str, ...]:
    """Settings of pasting that a phase does not read, by dotted key.

    `quick` stands for a phase that `lst extend --finetune` trains by [extend].
    """
    if quick:
        pastes = settings.step.replay == "bank" or settings.extend.paste_new > 0
    else:
        pastes = settings.schedule(phase).paste_objects > 0
    if pastes:
        return ()
    crops = settings.data.scale_jitter[1] > 1
    how = [name for name in PasteSettings.model_fields if not (crops and name == "visible")]
    return (f"{'step' if phase else 'base'}.paste_classes", *(f"paste.{name}" for name in how))


def reported_settings(settings: Settings) -> dict[str, Any]:
    """Settings that a report shows, by dotted key, in its order.

    Options beyond the paper are among them where they are not as usual.
    """
    table, usual = (dict(flatten(one.model_dump(mode="json"))) for one in (settings, Settings()))
    sections: list[tuple[str, Any]] = [("", settings)]
    sections += [(f"{name}.", part) for name, part in settings if isinstance(part, Section)]
    keys = [prefix + name for prefix, part in sections for name in part.reported]
    more = [prefix + name for prefix, part in sections for name in part.reported_if_changed]
    keys += [key for key in more if table[key] != usual[key]]
    if settings.base.sampler != "repeat-factor":
        keys.remove("base.repeat_threshold")
    return {key: table[key] for key in keys}
