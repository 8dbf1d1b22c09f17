"""`lst compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_table, say
from lst_cli.libraries import require

if TYPE_CHECKING:
    from lst_cli.ap.detections import IouType

_file = options.LocalPath(exists=True, dir_okay=False)


@options.command(
    "compare",
    "lst compare first-workspace second-workspace",
    "lst compare work:2 work:3 --json",
    "lst compare work results.json -o compared",
    "lst compare a.json b.json --annotations val.json",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@options.directory_option(
    "-o",
    "--output",
    help="Directory to write to.  [default: report/ in the first workspace]",
)
@click.option(
    "--annotations",
    metavar="FILE",
    type=_file,
    help="The validation file.  [default: that of the workspaces]",
)
@click.option(
    "--train-counts",
    metavar="FILE",
    type=_file,
    help="The training annotations, or a CSV with category_id and train_instance_count, for the "
    "bins.  [default: counts of the first workspace]",
)
@click.option(
    "--iou-type",
    type=options.Choice(["segm", "bbox"]),
    default="segm",
    show_default=True,
    help="Masks or boxes.",
)
@click.option(
    "--bins",
    metavar="BINS",
    help="Bins of training instances, such as '=1,<10,10-99,>=100'.  [default: eval.bins of the "
    "first workspace]",
)
@options.json_option
def command(
    runs: tuple[str, ...],
    output: Path | None,
    iou_type: IouType,
    bins: str | None,
    as_json: bool,
    **files: Path | None,
) -> None:
    """Compare runs on the same images and classes.

    Compares two or more runs, with intervals of the differences. A RUN is a workspace (its newest
    evaluated phase), DIR:PHASE, or a results file. Writes compare.md, compare.csv and compare.png.
    """
    from lst_cli.compare.compare import compare_runs, write_comparison
    from lst_cli.compare.tables import comparison_tables, difference_sentences
    from lst_cli.phases.bins import parse_bins

    require("matplotlib", "pycocotools")
    with meter() as tell:
        comparison = compare_runs(
            runs,
            iou_type=iou_type,
            bins=parse_bins(bins, "--bins") if bins else None,
            progress=tell,
            **files,
        )
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        if output is not None:
            write_comparison(comparison, output)
        return
    for table in comparison_tables(comparison):
        print_table(table)
    for sentence in (*comparison.notes, *difference_sentences(comparison)):
        note(sentence)
    paths = write_comparison(comparison, output)
    if not paths:
        note("-o DIR writes compare.md, compare.csv and compare.png")
        return
    note("wrote compare.md, compare.csv and the picture beside them:")
    say(str(paths[-1]))
