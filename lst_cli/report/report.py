"""`lst report`: everything the workspace knows, as tables, plots and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lst_cli.annotations.problems import count_of
from lst_cli.annotations.read import Dataset
from lst_cli.ap.metrics import Metrics, load_instant
from lst_cli.display.objects import Panel
from lst_cli.display.tables import ReplayBalance, ReportPhase
from lst_cli.errors import LstError
from lst_cli.evaluate.stored import load_all_metrics
from lst_cli.figures.attention import Attention, can_lay_out, newest_attention
from lst_cli.figures.shown_objects import class_names, objects_of, read_annotated, read_found
from lst_cli.inputs import read_training_input, read_validation
from lst_cli.progress import Progress, silent
from lst_cli.report.data import ReportData
from lst_cli.report.write import write_report
from lst_cli.settings.diff import reported_settings, unused_sections
from lst_cli.split.split import balance_of, report_classes
from lst_cli.train.plan import is_quick
from lst_cli.workspace.manifest import PhaseManifest, Split, removed_settings
from lst_cli.workspace.store import Workspace

PANELS = 6
PANEL_SCORE = 0.3


def make_report(
    workspace: Workspace,
    directory: Path | None = None,
    *,
    progress: Progress = silent,
    skip: Callable[[LstError], None] | None = None,
    **about: Any,
) -> tuple[ReportData, dict[str, Path]]:
    """Write the report of a workspace, in its own report directory by default.

    Gives what it shows, see `gather`, and the files by kind, see `write_report`.
    """
    data = gather(workspace, skip=skip, **about)
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
    """Collect what a report shows, its `notes` before those found here.

    Without `pictures`, which tables do not need, the annotation files are not read. `skip` is
    called with the reason why a validation image is left out; without it that is an LstError.
    """
    split = workspace.split
    done = workspace.done_phases()
    manifests = [workspace.require_done(phase) for phase in done]
    metrics = load_all_metrics(workspace, done)
    if not metrics:
        raise LstError(f"no phase of {workspace.root} has been evaluated", "lst eval")
    newest = manifests[-1]
    instant = (load_instant(workspace.phase(phase).instant, phase) for phase in done)
    attention, lacking = _attention(workspace) if pictures else (None, [])
    return ReportData(
        title=title,
        settings=_settings(workspace, newest.phase),
        classes=report_classes(split),
        metrics=metrics,
        phases=[_phase(manifest, split) for manifest in manifests],
        federated=split.val_at(newest.phase).layout != "coco",
        demo=demo,
        adopted=workspace.adopted is not None,
        notes=[*notes, *_notes(workspace, manifests, metrics), *lacking],
        panels=_panels(workspace, metrics[-1].phase, skip) if pictures else (),
        replay=_balance(workspace) if pictures else (),
        panel_note=f"newest evaluated phase, scores of {PANEL_SCORE} and more",
        environment={**newest.versions, "device": newest.device},
        instant=[one for one in instant if one is not None],
        attention=attention,
    )


def _phase(manifest: PhaseManifest, split: Split) -> ReportPhase:
    note = "adopted" if manifest.adopted else ""
    if split.extension_at(manifest.phase) is not None:
        rows = "mean features" if manifest.new_rows == "mean-feature" else "generated"
        note = "added" if manifest.iterations else f"added instantly: no training, rows {rows}"
    return ReportPhase(
        phase=manifest.phase,
        classes=manifest.new_classes,
        entries=manifest.new_entries + manifest.replay_entries,
        replay_entries=manifest.replay_entries,
        iterations=manifest.iterations,
        seconds=manifest.seconds,
        note=note,
        new_rows=manifest.new_rows,
        image_passes=manifest.image_passes,
    )


def _settings(workspace: Workspace, phase: int) -> dict[str, str]:
    """Settings of a phase, those of the base phase as that one had them."""
    settings = workspace.trained_settings(phase)
    base = workspace.trained_settings(0).base
    shown = reported_settings(settings.model_copy(update={"base": base}))
    unused = unused_sections(settings.step.mwg, later=phase > 0)
    return {key: _shown(shown[key]) for key in shown if key.partition(".")[0] not in unused}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _notes(
    workspace: Workspace, manifests: Sequence[PhaseManifest], metrics: Sequence[Metrics]
) -> list[str]:
    """What a reader should know of how the phases were trained and evaluated."""
    notes = []
    if excluded := len(workspace.split.left_out):
        count, be = (
            count_of(excluded, "class has", "classes have"),
            "is" if excluded == 1 else "are",
        )
        notes.append(f"{count} no training instance and {be} left out.")
    if manifests[0].weights is None:
        notes.append("The backbone started from random values: no --weights were given.")
    for one in manifests:
        for key, value in removed_settings(one).items():
            text = f"Phase {one.phase} was trained with {key} = {_shown(value)}, an option that"
            notes.append(f"{text} was removed.")
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
    """What each phase was trained on, by the replay that it had; not if [extend] decided that."""
    occurrences, split = read_training_input(workspace).occurrences, workspace.split
    trained = {
        phase: workspace.trained_settings(phase)
        for phase in workspace.done_phases()
        if workspace.require_done(phase).iterations
    }
    with_extend = {one for one in trained if "extend" in workspace.require_done(one).settings}
    return [
        balance_of(occurrences, split, phase, settings)
        for phase, settings in trained.items()
        if (phase or settings.base.paste_objects)
        # lst 0.1 had no [extend].
        and not (phase in with_extend and is_quick(split, phase, settings))
    ]


def _attention(workspace: Workspace) -> tuple[Attention | None, list[str]]:
    """What the newest classes attend to, and what a reader should know if it is not drawn."""
    attention = newest_attention(workspace)
    if attention is None or can_lay_out(attention):
        return attention, []
    note = (
        f"The attention of phase {attention.phase}'s classes is not drawn: that takes "
        "scikit-learn (pip install scikit-learn)."
    )
    return None, [note]


def _panels(
    workspace: Workspace, phase: int, skip: Callable[[LstError], None] | None
) -> list[Panel]:
    """Some validation images: those that hold the rarest classes seen."""
    split = workspace.split
    val, find = read_validation(workspace, phase)
    images, image_of = val.images, val.instances.image_index
    seen = split.class_order[: split.seen_classes(phase)]
    rows = _choose_images(val, seen)
    shown = np.flatnonzero(objects_of(val, seen) & np.isin(image_of, rows)).astype(np.int64)
    objects = read_annotated(val, shown, class_names(workspace))
    annotated = list(zip(image_of[shown], objects, strict=True))
    predicted = read_found(workspace, phase, [int(images.ids[row]) for row in rows])
    panels = []
    for row in rows:
        try:
            path = find(row)
        except LstError as error:
            if skip is None:
                raise
            skip(error)
            continue
        size = images.stated_size(row)
        truth = [one for image, one in annotated if image == row]
        found = [one for one in predicted[int(images.ids[row])] if (one.score or 0) >= PANEL_SCORE]
        panels.append(Panel(path, path.name, truth, found, size))
    return panels


def _choose_images(val: Dataset, seen: Sequence[int]) -> list[int]:
    """Rows of images that hold the rarest seen classes, one for each class while there is room."""
    rows: list[int] = []
    for category_id in reversed(seen):
        images = val.instances.image_index[objects_of(val, [category_id])]
        fresh = [row for row in images.tolist() if row not in rows]
        if fresh:
            # The busiest of them: a rare class among common ones is the point.
            sizes = [int((val.instances.image_index == row).sum()) for row in fresh[:20]]
            rows.append(fresh[int(np.argmax(sizes))])
        if len(rows) == PANELS:
            break
    return rows
