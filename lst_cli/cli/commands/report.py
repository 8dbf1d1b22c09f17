"""`lst report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lst_cli.cli.console import meter, note, print_json, print_table, say
from lst_cli.cli.options import (
    Choice,
    LocalPath,
    examples,
    json_option,
    with_options,
    workspace_option,
)
from lst_cli.errors import LstError
from lst_cli.figures.files import FIGURES, FigureName
from lst_cli.libraries import require
from lst_cli.workspace.store import Workspace

if TYPE_CHECKING:
    from lst_cli.ap.detections import IouType

_file = LocalPath(exists=True, dir_okay=False)


@click.command(
    "report",
    epilog=examples(
        "lst report",
        "lst report --figure balance --figure attention",
        "lst report --figure mwg -w with-generator --with without-generator",
        "lst report --compare first-workspace second-workspace",
        "lst report --compare work:2 work:3 --json",
        "lst report --compare work results.json -o compared",
    ),
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@with_options(workspace_option)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=LocalPath(file_okay=False),
    help="Where to write.  [default: report/ in the workspace]",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    type=Choice(FIGURES),
    help="Only this figure, for a paper (PNG and PDF), and its numbers as CSV; may be repeated. "
    "balance: instances of each class with balanced replay. distill, replay, mwg: runs that differ "
    "in this, phase by phase. tail: the rarest classes, AP and pictures. attention: the newest "
    "classes that the meta weight generator wrote rows for, by the base classes they attend to "
    "(t-SNE).",
)
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="DIR",
    type=LocalPath(),
    help="With --figure distill, replay, mwg or tail: a further workspace; may be repeated.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Compare runs on the same images and classes, with intervals of the differences. A RUN is "
    "a workspace (its newest evaluated phase), DIR:PHASE, or a results file.",
)
@click.option(
    "--annotations",
    metavar="FILE",
    type=_file,
    help="With --compare: the validation file.  [default: that of the workspaces]",
)
@click.option(
    "--train-counts",
    metavar="FILE",
    type=_file,
    help="With --compare: the training annotations, or a CSV with category_id and "
    "train_instance_count, for the bins.  [default: counts of the first workspace]",
)
@click.option(
    "--iou-type",
    type=Choice(["segm", "bbox"]),
    help="With --compare: masks or boxes.  [default: segm]",
)
@click.option(
    "--bins",
    metavar="BINS",
    help="With --compare: bins of training instances, such as '=1,<10,10-99,>=100'.  [default: "
    "eval.bins of the first workspace]",
)
@with_options(json_option)
def command(
    workspace: Workspace,
    runs: tuple[str, ...],
    output: Path | None,
    figures: tuple[FigureName, ...],
    others: tuple[Path, ...],
    compare: bool,
    annotations: Path | None,
    train_counts: Path | None,
    iou_type: IouType | None,
    bins: str | None,
    as_json: bool,
) -> None:
    """Write the report: AP tables, plots, pictures, one HTML page.

    Markdown, CSV, JSON, LaTeX, and one HTML page that needs nothing beside it. With --compare,
    two or more runs are compared instead: compare.md, compare.csv and compare.png.
    """
    if others and not figures:
        raise LstError("--with: needs --figure", "lst report --figure mwg --with DIR")
    require("matplotlib", "pycocotools", *(["sklearn"] if "attention" in figures else []))
    if compare:
        if figures:
            raise LstError("--figure does not go with --compare", "give one of them")
        _show_comparison(
            runs,
            output,
            annotations=annotations,
            train_counts=train_counts,
            iou_type=iou_type or "segm",
            bins=bins,
            as_json=as_json,
        )
        return
    _refuse_without_compare(
        {
            " ".join(runs): runs,
            "--annotations": annotations,
            "--train-counts": train_counts,
            "--iou-type": iou_type,
            "--bins": bins,
        }
    )
    if figures:
        _show_figures(workspace, output, figures, others, as_json)
        return
    from lst_cli.annotations.problems import count_of, incomplete
    from lst_cli.display.tables import binned_table, groups_table, with_joint
    from lst_cli.report.data import read_metrics
    from lst_cli.report.report import gather, make_report
    from lst_cli.report.write import report_json

    if as_json:
        print_json(report_json(gather(workspace, pictures=False)))
        return
    skipped: list[LstError] = []
    with meter() as tell:
        files = make_report(
            workspace,
            output,
            progress=lambda done, total: tell("pictures", done, total),
            skip=skipped.append,
        )
    metrics = read_metrics(gather(workspace, pictures=False))
    joint = workspace.split.joint
    print_table(with_joint(binned_table(metrics), joint))
    if not joint:
        print_table(groups_table(metrics))
    without = [
        str(phase)
        for phase in workspace.done_phases()
        if phase not in {record.phase for record in metrics}
    ]
    if without:
        note(f"not evaluated, hence not in it: phase {', '.join(without)}; lst eval --all-phases")
    note("wrote Markdown, CSV, JSON, LaTeX and plots beside the page:")
    say(str(files["html"]))
    if skipped:
        raise incomplete(
            count_of(len(skipped), "validation image is not", "validation images are not")
            + " shown",
            [error.message for error in skipped],
            skipped[0].hint,
        )


def _show_figures(
    workspace: Workspace,
    output: Path | None,
    names: tuple[FigureName, ...],
    others: tuple[Path, ...],
    as_json: bool,
) -> None:
    from lst_cli.figures.figures import draw_figures, write_figures

    drawn = draw_figures(workspace, names, others)
    if as_json:
        print_json({figure.name: figure.numbers for figure in drawn})
        return
    paths = write_figures(workspace, drawn, output)
    for figure, path in zip(drawn, paths, strict=True):
        print_table(figure.table)
        beside = f"{path.with_suffix('.pdf').name} for print and {path.with_suffix('.csv').name}"
        note(f"{figure.caption} Beside it are {beside} with its numbers:")
        say(str(path))


def _refuse_without_compare(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if value:
            raise LstError(f"{name}: needs --compare", "lst report --compare A B")


def _show_comparison(
    runs: tuple[str, ...],
    output: Path | None,
    *,
    annotations: Path | None,
    train_counts: Path | None,
    iou_type: IouType,
    bins: str | None,
    as_json: bool,
) -> None:
    from lst_cli.compare.compare import compare_runs, write_comparison
    from lst_cli.compare.tables import comparison_tables, difference_sentences
    from lst_cli.phases.bins import parse_bins

    with meter() as tell:
        comparison = compare_runs(
            runs,
            annotations=annotations,
            train_counts=train_counts,
            iou_type=iou_type,
            bins=parse_bins(bins) if bins else None,
            progress=tell,
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
