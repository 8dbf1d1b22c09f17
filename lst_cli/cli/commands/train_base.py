"""`lst train-base`."""

from __future__ import annotations

from lst_cli.cli import options


@options.command(
    "train-base", "lst train-base --weights model_final_f10217.pkl", "lst train-base --dry-run"
)
@options.workspace_option
@options.weights_option
@options.training_options
def command(
    workspace: options.Workspace, overrides: tuple[str, ...], how: options.HowToTrain
) -> None:
    """Train the base phase: the most frequent classes.

    The same command continues an interrupted run.
    """
    from lst_cli.cli.training import require_first_phase, run_training

    require_first_phase(workspace, how, joint=False)
    run_training(workspace, workspace.settings(overrides), how)
