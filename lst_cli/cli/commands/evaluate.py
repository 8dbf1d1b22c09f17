"""`lst eval` and `lst score`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli import ranks
from lst_cli.cli import options
from lst_cli.cli.console import Meter, meter, note, print_json, print_table, show_next
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require
from lst_cli.progress import Progress, within

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lst_cli.ap.metrics import ErrorAnalysis, IouType
    from lst_cli.evaluate.evaluate import Evaluation
    from lst_cli.settings.models import Settings


@options.command(
    "eval", "lst eval", "lst eval --all-phases --json", "lst eval --instant", "lst eval --errors"
)
@options.workspace_option
@options.phase_option("evaluate")
@options.flag("--all-phases", "Evaluate every finished phase.")
@options.flag(
    "--instant",
    "Evaluate the new classes of a phase before any training, with random, mean-feature and "
    "generated rows.",
)
@options.bins_option("the setting eval.bins")
@options.closer_look_options
@options.settings_options
@options.gpus_option
@options.json_option
def evaluate(
    workspace: options.Workspace,
    phase: int | None,
    all_phases: bool,
    instant: bool,
    bins: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Compute LVIS AP of a phase's model on the validation images.

    Prints mask and box AP over the classes seen so far, by number of training instances, and
    writes metrics.json and detections.json to the directory of the phase. With --instant, the new
    classes are added to the model of the phase before without training, and instant.json is
    written.
    """
    from lst_cli.phases.bins import parse_bins

    if all_phases and phase is not None:
        raise LstError("--phase and --all-phases cannot be used together", "give one of them")
    require(*NETWORK, *(["lvis"] if how["reference"] else []))
    from lst_cli.evaluate.evaluate import (
        EvalOptions,
        check_phases,
        detect_share,
        evaluate_phase,
    )

    if bins is not None:
        parse_bins(bins, "--bins")
    settings = workspace.settings(options.words(overrides, eval__bins=bins))
    newest = workspace.newest_phase()
    phases = list(range(newest + 1)) if all_phases else [newest if phase is None else phase]
    one_alone = [name for name, given in (("instant", instant), *how.items()) if given]
    one_alone = [name for name in one_alone if name != "fixed_ap"]
    if ranks.world() > 1 and one_alone:
        raise LstError(
            f"lst eval --{one_alone[0]} runs as one process", "run it without torchrun or --gpus"
        )
    if instant:
        for name in (name for name, given in how.items() if given):
            option = "--" + name.replace("_", "-")
            raise LstError(f"{option} cannot be used with --instant", "lst eval --help")
        later = [one for one in phases if one > 0] if all_phases else phases
        _eval_instant(workspace, later, settings, as_json)
        return
    if not ranks.is_first():
        for one in phases:
            detect_share(workspace, one, settings, fixed_ap=how["fixed_ap"])
        return
    with meter() as tell:
        if len(phases) > 1:
            check_phases(workspace, phases, settings, fixed_ap=how["fixed_ap"], progress=tell)
        options_of_each = EvalOptions(**how)
        found = [
            evaluate_phase(workspace, one, settings, options_of_each, progress=progress)
            for one, progress in _about_phases(tell, phases)
        ]
    for sentence in dict.fromkeys(sentence for one in found for sentence in one.notes):
        note(sentence)
    if not as_json:
        _show(workspace, found, **how)
        return
    records = [
        _record(one.metrics, {"segm": one.errors} if one.errors else {}, one.differences)
        for one in found
    ]
    print_json(records if all_phases else records[0])


def _record(
    metrics: BaseModel,
    analyses: Mapping[IouType, ErrorAnalysis],
    differences: Mapping[IouType, float | None],
) -> dict[str, Any]:
    record = metrics.model_dump(mode="json")
    if analyses:
        record["errors"] = {key: one.model_dump(mode="json") for key, one in analyses.items()}
    if differences:
        record["largest_difference"] = differences
    return record


def _show(
    workspace: options.Workspace, found: Sequence[Evaluation], *, fixed_ap: bool, **closer: bool
) -> None:
    from lst_cli.display.tables import binned_table, groups_table, with_joint
    from lst_cli.evaluate.tables import errors_table, scores_table
    from lst_cli.report.status import next_command

    joint = workspace.joint
    metrics = [one.metrics for one in found]
    print_table(with_joint(binned_table(metrics), joint))
    if not joint:
        print_table(groups_table(metrics))
    print_table(scores_table(metrics[-1].segm))
    for one in found:
        if one.errors is not None:
            print_table(errors_table(one.errors))
        _show_differences(one.differences)
        for path in one.error_files:
            note(f"wrote {path}")
    if not any(closer.values()):
        suffix = "-fixed" if fixed_ap else ""
        several = len(metrics) > 1
        where = workspace.layout.phases if several else workspace.phase(metrics[0].phase).root
        note(f"wrote metrics{suffix}.json and detections{suffix}.json in {where}")
    show_next(next_command(workspace))


def _about_phases(tell: Meter, phases: Sequence[int]) -> Iterator[tuple[int, Progress]]:
    """Each phase with a progress callback that names it where there are several."""
    for phase in phases:
        name = "base phase" if phase == 0 else f"phase {phase} of {phases[-1]}"
        yield phase, tell if len(phases) == 1 else within(tell, f"{name}: ")


def _eval_instant(
    workspace: options.Workspace, phases: Sequence[int], settings: Settings, as_json: bool
) -> None:
    from lst_cli.evaluate.evaluate import evaluate_instant
    from lst_cli.evaluate.stored import load_all_metrics
    from lst_cli.extend.tables import instant_table

    with meter() as tell:
        instant = [
            evaluate_instant(workspace, one, settings, progress=progress)
            for one, progress in _about_phases(tell, phases)
        ]
    if as_json:
        print_json([one.model_dump(mode="json") for one in instant])
        return
    # A phase that lst extend added without training has no later metrics to compare with.
    trained_phases = [one for one in phases if workspace.require_done(one).iterations]
    print_table(instant_table(instant, load_all_metrics(workspace, trained_phases)))
    for one in phases:
        note(f"wrote {workspace.phase(one).instant}")


@options.command(
    "score",
    "lst score results.json --annotations val.json",
    "lst score r.json --annotations val.json --train-counts train.json --errors",
    "lst score results.json --annotations val.json --iou-type bbox --json",
)
@click.argument("results", type=options.LocalPath(exists=True, dir_okay=False))
@options.file_option(
    "--annotations", "LVIS or COCO annotations of the same images.", exists=True, required=True
)
@options.file_option(
    "--train-counts",
    "Training annotations, or a CSV with the columns category_id and train_instance_count; needed "
    "for AP by bin.",
    exists=True,
)
@options.choice(
    "--iou-type", ["segm", "bbox"], "Only masks or only boxes.", "iou_types", multiple=True
)
@options.bins_option()
@options.closer_look_options
@options.skip_unusable_option
@options.json_option
def score(
    results: Path,
    annotations: Path,
    iou_types: tuple[IouType, ...],
    bins: str | None,
    fixed_ap: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Compute LVIS AP of any results file.

    RESULTS is a list of detections in LVIS or COCO results format. Neither a workspace nor torch
    is needed, and nothing is written.
    """
    from lst_cli.ap.detections import FIXED_AP, LVIS_CAP
    from lst_cli.evaluate.measure import IOU_TYPES, NAMES, ScoreOptions, score_file
    from lst_cli.evaluate.tables import errors_table, means_table, scores_table
    from lst_cli.phases.bins import DEFAULT_BINS, parse_bins

    require("pycocotools", *(["lvis"] if how["reference"] else []))
    wanted = ScoreOptions(
        bins=parse_bins(bins, "--bins") if bins else DEFAULT_BINS,
        iou_types=iou_types or IOU_TYPES,
        cap=FIXED_AP if fixed_ap else LVIS_CAP,
        **how,
    )
    with meter() as tell:
        scored = score_file(results, annotations, wanted, tell)
    measured, differences = scored.measured, scored.differences
    analyses = {key: one.errors for key, one in measured.items() if one.errors is not None}
    if as_json:
        print_json(_record(scored.metrics, analyses, differences))
        return
    for sentence in scored.notes:
        note(sentence)
    found = {NAMES[one]: getattr(scored.metrics, one) for one in measured}
    print_table(means_table(found))
    for name, scores in found.items():
        print_table(scores_table(scores, name[:1].upper() + name[1:]))
    for analysis in analyses.values():
        print_table(errors_table(analysis))
    if wanted.train_counts is None:
        note("no bins: --train-counts says how many training instances each class has")
    _show_differences(differences)


def _show_differences(differences: Mapping[IouType, float | None]) -> None:
    """Say how far lvis-api's numbers are from ours."""
    from lst_cli.evaluate.measure import NAMES

    for iou_type, difference in differences.items():
        if difference is None:
            note(f"{NAMES[iou_type]}: lvis-api cannot score an empty list")
        else:
            note(f"{NAMES[iou_type]}: lvis-api's numbers differ by {difference:.1e} at most")
