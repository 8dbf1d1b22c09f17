"""`lst step`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lst_cli.cli.options import (
    Choice,
    device_option,
    dry_run_option,
    examples,
    json_option,
    restart_option,
    set_option,
    with_options,
    words,
    workspace_option,
)
from lst_cli.errors import LstError
from lst_cli.settings.nested import toml_value

if TYPE_CHECKING:
    from lst_cli.workspace.store import Workspace


@click.command("step", epilog=examples("lst step", "lst step --all", "lst step --all --mwg"))
@with_options(workspace_option)
@click.option("--all", "everything", is_flag=True, help="All phases that are left.")
@click.option(
    "--replay",
    type=Choice(["balanced", "none", "all"]),
    help="Replay of old classes: balanced by instances (paper), none, or all their data.",
)
@click.option(
    "--no-distill",
    is_flag=True,
    help="Learn without distillation; short for --set step.distill_weight=0.",
)
@click.option(
    "--freeze",
    metavar="NAME",
    multiple=True,
    help="Do not train parameters whose names begin so, such as backbone.bottom_up or backbone; "
    "may be repeated. Given, it replaces step.freeze; --set step.freeze=[] freezes nothing.",
)
@click.option(
    "--new-rows",
    type=Choice(["random", "mean-feature"]),
    help="First classifier rows of new classes.",
)
@click.option(
    "--mwg/--no-mwg",
    default=None,
    help="Let the meta weight generator write the rows of new classes.",
)
@with_options(device_option, set_option, restart_option, dry_run_option, json_option)
def command(
    workspace: Workspace,
    everything: bool,
    replay: str | None,
    no_distill: bool,
    freeze: tuple[str, ...],
    new_rows: str | None,
    mwg: bool | None,
    device: str | None,
    overrides: tuple[str, ...],
    restart: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the next phase: the next, rarer group of classes.

    An interrupted run continues with the same command.
    """
    from lst_cli.cli.training import run_training, show_done, show_dry_run
    from lst_cli.report.status import next_command

    chosen = words(
        overrides,
        device=device,
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
        raise LstError("the base phase comes first", "lst train-base")
    if phase is None:
        raise LstError(f"all {workspace.last_phase + 1} phases are done", next_command(workspace))
    if dry_run:
        show_dry_run(workspace, phase, settings, as_json)
        return
    manifests = []
    while phase is not None:
        manifests.append(run_training(workspace, phase, settings, weights=None, restart=restart))
        phase = workspace.next_phase() if everything else None
        restart = False
    show_done(workspace, manifests, as_json)
