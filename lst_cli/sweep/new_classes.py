"""Runs of kind extend: classes added to one base from few boxes, in several ways, draw by draw."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lst_cli.ap.ground_truth import build_ground_truth
from lst_cli.ap.metrics import Metrics
from lst_cli.ap.results_file import Scored
from lst_cli.display.markup import render_csv
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import evaluate_phase
from lst_cli.evaluate.stored import load_metrics, stored_detections
from lst_cli.extend.extend import Learn, extend_workspace, load_learning
from lst_cli.extend.plan import NewFiles
from lst_cli.files import sha256_of
from lst_cli.inputs import read_validation
from lst_cli.settings.models import Settings
from lst_cli.sweep import draw_tables as tables
from lst_cli.sweep import state
from lst_cli.sweep.draw_tables import CellResult, DrawResults
from lst_cli.sweep.draws import DrawnFiles, draw_files
from lst_cli.sweep.jobs import Sweep, digest_of
from lst_cli.sweep.plan import Draws, PlannedRun, SweepPlan
from lst_cli.sweep.sweep import SweepEvents, attempt, open_sweep, run_sweep
from lst_cli.sweep.tables import Failure, render_page
from lst_cli.text import json_text
from lst_cli.workspace.atomic import write_text
from lst_cli.workspace.layout import SweepLayout
from lst_cli.workspace.records import load_record, save_record
from lst_cli.workspace.store import Workspace

ALARM_SCORE = 0.5


@dataclass(frozen=True)
class NewClassSweep:
    """All work of a plan with runs of kind extend."""

    plan: SweepPlan
    draws: Draws
    layout: SweepLayout
    runs: tuple[PlannedRun, ...]  # those to make
    files: DrawnFiles
    base: Sweep  # the one run that is extended
    # Runs of kind joint by number of boxes, which learn all draws at once; also if not to be made.
    joint: dict[int, Sweep]

    @property
    def joint_to_make(self) -> dict[int, Sweep]:
        """Those of `joint` that are to be made."""
        return self.joint if any(run.kind == "joint" for run in self.runs) else {}

    @property
    def extended(self) -> Workspace:
        """The workspace that is extended."""
        return Workspace(self.base.jobs[-1].root)


@dataclass(frozen=True)
class Cell:
    """A run with one draw of classes and one number of boxes."""

    run: PlannedRun
    settings: Settings
    draw: int
    boxes: int
    few: Path  # annotations
    names: tuple[str, ...]  # of its classes
    workspace: Workspace  # while it is under way

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.run.name}, draw {self.draw}, {self.boxes} boxes"

    @property
    def result(self) -> Path:
        """The file of its result."""
        return self.workspace.root.with_name(f"{self.workspace.root.name}.json")

    def read(self) -> CellResult | None:
        """Its result, if there is one."""
        if not self.result.exists():
            return None
        return load_record(CellResult, self.result, f"remove {self.result}")


def open_new_classes(
    plan: SweepPlan, root: Path, only: Sequence[str] = (), data: Path | None = None
) -> NewClassSweep:
    """Draw the classes, write annotation files into `data`, and decide what is to be done.

    Raises:
        LstError: If the data or a run are refused.
    """
    draws, runs = plan.new_classes, plan.select(only)
    assert draws is not None
    assert plan.data.train is not None
    if len(plan.common.seeds) > 1:
        raise LstError(
            "a plan with runs of kind extend takes one seed: its results are means over draws",
            "give --seed once",
        )
    files = draw_files(json.loads(plan.data.train.read_bytes()), draws, data or root / "data")

    def part(kind: str, train: Path, name: str) -> Sweep:
        """The sweep of the runs of a kind, on one of the files."""
        chosen = tuple(run for run in plan.runs if run.kind == kind)
        changed = {"runs": chosen, "data": plan.data.model_copy(update={"train": train})}
        return open_sweep(plan.model_copy(update=changed), root / name)

    boxes = draws.boxes if any(run.kind == "joint" for run in plan.runs) else ()
    joint = {one: part("joint", files.joint(one), f"joint-boxes{one}") for one in boxes}
    base = part("lst", files.base, "base")
    return NewClassSweep(plan, draws, SweepLayout(root), tuple(runs), files, base, joint)


def run_new_classes(sweep: NewClassSweep, events: SweepEvents) -> DrawResults:
    """Train the base, and then add each draw in each way; the table is written after each cell.

    Each cell has a result file of its own, so that the same call continues. A cell that fails does
    not stop the others.

    Raises:
        InterruptionError: If the user asked to stop.
        LstError: If the data are not in order, or the base cannot be trained.
    """
    for error in run_sweep(sweep.base, events).failed:
        raise LstError(f"the base failed: {error.error}", error.hint or None)
    failed: dict[str, Failure] = {}
    # Measured once: all detections of a run are read for it.
    joint = {boxes: [*_joint_results(sweep, boxes)] for boxes in sweep.joint}
    for boxes in sweep.draws.boxes:
        for cell in _cells(sweep, boxes):
            if cell.run not in sweep.runs or cell.read() is not None:
                continue
            events.note(cell.name)
            work = partial(_do, sweep, cell, events)
            failure = attempt(cell.name, cell.workspace.root, sweep.plan, work)
            if failure is not None:
                failed[cell.name] = failure
                events.note(f"{cell.name} failed: {failure.error}")
            _write_table(sweep, joint, failed)
        if boxes in sweep.joint_to_make:
            outcome = run_sweep(sweep.joint[boxes], events)
            failed |= {one.name: one for one in outcome.failed}
            joint[boxes] = [*_joint_results(sweep, boxes)]
            _write_table(sweep, joint, failed)
    return _write_table(sweep, joint, failed)


def count_cells(sweep: NewClassSweep) -> tuple[int, int]:
    """How many cells of runs of kind extend there are, and how many of them are done."""
    draws, done = sweep.draws, 0
    runs = [one for one in sweep.runs if one.kind == "extend"]
    if state.is_finished(sweep.base, sweep.base.jobs[-1]):
        cells = [cell for boxes in draws.boxes for cell in _cells(sweep, boxes)]
        done = sum(cell.run in runs and cell.read() is not None for cell in cells)
    return len(runs) * draws.draws * len(draws.boxes), done


def _cells(sweep: NewClassSweep, boxes: int) -> Iterator[Cell]:
    """The cells of all runs of kind extend with a number of boxes, also of those not selected."""
    plan, base = sweep.plan, sweep.extended
    assert plan.data.val is not None
    model, val = base.require_done(base.newest_phase()).model_sha256, sha256_of(plan.data.val)
    for draw, names in enumerate(sweep.files.names):
        few = sweep.files.few(draw, boxes)
        for run in plan.runs:
            if run.kind != "extend":
                continue
            settings = plan.settings_of(run, plan.common.seeds[0])
            # Without training, all other settings are those of the base.
            only = {"data", "eval"} if run.rows else None
            used = settings.model_dump(mode="json", include=only, exclude={"device"})
            digest = digest_of([model, val, sha256_of(few), names, run.rows, run.fitted, used])
            root = sweep.layout.root / "cells" / f"{run.name}-draw{draw}-boxes{boxes}-{digest}"
            yield Cell(run, settings, draw, boxes, few, names, Workspace(root))


def _do(sweep: NewClassSweep, cell: Cell, events: SweepEvents) -> None:
    """Add the classes of a cell to a copy of the base, and evaluate them."""
    workspace, run, base, data = cell.workspace, cell.run, sweep.extended, sweep.plan.data
    root = workspace.root
    if not root.exists():
        parts = root.with_name(f".{root.name}")
        shutil.rmtree(parts, ignore_errors=True)
        unneeded = shutil.ignore_patterns("metrics*", "detections*", "tensorboard", ".lock")
        shutil.copytree(base.root, parts, ignore=unneeded)
        parts.rename(root)
    files = NewFiles(
        cell.few, data.images, names=cell.names, skip_unusable=data.skip_unusable, anyway=True
    )
    phase = base.newest_phase() + 1
    if not workspace.split.extensions or not workspace.is_done(phase):
        extend_workspace(
            workspace,
            cell.settings,
            files,
            finetune=run.rows is None,
            events=events.training(sweep.base.jobs[-1]),
            learn=_learning(run) if run.rows else None,
        )
    evaluate_phase(workspace, phase, cell.settings, progress=events.progress)
    metrics = load_metrics(workspace, phase)
    assert metrics is not None
    manifest = workspace.require_done(phase)
    shown = manifest.image_passes
    if run.rows:  # the images of new classes, and known ones
        shown = workspace.split.extensions[-1].train.images + manifest.known_images
    about = {"run": run.name, "boxes": cell.boxes, "seconds": manifest.seconds or 0.0,
             "images": shown}  # fmt: skip
    [result] = _measure(workspace, metrics, base, {cell.draw: cell.names}, about)
    save_record(result, cell.result)
    shutil.rmtree(root)


def _learning(run: PlannedRun) -> Learn:
    learn = load_learning(run.rows, fitted=run.fitted is not False)
    # A class like the background is not refused, but fitted as others are.
    return lambda new, _anyway: learn(new, False)


def _measure(
    workspace: Workspace,
    metrics: Metrics,
    base: Workspace,
    draws: Mapping[int, tuple[str, ...]],
    about: Mapping[str, Any],
) -> Iterator[CellResult]:
    """What a model finds of the new classes of each draw, and of the classes of the base.

    `about` are the other fields of the result.
    """
    before = load_metrics(base, base.newest_phase())
    split = workspace.split
    seen = split.classes[: split.seen_classes(metrics.phase)]
    known = set(base.split.class_order)
    old = [one.category_id for one in seen if one.category_id in known]
    rates = _alarm_rates(workspace, metrics)

    def mean(values: dict[int, float], ids: Sequence[int]) -> float | None:
        found = [values[one] for one in ids if one in values]
        return fmean(found) if found else None

    for draw, names in draws.items():
        new = [one.category_id for one in seen if one.name in names]
        yield CellResult(
            **about,
            draw=draw,
            classes=names,
            new=mean(metrics.segm.per_class, new),
            old_before=before.segm.AP if before else None,
            old=mean(metrics.segm.per_class, old),
            alarms=mean(rates, new),
            alarms_old=mean(rates, old),
        )


def _alarm_rates(workspace: Workspace, metrics: Metrics) -> dict[int, float]:
    """Detections of each class in 100 validation images without it, from a score on."""
    split = workspace.split
    order = split.class_order[: split.seen_classes(metrics.phase)]
    dataset, _ = read_validation(workspace, metrics.phase)
    truth = build_ground_truth(dataset, order, masks=False)
    absent = truth.labelled_absent(np.arange(len(truth.image_ids) * len(order)))
    absent[truth.pair_keys(truth.image, truth.category)] = False
    absent = absent.reshape(-1, len(order))
    rows = {image: row for row, image in enumerate(truth.image_ids.tolist())}
    columns = {category: column for column, category in enumerate(order)}
    alarms = np.zeros(len(order))
    for _, found in stored_detections(workspace, metrics.phase, metrics).blocks(Scored):
        for one in found:
            if one.score >= ALARM_SCORE and absent[rows[one.image_id], columns[one.category_id]]:
                alarms[columns[one.category_id]] += 1
    images = absent.sum(axis=0)
    return {
        category: 100 * float(alarms[column] / images[column])
        for category, column in columns.items()
        if images[column]
    }


def _joint_results(sweep: NewClassSweep, boxes: int) -> Iterator[CellResult]:
    """The results of joint training, for each draw by itself."""
    for job in sweep.joint[boxes].every:
        result = state.read_result(job)
        if result is None or job.run is None:
            continue
        about = {"run": job.run.name, "boxes": boxes, "seconds": result.seconds,
                 "images": result.image_passes}  # fmt: skip
        draws = dict(enumerate(sweep.files.names))
        yield from _measure(Workspace(job.root), result.metrics, sweep.extended, draws, about)


def _write_table(
    sweep: NewClassSweep,
    joint: Mapping[int, Sequence[CellResult]],
    failed: Mapping[str, Failure],
) -> DrawResults:
    plan, layout, rows = sweep.plan, sweep.layout, []
    for boxes in sorted(sweep.draws.boxes):
        found = [one for cell in _cells(sweep, boxes) if (one := cell.read()) is not None]
        found += joint.get(boxes, ())
        for run in plan.runs:
            if own := tuple(one for one in found if one.run == run.name):
                rows.append(tables.Row(run.name, run.title, boxes, sweep.draws.draws, own))
    title = plan.title or f"The runs of {plan.name}"
    results = DrawResults(plan.name, title, tuple(rows), tuple(failed.values()))
    write_text(layout.csv, render_csv(tables.draw_numbers(results)))
    write_text(layout.json, json_text(tables.draw_record(results)) + "\n")
    page = render_page(tables.draw_table(results), (), results.failed)
    write_text(layout.markdown, page)
    return results
