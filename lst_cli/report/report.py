"""`lst report`: everything the workspace knows, as tables, plots and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset
from lst_cli.ap.instant import InstantMetrics, load_instant
from lst_cli.ap.metrics import Metrics
from lst_cli.display.records import Panel, PanelObject, ReplayBalance, ReportPhase
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_all_metrics
from lst_cli.figures.attention import Attention, can_lay_out
from lst_cli.figures.figures import newest_attention
from lst_cli.figures.shown_objects import objects_of, read_annotated, read_found
from lst_cli.inputs import read_training_input, read_validation
from lst_cli.progress import Progress, silent
from lst_cli.report.data import ReportData
from lst_cli.report.write import write_report
from lst_cli.settings.models import Settings
from lst_cli.settings.nested import flatten
from lst_cli.split.split import measure_balance, report_classes
from lst_cli.workspace.manifest import PhaseManifest, Split, removed_settings
from lst_cli.workspace.store import Workspace

PANELS = 6
PANEL_SCORE = 0.3

_SHOWN_SETTINGS = (
    "preset",
    "seed",
    "model.config",
    "model.head",
    "model.mask",
    "base.sampler",
    "base.repeat_threshold",
    "base.epochs",
    "base.lr",
    "step.epochs",
    "step.lr",
    "step.replay",
    "step.new_rows",
    "step.mwg",
    "step.distill_weight",
    "step.freeze",
    "eval.detections",
    "eval.score_threshold",
)

# Options beyond the paper: worth a line only where they are used.
_SHOWN_IF_USED = (
    "base.image_passes",
    "base.ema",
    "base.future_classes",
    "step.image_passes",
    "step.other_objects",
    "step.future_classes",
    "step.distill_regions",
    "step.ema",
)


def make_report(
    workspace: Workspace,
    directory: Path | None = None,
    *,
    title: str = "Learning to segment the tail",
    demo: bool = False,
    notes: Sequence[str] = (),
    progress: Progress = silent,
    skip: Callable[[LstError], None] | None = None,
) -> tuple[ReportData, dict[str, Path]]:
    """Write the report of a workspace.

    Args:
        workspace: With at least one evaluated phase.
        directory: Where to; the workspace's own report directory by default.
        title: Head of the page.
        demo: Whether the package drew the data.
        notes: Further remarks.
        progress: Pictures drawn, and their number.
        skip: Told why a validation image cannot be shown, which is left out then.

    Returns:
        What it shows, and the files by kind, see `lst_cli.report.write.write_report`.

    Raises:
        LstError: If nothing was evaluated, or an image cannot be shown and there is no `skip`.
    """
    data = gather(workspace, title=title, demo=demo, notes=notes, skip=skip)
    with workspace.locked():
        return data, write_report(data, directory or workspace.layout.report, progress, skip)


def gather(
    workspace: Workspace,
    *,
    title: str = "Learning to segment the tail",
    demo: bool = False,
    notes: Sequence[str] = (),
    pictures: bool = True,
    skip: Callable[[LstError], None] | None = None,
) -> ReportData:
    """Collect what a report shows.

    Args:
        workspace: With at least one evaluated phase.
        title: Head of the page.
        demo: Whether the package drew the data.
        notes: Further remarks.
        pictures: Whether images and the balance plot are wanted; tables need neither, and do
            not read the annotation files.
        skip: Told which validation image is not found, which is left out then.

    Raises:
        LstError: If nothing was evaluated, or an input is missing.
    """
    split = workspace.split
    done = workspace.done_phases()
    manifests = [workspace.require_done(phase) for phase in done]
    metrics = load_all_metrics(workspace, done)
    if not metrics:
        raise LstError(f"no phase of {workspace.root} has been evaluated", "lst eval")
    newest = manifests[-1]
    attention, lacking = _attention(workspace) if pictures else (None, [])
    return ReportData(
        title=title,
        settings=_settings(_trained_settings(workspace, newest.phase), newest.phase),
        classes=report_classes(split),
        metrics=metrics,
        phases=[_phase(manifest, split) for manifest in manifests],
        federated=split.val_at(newest.phase).layout != "coco",
        demo=demo,
        notes=[
            *notes,
            *_notes(workspace, manifests),
            *_mixed(metrics),
            *lacking,
        ],
        panels=_panels(workspace, metrics[-1].phase, skip) if pictures else (),
        replay=_balance(workspace) if pictures else (),
        panel_note=f"newest evaluated phase, scores of {PANEL_SCORE} and more",
        environment={**newest.versions, "device": newest.device},
        instant=_instant(workspace, done),
        attention=attention,
    )


def _phase(manifest: PhaseManifest, split: Split) -> ReportPhase:
    return ReportPhase(
        phase=manifest.phase,
        classes=manifest.new_classes,
        entries=manifest.new_entries + manifest.replay_entries,
        replay_entries=manifest.replay_entries,
        iterations=manifest.iterations,
        seconds=manifest.seconds,
        note=_extension_note(manifest, split),
        new_rows=manifest.new_rows,
        image_passes=manifest.image_passes,
    )


def _extension_note(manifest: PhaseManifest, split: Split) -> str:
    if split.extension_at(manifest.phase) is None:
        return ""
    if manifest.iterations:
        return "added"
    rows = "mean features" if manifest.new_rows == "mean-feature" else "generated"
    return f"added instantly: no training, rows {rows}"


def _trained_settings(workspace: Workspace, phase: int) -> Settings:
    """Settings of a phase, those of the base phase as that one had them."""
    base = workspace.trained_settings(0).base
    return workspace.trained_settings(phase).model_copy(update={"base": base})


def _settings(settings: Settings, phase: int) -> dict[str, str]:
    table = dict(flatten(settings.model_dump(mode="json")))
    hidden = [] if phase else ["step."]  # not used yet
    if settings.base.sampler != "repeat-factor":
        hidden.append("base.repeat_threshold")
    usual = dict(flatten(Settings().model_dump(mode="json")))
    used = [name for name in _SHOWN_IF_USED if table[name] != usual[name]]
    return {
        name: _shown(table[name])
        for name in (*_SHOWN_SETTINGS, *used)
        if not name.startswith(tuple(hidden))
    }


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _notes(workspace: Workspace, manifests: Sequence[PhaseManifest]) -> list[str]:
    notes = []
    excluded = len(workspace.split.left_out)
    if excluded:
        count = count_of(excluded, "class has", "classes have")
        notes.append(
            f"{count} no training instance and {'is' if excluded == 1 else 'are'} left out."
        )
    if manifests[0].weights is None:
        notes.append("The backbone started from random values: no --weights were given.")
    for one in manifests:
        notes += [
            f"Phase {one.phase} was trained with {key} = {_shown(value)}, an option that is gone."
            for key, value in removed_settings(one).items()
        ]
    return notes


def _mixed(metrics: Sequence[Metrics]) -> list[str]:
    """What a reader should know of phases that were not evaluated alike."""
    notes = []
    if len({one.annotations_sha256 for one in metrics} - {""}) > 1:
        notes.append(
            "Phases were evaluated on different validation files: their AP is not to be compared."
        )
    made = [one.made_with for one in metrics if one.made_with]
    keys = [key for key in (made[0] if made else ()) if key.startswith("eval.")]
    differing = [key for key in keys if len({str(one.get(key)) for one in made}) > 1]
    if differing:
        notes.append(
            f"Phases were evaluated with different settings ({', '.join(differing)}); "
            "lst eval --all-phases evaluates them alike."
        )
    return notes


def _balance(workspace: Workspace) -> list[ReplayBalance]:
    """What each phase was trained on, by the replay that it had."""
    occurrences = read_training_input(workspace).occurrences
    trained = {
        phase: workspace.trained_settings(phase)
        for phase in workspace.done_phases()
        if workspace.require_done(phase).iterations
    }
    ways = {settings.step.replay: settings for settings in trained.values()}
    found = [
        balance
        for settings in ways.values()
        for balance in measure_balance(occurrences, workspace.split, settings)
        if balance.phase in trained and trained[balance.phase].step.replay == balance.replay
    ]
    return sorted(found, key=lambda balance: balance.phase)


def _instant(workspace: Workspace, done: Sequence[int]) -> list[InstantMetrics]:
    found = [load_instant(workspace.phase(phase).instant, phase) for phase in done]
    return [one for one in found if one is not None]


def _attention(workspace: Workspace) -> tuple[Attention | None, list[str]]:
    """What the newest classes attend to, and what a reader should know if it is not drawn."""
    attention = newest_attention(workspace)
    if attention is None or can_lay_out(attention):
        return attention, []
    return None, [
        f"The attention of phase {attention.phase}'s classes is not drawn: that takes "
        "scikit-learn (pip install scikit-learn)."
    ]


def _panels(
    workspace: Workspace, phase: int, skip: Callable[[LstError], None] | None
) -> list[Panel]:
    """Some validation images: those that hold the rarest classes seen."""
    split = workspace.split
    val, find = read_validation(workspace, phase)
    seen = split.class_order[: split.seen_classes(phase)]
    rows = _choose_images(val, seen)
    found = read_found(workspace, phase, {int(val.images.ids[row]) for row in rows})
    names = {record.category_id: record.name for record in split.classes}
    truth = _truth(val, rows, set(seen), names)
    panels = []
    for row in rows:
        image_id = int(val.images.ids[row])
        try:
            path = find(row)
        except LstError as error:
            if skip is None:
                raise
            skip(error)
            continue
        panels.append(
            Panel(
                image=path,
                title=path.name,
                size=(int(val.images.heights[row]), int(val.images.widths[row])),
                ground_truth=truth[row],
                predictions=[
                    PanelObject(
                        names[one.category_id],
                        one.bbox,
                        one.segmentation,
                        one.score,
                        one.category_id,
                    )
                    for one in found
                    if one.image_id == image_id and one.score >= PANEL_SCORE
                ],
            )
        )
    return panels


def _choose_images(val: Dataset, seen: Sequence[int]) -> list[int]:
    """Rows of images that hold the rarest seen classes, one for each class while there is room."""
    rows: list[int] = []
    for category_id in reversed(seen):
        images = val.instances.image_index[objects_of(val, [category_id])]
        fresh = [int(row) for row in images if int(row) not in rows]
        if fresh:
            # The busiest of them: a rare class among common ones is the point.
            sizes = [int((val.instances.image_index == row).sum()) for row in fresh[:20]]
            rows.append(fresh[int(np.argmax(sizes))])
        if len(rows) == PANELS:
            break
    return rows


def _truth(
    val: Dataset, rows: Sequence[int], seen: set[int], names: dict[int, str]
) -> dict[int, list[PanelObject]]:
    """Annotated objects of seen classes by image row."""
    known = objects_of(val, seen) & np.isin(val.instances.image_index, rows)
    instances = np.flatnonzero(known).astype(np.int64)
    truth: dict[int, list[PanelObject]] = {row: [] for row in rows}
    for instance, one in zip(instances, read_annotated(val, instances, names), strict=True):
        truth[int(val.instances.image_index[instance])].append(one)
    return truth
