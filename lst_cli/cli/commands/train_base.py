"""`lst train-base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lst_cli.cli.options import (
    HowToTrain,
    examples,
    training_options,
    weights_option,
    with_options,
    workspace_option,
)

if TYPE_CHECKING:
    from lst_cli.workspace.store import Workspace


@click.command(
    "train-base",
    epilog=examples("lst train-base --weights model_final_f10217.pkl", "lst train-base --dry-run"),
)
@with_options(workspace_option, weights_option, training_options)
def command(
    workspace: Workspace, weights: str | None, overrides: tuple[str, ...], how: HowToTrain
) -> None:
    """Train the base phase: the most frequent classes.

    The same command continues an interrupted run.
    """
    from lst_cli.cli.training import require_first_phase, run_training

    require_first_phase(workspace, weights, joint=False)
    run_training(workspace, workspace.settings(overrides), how, weights=weights)
