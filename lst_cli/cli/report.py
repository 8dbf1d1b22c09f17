"""`lst report`."""

from __future__ import annotations

from pathlib import Path

import click

from lst_cli.cli.console import meter, note, print_json, print_table
from lst_cli.cli.options import json_option, with_options, workspace_option
from lst_cli.workspace.store import Workspace


@click.command("report")
@with_options(workspace_option)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write.  [default: report/ in the workspace]",
)
@with_options(json_option)
def command(workspace: Workspace, output: Path | None, as_json: bool) -> None:
    r"""Write the report: binned AP tables, plots, images with predictions.

    Markdown, CSV, JSON, LaTeX, and one HTML page that needs nothing beside it.

    \b
    lst report
    lst report --json
    """
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
    note("wrote Markdown, CSV, JSON, LaTeX and plots beside the page:")
    click.echo(str(files["html"]))
