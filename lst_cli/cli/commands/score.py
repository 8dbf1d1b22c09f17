"""`lst score`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_table
from lst_cli.libraries import require

if TYPE_CHECKING:
    from lst_cli.ap.detections import IouType

_file = options.LocalPath(exists=True, dir_okay=False)


@options.command(
    "score",
    "lst score results.json --annotations val.json",
    "lst score r.json --annotations val.json --train-counts train.json --errors",
    "lst score results.json --annotations val.json --iou-type bbox --json",
)
@click.argument("results", type=_file)
@click.option(
    "--annotations",
    metavar="FILE",
    required=True,
    type=_file,
    help="LVIS or COCO annotations of the same images.",
)
@options.train_counts_option
@click.option(
    "--iou-type",
    "iou_types",
    multiple=True,
    type=options.Choice(["segm", "bbox"]),
    help="Only masks or only boxes.",
)
@click.option(
    "--bins", metavar="BINS", help="Bins of training instances, such as '=1,<10,10-99,>=100'."
)
@options.fixed_ap_option
@options.errors_option
@options.reference_option
@options.skip_unusable_option
@options.json_option
def command(
    results: Path,
    annotations: Path,
    iou_types: tuple[IouType, ...],
    bins: str | None,
    fixed_ap: bool,
    as_json: bool,
    **more: Any,
) -> None:
    """Compute LVIS AP of any results file.

    RESULTS is a list of detections in LVIS or COCO results format. Neither a workspace nor torch
    is needed, and nothing is written.
    """
    from lst_cli.ap.detections import FIXED_AP, LVIS_CAP
    from lst_cli.evaluate.measure import IOU_TYPES, NAMES, ScoreOptions, score_file
    from lst_cli.evaluate.tables import errors_table, means_table, scores_table
    from lst_cli.phases.bins import DEFAULT_BINS, parse_bins

    require("pycocotools", *(["lvis"] if more["reference"] else []))
    wanted = ScoreOptions(
        bins=parse_bins(bins, "--bins") if bins else DEFAULT_BINS,
        iou_types=iou_types or IOU_TYPES,
        cap=FIXED_AP if fixed_ap else LVIS_CAP,
        **more,
    )
    with meter() as tell:
        scored = score_file(results, annotations, wanted, tell)
    metrics = scored.metrics
    analyses = {
        iou_type: one.errors for iou_type, one in scored.measured.items() if one.errors is not None
    }
    if as_json:
        record = metrics.model_dump(mode="json")
        if wanted.errors:
            record["errors"] = {key: one.model_dump(mode="json") for key, one in analyses.items()}
        if wanted.reference:
            record["largest_difference"] = scored.differences
        print_json(record)
        return
    for sentence in scored.notes:
        note(sentence)
    found = {NAMES[one]: getattr(metrics, one) for one in scored.measured}
    print_table(means_table(found))
    for name, scores in found.items():
        print_table(scores_table(scores, name[:1].upper() + name[1:]))
    for analysis in analyses.values():
        print_table(errors_table(analysis))
    if wanted.train_counts is None:
        note("no bins: --train-counts says how many training instances each class has")
    show_differences(scored.differences)


def show_differences(differences: Mapping[IouType, float | None]) -> None:
    """Tell how far lvis-api's numbers are from ours."""
    from lst_cli.evaluate.measure import NAMES

    for iou_type, difference in differences.items():
        if difference is None:
            note(f"{NAMES[iou_type]}: lvis-api cannot score an empty list")
        else:
            note(f"{NAMES[iou_type]}: lvis-api's numbers differ by {difference:.1e} at most")
