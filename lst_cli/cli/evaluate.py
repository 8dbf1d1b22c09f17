"""`lst eval`."""

from __future__ import annotations

import click

from lst_cli.cli.console import meter, note, print_json, print_table
from lst_cli.cli.options import (
    device_option,
    examples,
    json_option,
    set_option,
    with_options,
    words,
    workspace_option,
)
from lst_cli.errors import LstError
from lst_cli.workspace.store import Workspace


@click.command("eval", epilog=examples("lst eval", "lst eval --phase 0 --json"))
@with_options(workspace_option)
@click.option("--phase", type=int, help="Phase to evaluate.  [default: the newest finished one]")
@click.option("--all-phases", is_flag=True, help="Every finished phase.")
@with_options(device_option, set_option, json_option)
def command(
    workspace: Workspace,
    phase: int | None,
    all_phases: bool,
    device: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compute LVIS AP of a phase's model on the validation images.

    Prints mask and box AP by number of training instances, over the classes seen so far, and
    writes metrics.json and detections.json beside the phase.
    """
    from lst_cli.recipes.evaluate import evaluate_phase
    from lst_cli.recipes.status import next_command
    from lst_cli.reporting.tables import binned_table, groups_table

    if all_phases and phase is not None:
        raise LstError("--phase and --all-phases exclude each other", "give one of them")
    settings = workspace.settings(words(overrides, device=device))
    newest = workspace.newest_phase()
    phases = list(range(newest + 1)) if all_phases else [newest if phase is None else phase]
    with meter() as tell:
        metrics = [evaluate_phase(workspace, one, settings, progress=tell) for one in phases]
    if as_json:
        records = [one.model_dump(mode="json") for one in metrics]
        print_json(records if all_phases else records[0])
        return
    print_table(binned_table(metrics))
    print_table(groups_table(metrics))
    where = workspace.layout.phases if all_phases else workspace.phase(phases[0]).root
    note(f"wrote metrics.json and detections.json in {where}")
    click.echo("next: " + next_command(workspace))
