"""`lst figure`."""

from __future__ import annotations

from pathlib import Path

import click

from lst_cli.cli import options
from lst_cli.cli.console import note, print_json, print_table, say
from lst_cli.figures import FIGURES, FigureName
from lst_cli.libraries import require


@options.command(
    "figure",
    "lst figure balance attention",
    "lst figure tail -w lst --with joint",
    "lst figure mwg -w with-generator --with without-generator",
)
@click.argument("figures", metavar="NAME...", nargs=-1, required=True, type=options.Choice(FIGURES))
@options.workspace_option
@options.output_option("report/ in the workspace")
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="DIR",
    type=options.LocalPath(),
    help="A further workspace, for distill, replay, mwg or tail; may be repeated.",
)
@options.json_option
def command(
    figures: tuple[FigureName, ...],
    workspace: options.Workspace,
    output: Path | None,
    others: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Draw single figures for a paper.

    Writes each figure as PNG and PDF to figures/ in the report, and its numbers as CSV. NAME is
    one of:

    \b
      balance    instances of each class with balanced replay
      distill    runs with and without distillation, phase by phase
      replay     runs with different replay, phase by phase
      mwg        runs with and without the meta weight generator, phase by phase
      tail       the rarest classes: AP and pictures
      attention  new classes of the newest phase with generated rows, arranged by
                 the base classes that they attend to (t-SNE)
    """
    from lst_cli.figures.figures import draw_figures, write_figures

    require("matplotlib", "pycocotools", *(["sklearn"] if "attention" in figures else []))
    drawn = draw_figures(workspace, figures, others)
    if as_json:
        print_json({figure.name: figure.numbers for figure in drawn})
        return
    paths = write_figures(workspace, drawn, output)
    for figure, path in zip(drawn, paths, strict=True):
        print_table(figure.table)
        beside = f"{path.with_suffix('.pdf').name} for print and {path.with_suffix('.csv').name}"
        note(f"{figure.caption} Beside it are {beside} with its numbers:")
        say(str(path))
