"""The paper's Figs. 7 to 9: what one setting is worth, phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lst_cli.ap.instant import WAYS, Way
from lst_cli.display.canvas import PAPER_SCALE
from lst_cli.display.markup import render_csv
from lst_cli.display.tables import Column, Table, format_value, phase_name
from lst_cli.figures.ablation_plot import compose_ablation
from lst_cli.figures.files import Figure, finish_figure
from lst_cli.figures.records import Ablation, AblationName, AblationPoint, AblationRun

FEW = 5
"""Classes with fewer training instances are the few-shot ones of the paper's Fig. 9."""

PARTS = {"old": "old classes", "new": "new classes", "all": "all seen classes"}
"""What of a phase is drawn, and what it is called."""

_SUBJECTS: dict[AblationName, str] = {
    "distill": "distillation",
    "replay": "replay of old classes",
    "mwg": "the meta weight generator",
}


def ablation_figure(ablation: Ablation) -> Figure:
    """Draw the runs.

    Args:
        ablation: At least two runs.
    """
    return finish_figure(
        ablation.figure,
        compose_ablation(ablation, scale=PAPER_SCALE),
        caption=ablation_caption(ablation),
        csv=render_csv(ablation_table(ablation, counts=True)),
        numbers=_numbers(ablation),
        table=ablation_table(ablation),
    )


def ablation_caption(ablation: Ablation) -> str:
    """Say what is drawn, and what a reader could not know."""
    sentences = [
        f"What {_SUBJECTS[ablation.figure]} does ({ablation.setting}): mask AP of old, new and all "
        "seen classes after each phase, one run each."
    ]
    if ablation.ways:
        names = ", ".join(WAYS[way] for way in ablation.ways)
        sentences.append(
            f"Left of the new classes' lines: before the first iteration, with rows of the "
            f"classifier that no one trained ({names}), on the model of the run whose colour they "
            "have."
        )
    if ablation.figure == "mwg":
        sentences += _few_sentence(ablation)
    return " ".join([*sentences, *ablation.notes])


def ablation_table(ablation: Ablation, *, counts: bool = False) -> Table:
    """Make the table of every run after every phase.

    Args:
        ablation: The runs.
        counts: Whether to give numbers of classes and sources too, for programs.

    Returns:
        Columns ``run``, ``phase``, ``old``, ``new``, ``all`` and ``few``, and ``iteration 0
        (way)`` for every way evaluated; with `counts` also ``source`` and ``classes(old)`` and so
        on.
    """
    records = [
        (run, point)
        for phase in ablation.phases
        for run in ablation.runs
        for point in run.points
        if point.phase == phase
    ]
    columns = [
        Column("run", "run", "text", lambda one: one[0].name),
        Column("phase", "phase", "phase", lambda one: one[1].phase),
    ]
    few = any(point.few_classes for _, point in records)
    for part, name in (*PARTS.items(), ("few", f"new, <{FEW} instances")):
        if part != "few" or few:
            columns.append(_part_column(part, name, counts))
    columns += [
        Column(f"iteration 0 ({way})", f"at 0: {WAYS[way]}", get=_at_0(way))
        for way in ablation.ways
    ]
    if counts:
        columns.append(Column("source", "source", "text", lambda one: one[0].source))
    remark = "Mask AP after each phase."
    if ablation.ways:
        remark += " At 0: of the new classes before the phase's first iteration."
    return Table.of(f"What {_SUBJECTS[ablation.figure]} does", records, columns, remark)


_Record = tuple[AblationRun, AblationPoint]


def _part_column(part: str, name: str, counts: bool) -> Column:
    def count(one: _Record) -> int | None:
        return one[1].few_classes if part == "few" else one[1].with_ground_truth.get(part)

    return Column(
        part,
        name,
        get=lambda one: getattr(one[1], part),
        classes_key=f"classes({part})" if counts else None,
        get_classes=count,
    )


def _at_0(way: Way) -> Callable[[_Record], float | None]:
    return lambda one: one[1].instant.get(way)


def _few_sentence(ablation: Ablation) -> list[str]:
    """The paper's number: few-shot classes of the last phase."""
    last = ablation.phases[-1]
    found = [
        (run.name, point)
        for run in ablation.runs
        for point in run.points
        if point.phase == last and point.few_classes
    ]
    if len(found) < 2:
        return []
    values = "; ".join(f"{name} {format_value('ap', point.few)}" for name, point in found)
    return [
        f"New classes of phase {phase_name(last)} with fewer than {FEW} training instances "
        f"({found[0][1].few_classes:,} with ground truth): {values}."
    ]


def _numbers(ablation: Ablation) -> dict[str, Any]:
    return {
        "setting": ablation.setting,
        "notes": list(ablation.notes),
        "runs": [
            {"run": run.name, "source": run.source, "phases": [asdict(one) for one in run.points]}
            for run in ablation.runs
        ],
    }
