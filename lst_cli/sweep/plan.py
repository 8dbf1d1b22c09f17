"""A sweep as it is written: a TOML list of runs, checked all at once and before any of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    model_validator,
)

from lst_cli.settings.load import build_settings
from lst_cli.settings.models import Head, Mask, Sampling, Settings
from lst_cli.settings.nested import assign, leaves, merge, override_words
from lst_cli.settings.presets import JOINT_ROWS


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
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


class SweepData(Part):
    """What all runs learn; a plan without it takes it from the command line.

    Attributes:
        train: Training annotations.
        val: Validation annotations.
        images: Directories of the images.
        weights: Initial weights of every base phase and every joint training.
        skip_unusable: Whether annotations that cannot be used are left out.
    """

    train: Path | None = None
    val: Path | None = None
    images: tuple[Path, ...] = ()
    weights: str | None = None
    skip_unusable: bool = False


class CommonSettings(Part):
    """What counts for all runs that say nothing else.

    Attributes:
        b: Classes of the base phase: a number, or a share of all classes, rounded.
        phases: T, phases after the base phase.
        seeds: Each run is made once for each.
        settings: Nested settings, as in `lst.toml`.
    """

    b: BaseSize = 270
    phases: Phases = 6
    seeds: Seeds = (0,)
    settings: dict[str, Any] = Field(default_factory=dict)


class PlannedRun(Part):
    """One run of a sweep, made for each of its seeds.

    Attributes:
        name: Head of its directory's name.
        kind: Phase by phase, or all classes at once.
        label: What tables call it; its name, if empty.
        row: joint: a row of Table 1, short for the three below.
        sampler: joint: images of an epoch.
        head: joint: classifier.
        mask: joint: mask branch.
        budget_of: Another run, as many of whose images are shown: in all, or, where both go
            phase by phase, in each phase after the base, which the settings of [base] decide.
        image_passes: joint: images to show in all.
        b: lst: as in `CommonSettings`.
        phases: lst: as in `CommonSettings`.
        seeds: As in `CommonSettings`.
        settings: What differs from the settings of all.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    kind: Literal["lst", "joint"]
    label: str = ""
    row: str | None = None
    sampler: Sampling | None = None
    head: Head | None = None
    mask: Mask | None = None
    budget_of: str | None = None
    image_passes: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)] | None = None
    b: BaseSize | None = None
    phases: Phases | None = None
    seeds: Seeds | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_kind(self) -> PlannedRun:
        keys: tuple[str, ...] = ("b", "phases")
        if self.kind == "lst":
            keys = ("row", "sampler", "head", "mask", "image_passes")
        other = "lst" if self.kind == "joint" else "joint"
        for key in keys:
            if getattr(self, key) is not None:
                shown = key.replace("_", "-")
                raise ValueError(f"{shown} is for runs of kind {other}, not {self.kind}")
        if self.row is not None and self.row not in JOINT_ROWS:
            raise ValueError(f"row: {self.row!r} is not one of {', '.join(JOINT_ROWS)}")
        if self.budget_of is not None and self.image_passes is not None:
            raise ValueError("budget-of and image-passes are two budgets")
        return self

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.label or self.name

    @property
    def shorthands(self) -> dict[str, Any]:
        """Nested settings that `row`, `sampler`, `head` and `mask` stand for."""
        words = {"base.sampler": self.sampler, "model.head": self.head, "model.mask": self.mask}
        chosen = {**(JOINT_ROWS[self.row] if self.row else {})}
        chosen |= {key: value for key, value in words.items() if value is not None}
        table: dict[str, Any] = {}
        for key, value in chosen.items():
            assign(table, key.split("."), value, key)
        return table


class SweepPlan(Part):
    """A list of runs over the same data.

    Attributes:
        name: The plan's short name.
        source: What errors call it.
        title: Caption of its table.
        evaluate: Whether every phase is evaluated, or only the last one.
        data: What is learned.
        common: What counts for all runs.
        overrides: Nested settings from the command line: they count more than those for all
            runs, and less than what a run says itself.
        runs: In the order of the table.
    """

    name: str
    source: str
    title: str = ""
    evaluate: Literal["last", "all"] = "last"
    data: SweepData = SweepData()
    common: CommonSettings = CommonSettings()
    overrides: dict[str, Any] = Field(default_factory=dict)
    runs: tuple[PlannedRun, ...]

    def run(self, name: str) -> PlannedRun:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)

    def seeds_of(self, run: PlannedRun) -> tuple[int, ...]:
        """Seeds of a run."""
        return run.seeds or self.common.seeds

    def words_of(
        self, run: PlannedRun, seed: int, *, without: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """`key=value` words that stand for the settings of a run.

        Args:
            run: A run.
            seed: One of its seeds.
            without: Tables of settings that are left out.
        """
        table = {key: value for key, value in self._table(run).items() if key not in without}
        return override_words({**table, "seed": seed})

    def settings_of(self, run: PlannedRun, seed: int) -> Settings:
        """Settings of a run.

        Raises:
            LstError: If one is refused, naming where it was given.
        """
        sources = dict.fromkeys(leaves(self.common.settings), "[settings]")
        sources |= dict.fromkeys(leaves(self.overrides), "--set")
        own = merge(run.shorthands, run.settings)
        sources |= dict.fromkeys(leaves(own), f"run {run.name}")
        return build_settings({**self._table(run), "seed": seed}, sources)

    def _table(self, run: PlannedRun) -> dict[str, Any]:
        table = merge(self.common.settings, self.overrides)
        return merge(merge(table, run.shorthands), run.settings)
