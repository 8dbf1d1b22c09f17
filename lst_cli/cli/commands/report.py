"""`lst report` and `lst status`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lst_cli.cli import options
from lst_cli.cli.console import complete, meter, note, print_json, print_table, say, show_next
from lst_cli.errors import LstError
from lst_cli.libraries import require


@options.command("report", "lst report", "lst report -o written")
@options.workspace_option
@options.output_option("report/ in the workspace")
@options.json_option
def report(workspace: options.Workspace, output: Path | None, as_json: bool) -> None:
    """Write the report: AP tables, plots, pictures, one HTML page.

    Writes Markdown, CSV, JSON, LaTeX, and one HTML page that needs no other files.
    """
    from lst_cli.annotations.problems import count_of, incomplete
    from lst_cli.display.tables import binned_table, groups_table, with_joint
    from lst_cli.report.report import gather, make_report
    from lst_cli.report.write import report_json

    require("matplotlib", "pycocotools")
    if as_json:
        print_json(report_json(gather(workspace, pictures=False)))
        return
    skipped: list[LstError] = []
    with meter() as tell:
        data, files = make_report(workspace, output, progress=tell, skip=skipped.append)
    print_table(with_joint(binned_table(data.metrics), data.joint))
    if not data.joint:
        print_table(groups_table(data.metrics))
    evaluated = {metrics.phase for metrics in data.metrics}
    without = [str(phase) for phase in workspace.done_phases() if phase not in evaluated]
    if without:
        note(
            f"not evaluated, so not in the report: phase {', '.join(without)}; "
            "lst eval --all-phases"
        )
    note("wrote Markdown, CSV, JSON, LaTeX and plots beside the page:")
    say(str(files["html"]))
    if skipped:
        count = count_of(len(skipped), "validation image is not", "validation images are not")
        messages = [error.message for error in skipped]
        raise incomplete(f"{count} shown", messages, skipped[0].hint)


@options.command("status", "lst status")
@options.workspace_option
@options.json_option
def status(workspace: options.Workspace, as_json: bool) -> None:
    """Show what is done, what is next, sizes, and AP so far."""
    from lst_cli.report.status import read_status, status_table

    status = read_status(workspace)
    if not as_json:
        print_table(status_table(status))
    following = status.next_command
    if following is not None:
        workspace.settings()  # the command that is advised would refuse a wrong lst.toml
    if as_json:
        print_json({**asdict(status), "next_command": following and complete(following)})
    else:
        show_next(following)
