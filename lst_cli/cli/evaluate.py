"""`lst eval`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from lst_cli.config import Settings


@click.command(
    "eval", epilog=examples("lst eval", "lst eval --phase 0 --json", "lst eval --instant")
)
@with_options(workspace_option)
@click.option("--phase", type=int, help="Phase to evaluate.  [default: the newest finished one]")
@click.option("--all-phases", is_flag=True, help="Every finished phase.")
@click.option(
    "--instant",
    is_flag=True,
    help="The phase's classes before any training: random rows, mean features, generated rows.",
)
@with_options(device_option, set_option, json_option)
def command(
    workspace: Workspace,
    phase: int | None,
    all_phases: bool,
    instant: bool,
    device: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compute LVIS AP of a phase's model on the validation images.

    Prints mask and box AP by number of training instances, over the classes seen so far, and
    writes metrics.json and detections.json beside the phase. With --instant, its classes are
    added to the model of the phase before without training, and instant.json is written.
    """
    from lst_cli.recipes.evaluate import evaluate_phase
    from lst_cli.recipes.status import next_command
    from lst_cli.reporting.tables import binned_table, groups_table

    if all_phases and phase is not None:
        raise LstError("--phase and --all-phases exclude each other", "give one of them")
    settings = workspace.settings(words(overrides, device=device))
    newest = workspace.newest_phase()
    phases = list(range(newest + 1)) if all_phases else [newest if phase is None else phase]
    if instant:
        later = [one for one in phases if one > 0] if all_phases else phases
        _show_instant(workspace, later, settings, as_json)
        return
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


def _show_instant(
    workspace: Workspace, phases: Sequence[int], settings: Settings, as_json: bool
) -> None:
    from lst_cli.evaluation.metrics import Metrics
    from lst_cli.recipes.evaluate import evaluate_instant, load_metrics
    from lst_cli.reporting.instant_table import instant_table

    with meter() as tell:
        instant = [evaluate_instant(workspace, one, settings, progress=tell) for one in phases]
    if as_json:
        print_json([one.model_dump(mode="json") for one in instant])
        return
    # A phase that lst extend added without training has no end that differs from its beginning.
    trained_phases = [one for one in phases if workspace.require_done(one).iterations]
    ends = [load_metrics(workspace, one) for one in trained_phases]
    trained = [Metrics.model_validate(end) for end in ends if end is not None]
    print_table(instant_table(instant, trained))
    for one in phases:
        note(f"wrote {workspace.phase(one).instant}")
