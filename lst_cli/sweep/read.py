"""Reading a sweep: TOML to a checked plan, every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from lst_cli.errors import LstError
from lst_cli.files import refuse_address
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import first_few, override_table, read_toml, shorten
from lst_cli.settings.renamed import modern_table
from lst_cli.sweep.plan import CommonSettings, Part, PlannedRun, SweepData, SweepPlan
from lst_cli.text import did_you_mean

_PLANS = "plans"
_SETTING_KEYS = frozenset(Settings.model_fields) - {"seed"}


def shipped_plans() -> dict[str, str]:
    """Title of each plan that comes with the package, by its name."""
    return {name: read_plan(name).title for name in _names()}


def _names() -> list[str]:
    files = resources.files("lst_cli").joinpath(_PLANS).iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))


def read_plan(given: str) -> SweepPlan:
    """Read a plan: a TOML file, or the name of one that comes with the package.

    Raises:
        LstError: If there is none, or anything in it is refused; all problems at once.
    """
    refuse_address(given)
    path = Path(given)
    shipped = resources.files("lst_cli").joinpath(_PLANS).joinpath(f"{given}.toml")
    if path.exists() and not path.is_dir():
        return parse_plan(read_toml(path), path.stem, path.name, path.parent)
    if path.name == given and path.suffix != ".toml" and shipped.is_file():
        with resources.as_file(shipped) as file:
            return parse_plan(read_toml(file), given, given)
    raise LstError(f"{given}: no such plan{did_you_mean(given, _names())}", "lst sweep --list")


def parse_plan(
    table: Mapping[str, Any], name: str, source: str, directory: Path | None = None
) -> SweepPlan:
    """Check a plan that was read from TOML.

    Args:
        table: Its content.
        name: Its short name.
        source: What errors call it.
        directory: What its paths are relative to.

    Raises:
        LstError: If anything is refused; all problems at once, each with its key.
    """
    lines: list[str] = []
    table = dict(table)
    listed = table.pop("run", None)
    if not isinstance(listed, list) or not listed:
        lines.append("[[run]]: a plan lists one run or more")
        listed = []
    runs = [
        _read_part(PlannedRun, one, _name_of(one, place), lines, settings=True)
        for place, one in enumerate(listed, start=1)
    ]
    data = _read_part(SweepData, table.pop("data", {}), "[data]", lines)
    common = _read_part(CommonSettings, table.pop("settings", {}), "[settings]", lines, True)
    rest = _read_part(_Head, table, "", lines)
    known = [run for run in runs if run is not None]
    lines += _cross_problems(known)
    plan = None
    if not lines and data is not None and common is not None and rest is not None:
        plan = SweepPlan(
            name=name,
            source=source,
            title=rest.title,
            evaluate=rest.evaluate,
            data=_absolute(data, directory),
            common=common,
            runs=tuple(known),
        )
        lines += _setting_problems(plan)
    if plan is None or lines:
        count = f"{len(lines)} problems: " if len(lines) > 1 else ""
        raise LstError(f"{source}: {count}{first_few(lines)}", f"correct {source}")
    return plan


def choose(
    plan: SweepPlan, *, preset: str | None = None, overrides: Sequence[str] = (), **given: Any
) -> SweepPlan:
    """A plan with what the command line says in place of what it says itself.

    What a run says itself counts more.

    Args:
        plan: As it was read.
        preset: Preset of all runs.
        overrides: `key=value` words for all runs.
        given: Values of `SweepData` and `CommonSettings`, by name; None, False and () are not
            given.

    Raises:
        LstError: If a value is refused, or the data are not known.
    """
    given = {k: v for k, v in given.items() if v is not None and v is not False and v != ()}
    data = plan.data.model_copy(
        update={key: value for key, value in given.items() if key in SweepData.model_fields}
    )
    for key in ("train", "val"):
        if getattr(data, key) is None:
            raise LstError(
                f"{plan.source} does not say what to learn: no {key} annotations",
                f"lst sweep {plan.name} --train TRAIN.json --val VAL.json --images DIR",
            )
    words = [*overrides, *([f"preset={preset}"] if preset else [])]
    table = override_table(words)
    if "seed" in table:
        raise LstError("--set seed: a sweep has a list of seeds", "--seed 0 --seed 1")
    lines: list[str] = []
    chosen = {key: given.get(key, getattr(plan.common, key)) for key in ("b", "phases", "seeds")}
    common = _read_part(CommonSettings, chosen, "", lines)
    if common is None:
        raise LstError("; ".join(f"--{line.replace('seeds:', 'seed:')}" for line in lines))
    common = common.model_copy(update={"settings": plan.common.settings})
    found = plan.model_copy(update={"data": data, "common": common, "overrides": table})
    if problems := _setting_problems(found):
        raise LstError("; ".join(problems), "`lst init --print` shows every setting")
    return found


class _Head(Part):
    title: str = ""
    evaluate: Literal["last", "all"] = "last"


AnyPart = TypeVar("AnyPart", bound=Part)


def _name_of(table: Any, place: int) -> str:
    name = table.get("name") if isinstance(table, Mapping) else None
    return f"run {name}" if isinstance(name, str) and name else f"run number {place}"


def _read_part(
    kind: type[AnyPart], table: Any, where: str, lines: list[str], settings: bool = False
) -> AnyPart | None:
    """Check one table of a plan; what is wrong with it goes to `lines`."""
    prefix = f"{where}: " if where else ""
    if not isinstance(table, Mapping):
        lines.append(f"{prefix}should be a table, got {shorten(table)}")
        return None
    fields = {name.replace("_", "-") for name in kind.model_fields if name != "settings"}
    known = fields | (_SETTING_KEYS if settings else set())
    for key in table:
        if key not in known:
            lines.append(f"{prefix}unknown key {shorten(key)}{did_you_mean(key, sorted(known))}")
    own = {key: value for key, value in table.items() if key in fields}
    if settings:
        given = {key: table[key] for key in table if key in _SETTING_KEYS}
        own["settings"] = modern_table(given, where)
    try:
        return kind.model_validate(own)
    except ValidationError as error:
        first = {problem["loc"][:1]: problem for problem in reversed(error.errors())}
        lines.extend(prefix + _describe(problem) for problem in reversed(first.values()))
        return None


def _describe(problem: Mapping[str, Any]) -> str:
    key = str(problem["loc"][0]) if problem["loc"] else ""
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "string_pattern_mismatch":
        message = "should be letters, digits, '.', '_' and '-'"
    shown = (
        "" if not key or problem["type"] == "model_type" else f", got {shorten(problem['input'])}"
    )
    return f"{key}: {message}{shown}" if key else message


def _cross_problems(runs: Sequence[PlannedRun]) -> Iterator[str]:
    names = [run.name for run in runs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"run {name}: the name comes {names.count(name)} times"
    by_name = {run.name: run for run in runs}
    for run in runs:
        if run.budget_of is None:
            continue
        other = by_name.get(run.budget_of)
        where = f"run {run.name}: budget-of"
        if other is None:
            meant = did_you_mean(run.budget_of, names)
            yield f"{where}: there is no run {run.budget_of!r}{meant}"
        elif other.budget_of is not None:
            yield f"{where}: run {other.name} takes its own budget from another run"
        elif run.kind == "lst" and other.kind == "joint":
            yield f"{where}: run {other.name} has no phases whose budgets could be taken"


def _setting_problems(plan: SweepPlan) -> list[str]:
    found: dict[str, None] = {}
    for run in plan.runs:
        try:
            plan.settings_of(run, 0)
        except LstError as error:
            # What is wrong with the settings of all is wrong in every run.
            found[error.message] = None
    return list(found)


def _absolute(data: SweepData, directory: Path | None) -> SweepData:
    """Paths of a plan are relative to its file."""
    here = directory or Path()
    for path in (data.train, data.val, *data.images):
        refuse_address(str(path or ""))
    files = {key: here / value for key in ("train", "val") if (value := getattr(data, key))}
    images = tuple(here / one for one in data.images)
    weights = data.weights
    if weights is not None and "://" not in weights:
        weights = str(here / weights)
    return data.model_copy(update={**files, "images": images, "weights": weights})
