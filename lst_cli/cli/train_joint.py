"""`lst train-joint`."""

from __future__ import annotations

from pathlib import Path

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
from lst_cli.errors import LstError
from lst_cli.presets import JOINT_ROWS
from lst_cli.workspace.store import Workspace


@click.command(
    "train-joint",
    epilog=examples(
        "lst train-joint --row repeat-factor",
        "lst train-joint --row repeat-factor --budget-of ../lst-workspace",
        "lst train-joint --sampler class-aware --head softmax --mask fcn",
    ),
)
@with_options(workspace_option, weights_option)
@click.option(
    "--row",
    type=click.Choice(list(JOINT_ROWS)),
    help="A row of the paper's Table 1: short for --sampler, --head and --mask, which count more "
    "where they are given too.",
)
@click.option(
    "--sampler",
    type=click.Choice(["uniform", "class-aware", "repeat-factor"]),
    help="Images of an epoch: each once, classes equally often, or those of rare classes repeated.",
)
@click.option(
    "--head",
    type=click.Choice(["cosine", "softmax"]),
    help="Classifier: cosine as in LST, or Mask R-CNN's.",
)
@click.option(
    "--mask",
    type=click.Choice(["transfer", "fcn"]),
    help="Masks: made from classifier rows as in LST, or Mask R-CNN's.",
)
@click.option(
    "--image-passes",
    metavar="N",
    type=click.IntRange(min=1),
    help="Show so many images in all; the learning rate falls at the same parts of training.",
)
@click.option(
    "--budget-of",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Show as many images as all phases of that workspace did together.",
)
@with_options(device_option, set_option, restart_option, dry_run_option, json_option)
def command(
    workspace: Workspace,
    weights: str | None,
    row: str | None,
    sampler: str | None,
    head: str | None,
    mask: str | None,
    image_passes: int | None,
    budget_of: Path | None,
    device: str | None,
    overrides: tuple[str, ...],
    restart: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train all classes at once: the baseline of phases.

    The workspace is one of lst split --joint. Schedule and batches are those of the [base]
    settings. An interrupted run continues with the same command.
    """
    from lst_cli.cli.training import run_training, show_done, show_dry_run
    from lst_cli.recipes.budget import image_passes_of
    from lst_cli.recipes.plan import require_joint

    if image_passes is not None and budget_of is not None:
        raise LstError("--image-passes and --budget-of: two budgets", "leave one of them out")
    require_joint(workspace, joint=True)
    given = {"base.sampler": sampler, "model.head": head, "model.mask": mask}
    chosen = {**(JOINT_ROWS[row] if row else {}), **{k: v for k, v in given.items() if v}}
    named = {key.replace(".", "__"): value for key, value in chosen.items()}
    settings = workspace.settings(words(overrides, device=device, **named))
    if budget_of is not None:
        image_passes = image_passes_of(Workspace(budget_of))
    if dry_run:
        show_dry_run(workspace, 0, settings, as_json, image_passes=image_passes)
        return
    manifest = run_training(
        workspace, 0, settings, weights=weights, restart=restart, image_passes=image_passes
    )
    show_done(workspace, [manifest], as_json)
