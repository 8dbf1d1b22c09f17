"""`lst train-base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lst_cli.cli.options import (
    device_option,
    dry_run_option,
    examples,
    json_option,
    restart_option,
    set_option,
    weights_option,
    with_options,
    words,
    workspace_option,
)

if TYPE_CHECKING:
    from lst_cli.workspace.store import Workspace


@click.command(
    "train-base",
    epilog=examples("lst train-base --weights model_final_f10217.pkl", "lst train-base --dry-run"),
)
@with_options(workspace_option, weights_option)
@with_options(device_option, set_option, restart_option, dry_run_option, json_option)
def command(
    workspace: Workspace,
    weights: str | None,
    device: str | None,
    overrides: tuple[str, ...],
    restart: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the base phase: the most frequent classes.

    An interrupted run continues with the same command.
    """
    from lst_cli.cli.training import run_training, show_done, show_dry_run
    from lst_cli.train.plan import require_joint
    from lst_cli.weights.kinds import require_weights

    require_joint(workspace, joint=False)
    if workspace.manifest(0) is None:
        require_weights(weights)
    settings = workspace.settings(words(overrides, device=device))
    if dry_run:
        show_dry_run(workspace, 0, settings, as_json)
        return
    manifest = run_training(workspace, 0, settings, weights=weights, restart=restart)
    show_done(workspace, [manifest], as_json)
