"""`lst compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_table, say
from lst_cli.libraries import require


@options.command(
    "compare",
    "lst compare first-workspace second-workspace",
    "lst compare work:2 work:3 --json",
    "lst compare work results.json -o compared",
    "lst compare a.json b.json --annotations val.json",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@options.output_option("report/ in the first workspace")
@options.file_option(
    "--annotations", "The validation file.  [default: that of the workspaces]", exists=True
)
@options.file_option(
    "--train-counts",
    "The training annotations, or a CSV with category_id and train_instance_count, for the bins.  "
    "[default: counts of the first workspace]",
    exists=True,
)
@options.choice(
    "--iou-type", ["segm", "bbox"], "Masks or boxes.", default="segm", show_default=True
)
@options.bins_option("eval.bins of the first workspace")
@options.json_option
def command(
    runs: tuple[str, ...], output: Path | None, bins: str | None, as_json: bool, **given: Any
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
        parsed = parse_bins(bins, "--bins") if bins else None
        comparison = compare_runs(runs, bins=parsed, progress=tell, **given)
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
