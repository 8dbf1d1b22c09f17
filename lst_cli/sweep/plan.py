"""The plan of a sweep: a TOML list of runs, every problem in it found before any run begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from lst_cli.errors import LstError
from lst_cli.files import refuse_address
from lst_cli.settings import nested
from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Head, Mask, Sampling, Settings
from lst_cli.settings.presets import JOINT_ROWS
from lst_cli.settings.renamed import modern_table
from lst_cli.text import did_you_mean
from lst_cli.train.initial import find_weights

_SETTING_KEYS = frozenset(Settings.model_fields) - {"seed"}
_PLANS = resources.files("lst_cli").joinpath("plans")
_FILES = ("train", "val")
_ONLY_FOR = {
    "joint": ("row", "sampler", "head", "mask", "image_passes", "weights_of"),
    "lst": ("b", "phases"),
    "extend": ("rows", "fitted"),
}


def _check_base_size(size: int | float) -> int | float:
    if (isinstance(size, int) and size >= 1) or (isinstance(size, float) and 0 < size < 1):
        return size
    raise ValueError("should be a number of classes, or a share of them between 0 and 1")


def _check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError("should be one or more seeds, each once")
    return seeds


BaseSize = Annotated[StrictInt | StrictFloat, AfterValidator(_check_base_size)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31, strict=True)], ...],
    Field(max_length=1_000),
    AfterValidator(_check_seeds),
]
Phases = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Part(BaseModel):
    """A table of a plan; what Python calls `budget_of` is `budget-of` there."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    @classmethod
    def keys(cls) -> set[str]:
        """The keys of the table, settings too where it may have some."""
        own = {name.replace("_", "-") for name in cls.model_fields if name != "settings"}
        return own | (_SETTING_KEYS if "settings" in cls.model_fields else set())


class _WithSettings(Part):
    # Nested, as in lst.toml; the keys stand in the table itself.
    settings: dict[str, Any] = Field(default_factory=dict, alias="(settings)")

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        where = f"run {table.get('name')}" if cls is PlannedRun else "[settings]"
        given = {key: value for key, value in table.items() if key in _SETTING_KEYS}
        rest = {key: value for key, value in table.items() if key not in _SETTING_KEYS}
        return {**rest, "(settings)": modern_table(given, where)}


class SweepData(Part):
    """The annotations, images and initial weights of all runs."""

    train: Path | None = None
    val: Path | None = None
    images: tuple[Path, ...] = ()
    weights: str | None = None
    skip_unusable: bool = False


class CommonSettings(_WithSettings):
    """What counts for all runs that say nothing else."""

    b: BaseSize = 270  # classes of the base phase: a number, or a share of all classes
    phases: Phases = 6  # after the base phase
    seeds: Seeds = (0,)


class Draws(Part):
    """Classes that are left out of training, to be added from a few boxes by runs of kind extend.

    Each draw has other classes, and a base is trained without those of all draws.
    """

    draws: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 5
    classes: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 3  # in each draw
    # Training instances of these classes, from the first number to the second.
    instances: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (10, 39)
    # Boxes of each class that it is learned from, in the order of work.
    boxes: Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=1)]


class PlannedRun(_WithSettings):
    """One run of a sweep, made for each of its seeds, or of kind extend for each draw of classes.

    With `rows`, a run of kind extend adds classes without training, and else it is finetuned.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    # phase by phase, all classes at once, or classes added to the run of kind lst
    kind: Literal["lst", "joint", "extend"]
    label: str = ""  # in tables; the name, if empty
    like: str | None = None  # a run above that says everything that this one does not
    # joint: a row of Table 1, short for the three below it, which count more
    row: str | None = None
    sampler: Sampling | None = None
    head: Head | None = None
    mask: Mask | None = None
    # Another run that shows as many images: in all, or, where both go phase by phase, in each
    # phase after the base, which the settings of [base] decide.
    budget_of: str | None = None
    # joint: the run above whose model it goes on from, the classifier included
    weights_of: str | None = None
    # lst: images of each phase after the base, as a share of those of the base phase; joint with
    # weights-of: its images, as a share of those of the phase that all began with
    share_of_base: Annotated[float, Field(gt=0, le=100)] | None = None
    # joint: images to show in all
    image_passes: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)] | None = None
    b: BaseSize | None = None
    phases: Phases | None = None
    # extend: what rows of new classes are made of, and whether they are fitted, as usual
    rows: Literal["mean-feature", "generated"] | None = None
    fitted: bool | None = None
    seeds: Seeds | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> PlannedRun:
        if self.like is not None:  # else it is filled in
            raise ValueError(f"like: there is no run {self.like!r} above")
        for kind, keys in _ONLY_FOR.items():
            for key in keys:
                if kind != self.kind and getattr(self, key) is not None:
                    shown = key.replace("_", "-")
                    raise ValueError(f"{shown} is for runs of kind {kind}, not {self.kind}")
        if self.row is not None and self.row not in JOINT_ROWS:
            raise ValueError(f"row: {self.row!r} is not one of {', '.join(JOINT_ROWS)}")
        if self.share_of_base and self.kind != "lst" and self.weights_of is None:
            raise ValueError(f"share-of-base is for runs of kind lst, not {self.kind}")
        given = (self.budget_of, self.image_passes, self.share_of_base)
        keys = ("budget-of", "image-passes", "share-of-base")
        budgets = [key for key, value in zip(keys, given, strict=True) if value is not None]
        if len(budgets) > 1:
            raise ValueError(f"{' and '.join(budgets)} both set the budget")
        if self.weights_of is not None and self.budget_of is not None:
            raise ValueError("budget-of: with weights-of, give share-of-base or image-passes")
        return self

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.label or self.name

    @property
    def own_settings(self) -> dict[str, Any]:
        """Its nested settings, with those that `row`, `sampler`, `head` and `mask` stand for."""
        words = {"base.sampler": self.sampler, "model.head": self.head, "model.mask": self.mask}
        chosen = dict(JOINT_ROWS[self.row]) if self.row else {}
        chosen |= {key: value for key, value in words.items() if value is not None}
        table: dict[str, Any] = {}
        for key, value in chosen.items():
            nested.assign(table, key.split("."), value, key)
        return nested.merge(table, self.settings)


class SweepPlan(Part):
    """A list of runs over the same data."""

    name: str
    source: str  # in errors
    title: str = ""
    evaluate: Literal["last", "all"] = "last"  # phases
    new_classes: Draws | None = None
    data: SweepData = SweepData()
    common: CommonSettings = Field(CommonSettings(), alias="settings")
    # Nested settings of the command line: they count more than those for all runs, and less
    # than what a run says itself.
    overrides: dict[str, Any] = Field(default_factory=dict)
    runs: tuple[PlannedRun, ...] = Field(alias="run")

    def select(self, only: Sequence[str]) -> list[PlannedRun]:
        """The runs with these names, or all; an `LstError` if there is none of a name."""
        names = [run.name for run in self.runs]
        for name in only:
            if name not in names:
                raise LstError(
                    f"--only {name}: no such run{did_you_mean(name, names)}",
                    f"choose one of {', '.join(names)}",
                )
        return [run for run in self.runs if not only or run.name in only]

    def seeds_of(self, run: PlannedRun) -> tuple[int, ...]:
        """Seeds of a run: its own, or those of all runs."""
        return run.seeds or self.common.seeds

    def words_of(
        self, run: PlannedRun, seed: int, *, without: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """`key=value` words for the settings of a run, `without` some tables of settings."""
        table = {key: value for key, value in self._table(run).items() if key not in without}
        return nested.override_words({**table, "seed": seed})

    def settings_of(self, run: PlannedRun, seed: int) -> Settings:
        """Settings of a run; an `LstError` names where one that is refused was given."""
        sources = dict.fromkeys(nested.leaves(self.common.settings), "[settings]")
        sources |= dict.fromkeys(nested.leaves(self.overrides), "--set")
        sources |= dict.fromkeys(nested.leaves(run.own_settings), f"run {run.name}")
        return build_settings({**self._table(run), "seed": seed}, sources)

    def _table(self, run: PlannedRun) -> dict[str, Any]:
        return nested.merge(nested.merge(self.common.settings, self.overrides), run.own_settings)


def shipped_plans() -> dict[str, str]:
    """Title of each plan that comes with the package, by its name."""
    return {name: read_plan(name).title for name in _names()}


def _names() -> list[str]:
    return sorted(one.name[:-5] for one in _PLANS.iterdir() if one.name.endswith(".toml"))


def read_plan(given: str) -> SweepPlan:
    """Read a plan: a TOML file, or the name of one that comes with the package."""
    refuse_address(given)
    path = Path(given)
    shipped = _PLANS.joinpath(f"{given}.toml")
    if path.exists() and not path.is_dir():
        return parse_plan(nested.read_toml(path), path.stem, path.name, path.parent)
    if path.name == given and path.suffix != ".toml" and shipped.is_file():
        with resources.as_file(shipped) as file:
            return parse_plan(nested.read_toml(file), given, given)
    raise LstError(f"{given}: no such plan{did_you_mean(given, _names())}", "lst sweep --list")


def parse_plan(
    table: Mapping[str, Any], name: str, source: str, directory: Path = Path()
) -> SweepPlan:
    """Check a plan that was read from TOML; its paths are relative to `directory`.

    If anything is refused, the `LstError` has all problems, each with its key.
    """
    own = {"title", "evaluate", *_PARTS}
    lines = [_unknown(key, own) for key in table if key not in own]
    given = {key: value for key, value in table.items() if key in own}
    if not isinstance(given.get("run"), list) or not given["run"]:
        lines.append("[[run]]: a plan lists one run or more")
        given["run"] = []
    given["run"] = _filled(given["run"])
    try:
        plan = SweepPlan.model_validate({"name": name, "source": source, **given})
    except ValidationError as error:
        lines += _describe(error, given)
    if not lines:
        lines += _problems_between(plan) or _setting_problems(plan)
    if lines:
        count = f"{len(lines)} problems: " if len(lines) > 1 else ""
        raise LstError(f"{source}: {count}{nested.first_few(lines)}", f"correct {source}")
    return plan.model_copy(update={"data": _absolute(plan.data, directory)})


def _filled(tables: Sequence[Any]) -> list[Any]:
    """Runs with all that the ones above say that they are `like`, but for the label."""
    named: dict[Any, Mapping[str, Any]] = {}
    found = []
    for table in tables:
        if isinstance(table, Mapping):
            if (model := named.get(str(table.get("like")))) is not None:
                shared = {key: value for key, value in model.items() if key != "label"}
                own = {key: value for key, value in table.items() if key != "like"}
                table = nested.merge(shared, own)
            named.setdefault(table.get("name"), table)
        found.append(table)
    return found


def choose(
    plan: SweepPlan, *, preset: str | None = None, overrides: Sequence[str] = (), **given: Any
) -> SweepPlan:
    """Lay what the command line says over what a plan says for all runs.

    `overrides` are `key=value` words; `given` are values of `SweepData` and `CommonSettings` by
    name, of which None, False and () are ignored. An `LstError` if one is refused, or the data are
    not known.
    """
    given = {k: v for k, v in given.items() if v is not None and v is not False and v != ()}
    data = plan.data.model_copy(
        update={key: value for key, value in given.items() if key in SweepData.model_fields}
    )
    data = data.model_copy(update={"weights": find_weights(data.weights)})
    for key in _FILES:
        if getattr(data, key) is None:
            raise LstError(
                f"{plan.source} does not say what to learn: no {key} annotations",
                f"lst sweep {plan.name} --train TRAIN.json --val VAL.json --images DIR",
            )
    words = [*overrides, *([f"preset={preset}"] if preset else [])]
    table = modern_table(nested.override_table(words), "--set")
    if "seed" in table:
        raise LstError("--set seed: a sweep has a list of seeds", "--seed 0 --seed 1")
    chosen = {key: given.get(key, getattr(plan.common, key)) for key in ("b", "phases", "seeds")}
    try:
        common = CommonSettings.model_validate(chosen)
    except ValidationError as error:
        lines = [f"--{line.replace('seeds:', 'seed:')}" for line in _describe(error, {})]
        raise LstError("; ".join(lines)) from error
    common = common.model_copy(update={"settings": plan.common.settings})
    found = plan.model_copy(update={"data": data, "common": common, "overrides": table})
    if problems := _setting_problems(found):
        raise LstError("; ".join(problems), "`lst init --print` shows every setting")
    return found


# What the tables of a plan are checked as; the head is `SweepPlan` itself.
_PARTS: dict[str, type[Part]] = {
    "run": PlannedRun, "settings": CommonSettings, "data": SweepData, "new-classes": Draws,
}  # fmt: skip


def _unknown(key: Any, known: set[str]) -> str:
    return f"unknown key {nested.shorten(key)}{did_you_mean(key, sorted(known))}"


def _describe(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    """The first problem of each key, with the table that has it."""
    lines: dict[tuple[str, Any], str] = {}
    for problem in error.errors():
        where, loc = "", problem["loc"]
        table: type[Part] | None = None
        if loc[:1] == ("run",) and len(loc) > 1:
            name = one.get("name") if isinstance(one := given["run"][loc[1]], Mapping) else None
            named = isinstance(name, str) and name
            where = f"run {name}: " if named else f"run number {int(loc[1]) + 1}: "
            table, loc = PlannedRun, loc[2:]
        elif loc and (table := _PARTS.get(str(loc[0]))) and table is not PlannedRun:
            where, loc = f"[{loc[0]}]: ", loc[1:]
        lines.setdefault((where, loc[:1]), where + _sentence(problem, loc, table))
    return list(lines.values())


def _sentence(problem: Mapping[str, Any], loc: tuple[Any, ...], table: type[Part] | None) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "extra_forbidden" and table is not None:
        return _unknown(loc[0], table.keys())
    if not loc:
        at = nested.shorten(problem["input"])
        return f"should be a table, got {at}" if problem["type"] == "model_type" else message
    if problem["type"] == "missing":
        return f"{loc[0]} is missing"
    if problem["type"] == "string_pattern_mismatch":
        message = "should be letters, digits, '.', '_' and '-'"
    return f"{loc[0]}: {message}, got {nested.shorten(problem['input'])}"


def _problems_between(plan: SweepPlan) -> list[str]:
    """What is wrong with runs together, and not with one of them."""
    runs, lines = plan.runs, []
    by_name, names = {run.name: run for run in runs}, [run.name for run in runs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        lines.append(f"run {name}: the name comes {names.count(name)} times")
    for place, run in enumerate(runs):
        above = names[:place]
        if run.weights_of is not None and run.weights_of not in above:
            meant = did_you_mean(run.weights_of, above)
            lines.append(
                f"run {run.name}: weights-of: there is no run {run.weights_of!r} above{meant}"
            )
        if run.budget_of is None:
            continue
        other, where = by_name.get(run.budget_of), f"run {run.name}: budget-of: "
        if other is None:
            meant = did_you_mean(run.budget_of, names)
            lines.append(f"{where}there is no run {run.budget_of!r}{meant}")
        elif other.budget_of is not None:
            lines.append(f"{where}run {other.name} takes its own budget from another run")
        elif run.kind == "lst" and other.kind == "joint":
            lines.append(f"{where}run {other.name} has no phases whose budgets could be taken")
    kinds = [run.kind for run in runs]
    if (plan.new_classes is not None) != ("extend" in kinds):
        lines.append("[new-classes] and runs of kind extend need each other")
    elif "extend" in kinds and kinds.count("lst") != 1:
        lines.append("runs of kind extend need one run of kind lst, whose model they extend")
    elif "extend" in kinds and any(run.weights_of for run in runs):
        lines.append("weights-of is not for plans with runs of kind extend")
    return lines


def _setting_problems(plan: SweepPlan) -> list[str]:
    found: dict[str, None] = {}  # what is wrong with the settings of all is wrong in every run
    for run in plan.runs:
        try:
            plan.settings_of(run, 0)
        except LstError as error:
            found[error.message] = None
    return list(found)


def _absolute(data: SweepData, directory: Path) -> SweepData:
    for path in (data.train, data.val, *data.images):
        refuse_address(str(path or ""))
    found: dict[str, Any] = {"images": tuple(directory / one for one in data.images)}
    found |= {key: directory / value for key in _FILES if (value := getattr(data, key))}
    if data.weights is not None and "://" not in data.weights:
        found["weights"] = str(directory / data.weights)
    return data.model_copy(update=found)
