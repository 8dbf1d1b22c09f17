"""What each setting decides, and in which settings two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lst_cli.settings.models import Role, Section, Settings
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
    """What a setting decides; one that is not known decides the weights.

    Example:
        >>> roles_of("base.lr"), roles_of("eval.bins"), roles_of("data.workers")
        (('weights',), ('display',), ('speed',))
    """
    kind: type[Section] = Settings
    roles = kind.decides
    for name in key.split("."):
        field = kind.model_fields.get(name)
        if field is None:
            break
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "decides" in extra:
            return extra["decides"]  # type: ignore[return-value]
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            break
        kind = field.annotation
        roles = kind.decides
    return roles


def values(settings: Settings | Mapping[str, Any], *deciding: Role) -> dict[str, Any]:
    """Settings that decide one of some things, by dotted key, as JSON has them.

    Args:
        settings: Settings, or a nested table of them.
        deciding: What they decide.
    """
    table = settings.model_dump(mode="json") if isinstance(settings, Settings) else settings
    return {
        key: value for key, value in flatten(table) if not set(deciding).isdisjoint(roles_of(key))
    }


def differences(
    before: Settings | Mapping[str, Any],
    now: Settings | Mapping[str, Any],
    *deciding: Role,
) -> list[ChangedSetting]:
    """Settings that decide one of some things and are not the same, by key.

    Args:
        before: Settings, or a nested table of them.
        now: Others.
        deciding: What they decide.
    """
    old, new = (values(one, *deciding) for one in (before, now))
    return [
        ChangedSetting(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
