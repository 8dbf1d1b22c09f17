"""`lst step`."""

from __future__ import annotations

import click

from lst_cli.cli import options
from lst_cli.errors import LstError
from lst_cli.settings.nested import toml_value


@options.command("step", "lst step", "lst step --all", "lst step --all --mwg")
@options.workspace_option
@options.flag("--all", "Train all remaining phases.", "to_last")
@options.choice(
    "--replay", ["balanced", "none", "all"], "Replay of old classes: balanced (paper), none, all."
)
@options.flag("--no-distill", "Train without distillation; short for --set step.distill_weight=0.")
@click.option(
    "--freeze",
    metavar="NAME",
    multiple=True,
    help="Freeze the parameters whose names start with NAME, such as backbone.bottom_up or "
    "backbone; may be repeated. Replaces step.freeze; --set step.freeze=[] freezes nothing.",
)
@options.choice("--new-rows", ["random", "mean-feature"], "Initial classifier rows of new classes.")
@click.option(
    "--mwg/--no-mwg",
    default=None,
    help="Compute the rows of new classes with the meta weight generator.",
)
@options.training_options
def command(
    workspace: options.Workspace,
    to_last: bool,
    replay: str | None,
    no_distill: bool,
    freeze: tuple[str, ...],
    new_rows: str | None,
    mwg: bool | None,
    overrides: tuple[str, ...],
    how: options.HowToTrain,
) -> None:
    """Train the next phase: the next, rarer group of classes.

    The same command continues an interrupted run.
    """
    from lst_cli.cli.training import run_training
    from lst_cli.report.status import next_command

    chosen = options.words(
        overrides,
        step__replay=replay,
        step__distill_weight="0" if no_distill else None,
        step__freeze=toml_value(freeze) if freeze else None,
        step__new_rows=new_rows,
        step__mwg=None if mwg is None else str(mwg).lower(),
    )
    settings = workspace.settings(chosen)
    phase = workspace.next_phase()
    if workspace.split.joint and workspace.last_phase == 0:
        raise LstError(
            "joint training learns all classes at once: no phase is left for lst step",
            next_command(workspace),
        )
    if phase == 0:
        raise LstError("the base phase must be trained first", "lst train-base")
    if phase is None:
        raise LstError(f"all {workspace.last_phase + 1} phases are done", next_command(workspace))
    run_training(workspace, settings, how, phase=phase, to_last=to_last)
