"""`lst report`."""

from __future__ import annotations

from pathlib import Path

import click

from lst_cli.cli.console import meter, note, print_json, print_table
from lst_cli.cli.options import examples, json_option, with_options, workspace_option
from lst_cli.reporting.figures import FIGURES, FigureName
from lst_cli.workspace.store import Workspace


@click.command(
    "report",
    epilog=examples("lst report", "lst report --json", "lst report --figure attention"),
)
@with_options(workspace_option)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write.  [default: report/ in the workspace]",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    type=click.Choice(FIGURES),
    help="Only this figure, for a paper, and its numbers as CSV; may be repeated. attention: the "
    "newest classes that the meta weight generator wrote rows for, by the base classes they "
    "attend to (t-SNE).",
)
@with_options(json_option)
def command(
    workspace: Workspace, output: Path | None, figures: tuple[FigureName, ...], as_json: bool
) -> None:
    """Write the report: AP tables, plots, pictures, one HTML page.

    Markdown, CSV, JSON, LaTeX, and one HTML page that needs nothing beside it.
    """
    if figures:
        _show_figures(workspace, output, figures, as_json)
        return
    from lst_cli.recipes.report import gather, make_report
    from lst_cli.reporting.data import read_metrics
    from lst_cli.reporting.tables import binned_table, groups_table
    from lst_cli.reporting.write import report_json

    if as_json:
        print_json(report_json(gather(workspace, pictures=False)))
        return
    with meter() as tell:
        files = make_report(
            workspace, output, progress=lambda done, total: tell("pictures", done, total)
        )
    metrics = read_metrics(gather(workspace, pictures=False))
    print_table(binned_table(metrics))
    print_table(groups_table(metrics))
    without = [
        str(phase)
        for phase in workspace.done_phases()
        if phase not in {record.phase for record in metrics}
    ]
    if without:
        note(f"not evaluated, hence not in it: phase {', '.join(without)}; lst eval --all-phases")
    note("wrote Markdown, CSV, JSON, LaTeX and plots beside the page:")
    click.echo(str(files["html"]))


def _show_figures(
    workspace: Workspace, output: Path | None, names: tuple[FigureName, ...], as_json: bool
) -> None:
    from lst_cli.recipes.figures import draw_figures, write_figures

    drawn = draw_figures(workspace, names)
    if as_json:
        print_json({figure.name: figure.numbers for figure in drawn})
        return
    paths = write_figures(workspace, drawn, output)
    for figure, path in zip(drawn, paths, strict=True):
        print_table(figure.table)
        note(f"{figure.caption} Its numbers are in {path.with_suffix('.csv').name} beside it:")
        click.echo(str(path))
