"""`lst compare`: runs and results files side by side, on the same images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.ap.bootstrap import RESAMPLES, draw_resamples, resampled_class_ap
from lst_cli.ap.detections import gather_detections
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth
from lst_cli.ap.lvis_ap import NO_BINS, TrainBins, per_class_ap
from lst_cli.ap.matching import match_detections
from lst_cli.ap.metrics import IouType
from lst_cli.ap.results_file import ResultsFile
from lst_cli.compare.paired import (
    AP50_FACTOR,
    ClassAp,
    ComparedRun,
    Comparison,
    at_lowest_iou,
    choose_class_sets,
    compare_class_ap,
)
from lst_cli.compare.run_settings import find_differences
from lst_cli.compare.tables import compare_table, plot_comparison, render_comparison_markdown
from lst_cli.display.markup import render_csv
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import TrainCounts, read_train_counts, resampled_ap
from lst_cli.evaluate.stored import load_metrics, stored_detections
from lst_cli.files import refuse_address
from lst_cli.phases.bins import DEFAULT_BINS, Bin, parse_bins
from lst_cli.progress import Progress, silent, within
from lst_cli.workspace.atomic import write_bytes
from lst_cli.workspace.hints import hints_for
from lst_cli.workspace.store import Workspace

_WITH_PHASE = re.compile(r"(?P<directory>.+):(?P<phase>[0-9]{1,4})")
_WHAT_HINT = "give workspaces (DIR), phases of them (DIR:PHASE) or results files (.json)"


class Home(NamedTuple):
    """A finished phase of a workspace."""

    workspace: Workspace
    phase: int


@dataclass(frozen=True)
class Run:
    """One of the things to compare."""

    given: str  # as the user wrote it
    detections: Path
    home: Home | None = None  # None for a results file alone

    @property
    def name(self) -> str:
        """Name of the workspace's directory, or of the file."""
        return self.home.workspace.root.resolve().name if self.home else self.detections.name

    @property
    def seen(self) -> list[int] | None:
        """Classes seen, in class order; None if nobody knows."""
        if self.home is None:
            return None
        split = self.home.workspace.split
        return split.class_order[: split.seen_classes(self.home.phase)]

    @property
    def image_passes(self) -> int | None:
        """Images that training showed up to this phase; None if nobody knows."""
        if self.home is None:
            return None
        phases = range(self.home.phase + 1)
        return sum(self.home.workspace.require_done(phase).image_passes for phase in phases)

    def source(self, progress: Progress) -> ResultsFile:
        """The detections; those of a workspace are verified while they are read."""
        if self.home is not None and (metrics := load_metrics(*self.home)) is not None:
            return stored_detections(*self.home, metrics, progress)
        return ResultsFile(self.detections, progress)


def compare_runs(
    given: Sequence[str],
    *,
    annotations: Path | None = None,
    train_counts: Path | None = None,
    iou_type: IouType = "segm",
    bins: Sequence[Bin] | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Score workspaces, `DIR:PHASE` or results files on the same images; nothing is written.

    Differences are against the first. The validation file, the training instances and their bins
    are those of the first workspace by default.
    """
    if len(given) < 2:
        raise LstError(f"a comparison needs two or more runs, not {len(given)}", "lst compare A B")
    runs = [open_run(text) for text in given]
    names = name_runs(runs)
    dataset = _read_validation(runs, annotations, progress)
    classes = _common_classes(runs, dataset)
    counts, note = _train_counts(runs, classes, train_counts, progress)
    images, masks = counts and counts.images_of(classes), iou_type == "segm"
    truth = build_ground_truth(dataset, classes, images, masks=masks, progress=progress)
    if not truth.counts.any():
        raise LstError(
            f"none of the {len(classes)} classes that all have seen is annotated in {dataset.path}",
            "compare runs whose classes the validation file has",
        )
    homes = [run.home for run in runs if run.home]
    if bins is None:
        bins = parse_bins(homes[0].workspace.settings().eval.bins) if homes else DEFAULT_BINS
    by = TrainBins(counts.instances, bins) if counts else NO_BINS
    sets = choose_class_sets(classes, truth.frequencies, by, _old_and_new(runs))
    scores = [
        _score(truth, run, iou_type, within(progress, f"{name}, "))
        for run, name in zip(runs, names, strict=True)
    ]
    first = runs[0].home
    compared = [
        ComparedRun(
            name=name,
            source=str(run.home.workspace.root if run.home else run.detections),
            phase=run.home.phase if run.home else None,
            classes=None if run.seen is None else len(run.seen),
            detections=detections,
            image_passes=run.image_passes,
            differs=find_differences(first, run.home) if first and run.home else (),
        )
        for run, name, (_, detections) in zip(runs, names, scores, strict=True)
    ]
    return Comparison(
        iou_type=iou_type,
        annotations=str(dataset.path),
        images=len(truth.image_ids),
        classes=len(classes),
        resamples=RESAMPLES,
        runs=tuple(compared),
        rows=tuple(compare_class_ap([ap for ap, _ in scores], one) for one in sets),
        notes=(*filter(None, [note]), *truth.notes),
    )


def write_comparison(comparison: Comparison, directory: Path | None = None) -> list[Path]:
    """Write `compare.md`, `compare.csv` and `compare.png`.

    By default they go to the report of the first workspace; without one nothing is written.
    """
    homes = [Workspace(Path(run.source)) for run in comparison.runs if run.phase is not None]
    if directory is None and not homes:
        return []
    with homes[0].locked() if directory is None else nullcontext():
        directory = directory or homes[0].layout.report
        files = {
            directory / "compare.md": render_comparison_markdown(comparison).encode(),
            directory / "compare.csv": render_csv(compare_table(comparison)).encode(),
            directory / "compare.png": plot_comparison(comparison),
        }
        for path, content in files.items():
            write_bytes(path, content)
    return list(files)


def open_run(given: str) -> Run:
    """Find what the user gave: a results file, or a workspace or phase with detections."""
    refuse_address(given)
    path, phase = Path(given), None
    match = None if path.is_dir() else _WITH_PHASE.fullmatch(given)
    if match is not None and Path(match["directory"]).is_dir():
        path, phase = Path(match["directory"]), int(match["phase"])
    if path.is_dir():
        with hints_for(path):
            home = _find_phase(path, phase)
        return Run(given, home.workspace.phase(home.phase).detections, home)
    if path.is_file():
        return Run(given, path)
    raise LstError(f"{given}: no such workspace or results file", _WHAT_HINT)


def _find_phase(root: Path, phase: int | None) -> Home:
    workspace = Workspace(root)
    if not workspace.layout.split.exists():
        raise LstError(f"{root} is not a workspace: it has no split", _WHAT_HINT)
    if phase is not None:
        workspace.require_done(phase)
    for one in reversed(workspace.done_phases()) if phase is None else [phase]:
        directory = workspace.phase(one)
        if directory.metrics.exists() and directory.detections.exists():
            return Home(workspace, one)
    if phase is None:
        raise LstError(f"no phase of {root} has been evaluated", "lst eval")
    raise LstError(f"phase {phase} of {root} has not been evaluated", f"lst eval --phase {phase}")


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Name runs: the shortest kind of names of which no two are the same."""
    given = [run.given for run in runs]
    with_phase = [f"{run.name}:{run.home.phase}" if run.home else run.name for run in runs]
    numbered = [f"{name} ({place})" for place, name in enumerate(given, start=1)]
    kinds = ([run.name for run in runs], with_phase, given, numbered)
    return next(names for names in kinds if len(set(names)) == len(names))


def require_same_validation(homes: Sequence[Home]) -> None:
    """Raise an LstError unless phases were evaluated on one validation file."""
    known = [(f"phase {t} of {one.root}", one.split.val_at(t)) for one, t in homes]
    for name, file in known[1:]:
        if file.sha256 != known[0][1].sha256:
            raise LstError(
                f"{known[0][0]} and {name} were evaluated on different validation files: "
                f"{known[0][1].path} and {file.path}",
                "take runs with the same validation file",
            )


def _read_validation(runs: Sequence[Run], annotations: Path | None, progress: Progress) -> Dataset:
    known = [(run.given, run.home) for run in runs if run.home]
    if not known:
        if annotations is None:
            message = "--annotations is required to compare results files"
            raise LstError(message, "--annotations VAL.json")
        return read_dataset(annotations, progress=progress)
    require_same_validation([home for _, home in known])
    first, (workspace, phase) = known[0]
    file = workspace.split.val_at(phase)
    path = annotations or Path(file.path)
    if not path.exists() and annotations is None:
        raise LstError(
            f"{path}: missing since the split of {first} was made",
            "--annotations VAL.json with where it is now",
        )
    dataset = read_dataset(path, progress=progress)
    if dataset.sha256 != file.sha256:
        raise LstError(
            f"{path} is not the validation file that {first} was evaluated on",
            f"give {file.path} as it was",
        )
    return dataset


def _common_classes(runs: Sequence[Run], dataset: Dataset) -> list[int]:
    """Classes that all have seen, in the first known class order."""
    known = [run.seen for run in runs if run.seen is not None]
    if not known:
        return [int(one) for one in dataset.categories.ids]
    in_all = frozenset(known[0]).intersection(*known[1:])
    if not in_all:
        raise LstError(
            f"no class was seen by all of {', '.join(run.given for run in runs)}",
            "compare runs that have classes in common",
        )
    return [one for one in known[0] if one in in_all]


def _train_counts(
    runs: Sequence[Run], classes: Sequence[int], file: Path | None, progress: Progress
) -> tuple[TrainCounts | None, str]:
    """Training instances and images of each class, if they are known, and a remark."""
    if file is not None:
        return read_train_counts(file, progress=progress), ""
    known = [run.home.workspace.split.classes for run in runs if run.home]
    if not known:
        return None, "No bins: --train-counts says how many training instances there are."
    first, *others = ({one.category_id: one.instances for one in records} for records in known)
    note = "The runs were trained on different annotations: bins are those of the first workspace."
    if all(other[one] == first[one] for other in others for one in classes):
        note = ""
    return TrainCounts(first, {one.category_id: one.images for one in known[0]}), note


def _old_and_new(runs: Sequence[Run]) -> dict[str, frozenset[int]]:
    """Old and new classes, where all workspaces agree on them."""
    found = set()
    for run in runs:
        if run.home:
            new = frozenset(run.home.workspace.split.groups[run.home.phase])
            found.add((frozenset(run.seen or ()) - new, new))
    old, new = found.pop() if len(found) == 1 else (frozenset(), frozenset())
    return {"old": old, "new": new} if old and new else {}


def _score(
    truth: GroundTruth, run: Run, iou_type: IouType, progress: Progress
) -> tuple[ClassAp, int]:
    """AP of every class, and how many detections there were."""
    detections = gather_detections(truth, run.source(progress), iou_type)
    matches = match_detections(truth, detections)
    result = resampled_ap(matches, progress=progress)
    resamples = draw_resamples(len(truth.image_ids), RESAMPLES)
    lowest = resampled_class_ap(at_lowest_iou(matches), resamples)
    ap = ClassAp(
        ap={"AP": per_class_ap(result.precision), "AP50": per_class_ap(result.precision, "AP50")},
        resampled={"AP": result.resampled, "AP50": AP50_FACTOR * lowest},
    )
    return ap, detections.given
