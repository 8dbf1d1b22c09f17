"""`lst compare`: runs and results files side by side, on the same images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lst_cli.annotations.read import Dataset, read_dataset
from lst_cli.ap.bootstrap import RESAMPLES, draw_resamples, resampled_class_ap
from lst_cli.ap.detections import IouType
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth
from lst_cli.ap.results_file import ResultsFile
from lst_cli.ap.scoring import per_class_ap
from lst_cli.compare.paired import (
    AP50_FACTOR,
    ClassAp,
    ComparedRun,
    Comparison,
    Setting,
    at_lowest_iou,
    choose_class_sets,
    compare_class_ap,
)
from lst_cli.compare.plot import plot_comparison
from lst_cli.compare.run_settings import find_differences
from lst_cli.compare.tables import compare_table, render_comparison_markdown
from lst_cli.display.markup import render_csv
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import match_file, measure_matches, read_train_counts
from lst_cli.evaluate.stored import load_metrics, stored_detections
from lst_cli.files import refuse_address
from lst_cli.phases.bins import DEFAULT_BINS, Bin, parse_bins
from lst_cli.progress import Progress, silent, within
from lst_cli.workspace.atomic import write_bytes, write_text
from lst_cli.workspace.hints import hints_for
from lst_cli.workspace.store import Workspace

_WITH_PHASE = re.compile(r"(?P<directory>.+):(?P<phase>[0-9]{1,4})")
_WHAT_HINT = "give workspaces (DIR), phases of them (DIR:PHASE) or results files (.json)"


@dataclass(frozen=True)
class Run:
    """One of the things to compare.

    Attributes:
        given: What the user wrote.
        detections: The results file.
        workspace: Where it lies; None for a results file alone.
        phase: The phase that it is of, likewise.
    """

    given: str
    detections: Path
    workspace: Workspace | None = None
    phase: int | None = None

    @property
    def seen(self) -> list[int] | None:
        """Classes seen, in class order; None if nobody knows."""
        if self.workspace is None or self.phase is None:
            return None
        split = self.workspace.split
        return split.class_order[: split.seen_classes(self.phase)]

    def source(self) -> ResultsFile:
        """The detections; those of a workspace are verified while they are read."""
        if self.workspace is not None and self.phase is not None:
            metrics = load_metrics(self.workspace, self.phase)
            if metrics is not None:
                return stored_detections(self.workspace, self.phase, metrics)
        return ResultsFile(self.detections)

    @property
    def image_passes(self) -> int | None:
        """Images that training showed up to this phase; None if nobody knows."""
        if self.workspace is None or self.phase is None:
            return None
        phases = range(self.phase + 1)
        return sum(self.workspace.require_done(phase).image_passes for phase in phases)


def compare_runs(
    given: Sequence[str],
    *,
    annotations: Path | None = None,
    train_counts: Path | None = None,
    iou_type: IouType = "segm",
    bins: Sequence[Bin] | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Score several runs on the same images and classes; nothing is written.

    Args:
        given: Workspaces, `DIR:PHASE` or results files; differences are against the first.
        annotations: The validation file; by default that of the workspaces.
        train_counts: Where training instances are counted; by default the first workspace.
        iou_type: Masks or boxes.
        bins: Half-open ranges of training instances; by default those of the first workspace.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If there is nothing to compare, something was not evaluated, the validation
            files differ, or no class was seen by all.
    """
    if len(given) < 2:
        raise LstError(f"a comparison takes two or more runs, not {len(given)}", "lst compare A B")
    runs = [open_run(text) for text in given]
    names = name_runs(runs)
    dataset = _read_validation(runs, annotations, progress)
    classes = _common_classes(runs, dataset)
    instances, images, notes = _train_counts(runs, classes, train_counts, progress)
    truth = build_ground_truth(
        dataset,
        classes,
        images,
        masks=iou_type == "segm",
        progress=progress,
    )
    sets = choose_class_sets(
        classes,
        truth.frequencies,
        instances,
        bins or _bins(runs),
        _old_and_new(runs, frozenset(classes)),
    )
    if not truth.counts.any():
        raise LstError(
            f"none of the {len(classes)} classes that all have seen is annotated in {dataset.path}",
            "compare runs whose classes the validation file has",
        )
    found, detections = [], []
    for run, name in zip(runs, names, strict=True):
        ap, count = _score(truth, run, name, iou_type, progress)
        found.append(ap)
        detections.append(count)
    return Comparison(
        iou_type=iou_type,
        annotations=str(dataset.path),
        images=len(truth.image_ids),
        classes=len(classes),
        resamples=RESAMPLES,
        runs=tuple(
            ComparedRun(
                name=name,
                source=str(run.workspace.root if run.workspace else run.detections),
                phase=run.phase,
                classes=None if run.seen is None else len(run.seen),
                detections=count,
                image_passes=run.image_passes,
                differs=_differences(runs[0], run),
            )
            for run, name, count in zip(runs, names, detections, strict=True)
        ),
        rows=compare_class_ap(found, sets),
        notes=(*notes, *truth.notes),
    )


def write_comparison(comparison: Comparison, directory: Path | None = None) -> list[Path]:
    """Write `compare.md`, `compare.csv` and `compare.png`.

    Args:
        comparison: What to write.
        directory: Where to; by default the report directory of the first workspace among what
            was compared.

    Returns:
        The files; none if there is no place for them.

    Raises:
        LstError: If a file cannot be written.
    """
    if directory is not None:
        return _write(comparison, directory)
    homes = [Workspace(Path(run.source)) for run in comparison.runs if run.phase is not None]
    if not homes:
        return []
    with homes[0].locked():
        return _write(comparison, homes[0].layout.report)


def _write(comparison: Comparison, directory: Path) -> list[Path]:
    page, table, picture = (directory / f"compare.{kind}" for kind in ("md", "csv", "png"))
    drawn = plot_comparison(comparison)
    write_text(page, render_comparison_markdown(comparison))
    write_text(table, render_csv(compare_table(comparison)))
    write_bytes(picture, drawn)
    return [page, table, picture]


def open_run(given: str) -> Run:
    """Find what the user means: a results file, a workspace, or a phase of one.

    Raises:
        LstError: If it is none of these, or has no detections.
    """
    refuse_address(given)
    path = Path(given)
    if path.is_dir():
        with hints_for(path):
            return _newest(given, path)
    match = _WITH_PHASE.fullmatch(given)
    if match is not None and Path(match["directory"]).is_dir():
        with hints_for(Path(match["directory"])):
            return _phase(given, _workspace(Path(match["directory"])), int(match["phase"]))
    if path.is_file():
        return Run(given, path)
    raise LstError(f"{given}: no such workspace or results file", _WHAT_HINT)


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Short names, no two the same."""
    long = [run.given for run in runs]
    homes = [run.workspace.root.resolve().name if run.workspace else "" for run in runs]
    # The most telling of these that keeps all apart.
    for names in (
        [home or run.detections.name for home, run in zip(homes, runs, strict=True)],
        [
            f"{home}:{run.phase}" if home else run.detections.name
            for home, run in zip(homes, runs, strict=True)
        ],
        long,
    ):
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({place})" for place, name in enumerate(long, start=1)]


def _workspace(root: Path) -> Workspace:
    workspace = Workspace(root)
    if not workspace.layout.split.exists():
        raise LstError(f"{root} is no workspace: it holds no split", _WHAT_HINT)
    return workspace


def _newest(given: str, root: Path) -> Run:
    workspace = _workspace(root)
    for phase in reversed(workspace.done_phases()):
        if workspace.phase(phase).metrics.exists() and workspace.phase(phase).detections.exists():
            return _phase(given, workspace, phase)
    raise LstError(f"no phase of {root} has been evaluated", "lst eval")


def _phase(given: str, workspace: Workspace, phase: int) -> Run:
    workspace.require_done(phase)
    directory = workspace.phase(phase)
    if not (directory.metrics.exists() and directory.detections.exists()):
        raise LstError(
            f"phase {phase} of {workspace.root} has not been evaluated",
            f"lst eval --phase {phase}",
        )
    return Run(given, directory.detections, workspace, phase)


def _read_validation(runs: Sequence[Run], annotations: Path | None, progress: Progress) -> Dataset:
    files = [
        (run, run.workspace.split.val_at(run.phase))
        for run in runs
        if run.workspace is not None and run.phase is not None
    ]
    for run, file in files[1:]:
        if file.sha256 != files[0][1].sha256:
            raise LstError(
                f"{files[0][0].given} and {run.given} were evaluated on different validation "
                f"files: {files[0][1].path} and {file.path}",
                "compare runs on the same validation file",
            )
    if annotations is None:
        if not files:
            raise LstError(
                "--annotations is required to compare results files",
                "--annotations VAL.json",
            )
        annotations = Path(files[0][1].path)
        if not annotations.exists():
            raise LstError(
                f"{annotations}: missing since the split of {files[0][0].given} was made",
                "--annotations VAL.json with where it is now",
            )
    dataset = read_dataset(annotations, progress=progress)
    if files and dataset.sha256 != files[0][1].sha256:
        raise LstError(
            f"{annotations} is not the validation file that {files[0][0].given} was evaluated on",
            f"give {files[0][1].path} as it was",
        )
    return dataset


def _common_classes(runs: Sequence[Run], dataset: Dataset) -> list[int]:
    """Classes that all have seen, in the first known class order."""
    known = [run.seen for run in runs if run.seen is not None]
    if not known:
        return [int(one) for one in dataset.categories.ids]
    others = [frozenset(seen) for seen in known[1:]]
    common = [one for one in known[0] if all(one in seen for seen in others)]
    if not common:
        raise LstError(
            f"no class was seen by all of {', '.join(run.given for run in runs)}",
            "compare runs that have classes in common",
        )
    return common


def _train_counts(
    runs: Sequence[Run], classes: Sequence[int], file: Path | None, progress: Progress
) -> tuple[Mapping[int, int] | None, Mapping[int, int] | None, list[str]]:
    """Training instances and images of the classes, if known, and what to say about them."""
    if file is not None:
        counts = read_train_counts(file, progress=progress)
        images = {one: counts.images.get(one, 0) for one in classes} if counts.images else None
        return counts.instances, images, []
    known = []
    for run in runs:
        if run.workspace is not None:
            records = run.workspace.split.classes
            known.append(
                (
                    {one.category_id: one.instances for one in records},
                    {one.category_id: one.images for one in records},
                )
            )
    if not known:
        return None, None, ["No bins: --train-counts says how many training instances there are."]
    first = known[0][0]
    differ = any(other[one] != first[one] for other, _ in known[1:] for one in classes)
    note = "The runs were trained on different annotations: bins are those of the first workspace."
    return *known[0], [note] if differ else []


def _bins(runs: Sequence[Run]) -> tuple[Bin, ...]:
    home = next((run.workspace for run in runs if run.workspace is not None), None)
    return DEFAULT_BINS if home is None else parse_bins(home.settings().eval.bins)


def _old_and_new(runs: Sequence[Run], common: frozenset[int]) -> dict[str, frozenset[int]] | None:
    """Old and new classes, where all workspaces agree on them."""
    found = set()
    for run in runs:
        if run.workspace is not None and run.phase is not None:
            split = run.workspace.split
            new = frozenset(split.groups[run.phase])
            found.add((frozenset(run.seen or ()) - new, new))
    if len(found) != 1:
        return None
    [(old, new)] = found
    if not old or not new or not (old | new) <= common:
        return None
    return {"old": old, "new": new}


def _score(
    truth: GroundTruth, run: Run, name: str, iou_type: IouType, progress: Progress
) -> tuple[ClassAp, int]:
    """AP of every class, and how many detections there were."""
    progress = within(progress, f"{name}, ")
    matches = match_file(truth, run.source(), iou_type, progress=progress)
    measured = measure_matches(matches, progress=progress)
    resamples = draw_resamples(len(truth.image_ids), RESAMPLES)
    lowest = resampled_class_ap(at_lowest_iou(matches), resamples)
    precision = measured.result.precision
    ap = ClassAp(
        ap={"AP": per_class_ap(precision), "AP50": per_class_ap(precision, "AP50")},
        resampled={"AP": measured.resampled, "AP50": AP50_FACTOR * lowest},
    )
    return ap, measured.given


def _differences(first: Run, this: Run) -> tuple[Setting, ...]:
    """In what two runs differ; nothing where one is a results file, or both are the same."""
    if (
        first.workspace is None
        or first.phase is None
        or this.workspace is None
        or this.phase is None
    ):
        return ()
    return find_differences((first.workspace, first.phase), (this.workspace, this.phase))
