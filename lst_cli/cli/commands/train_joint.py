"""`lst train-joint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lst_cli.cli.console import warn
from lst_cli.cli.options import (
    Choice,
    LocalPath,
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
from lst_cli.settings.presets import JOINT_ROWS

if TYPE_CHECKING:
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
    type=Choice(list(JOINT_ROWS)),
    help="A row of the paper's Table 1: short for --sampler, --head and --mask, which count more "
    "where they are given too.",
)
@click.option(
    "--sampler",
    type=Choice(["uniform", "class-aware", "repeat-factor"]),
    help="Images of an epoch: each once, classes equally often, or those of rare classes repeated.",
)
@click.option(
    "--head",
    type=Choice(["cosine", "softmax"]),
    help="Classifier: cosine as in LST, or Mask R-CNN's.",
)
@click.option(
    "--mask",
    type=Choice(["transfer", "fcn"]),
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
    type=LocalPath(),
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
    from lst_cli.compare.run_settings import network_differences
    from lst_cli.train.budget import budget_of as passes_of
    from lst_cli.train.plan import require_joint
    from lst_cli.weights.kinds import require_weights
    from lst_cli.workspace.store import Workspace

    if image_passes is not None and budget_of is not None:
        raise LstError("--image-passes and --budget-of: two budgets", "leave one of them out")
    require_joint(workspace, joint=True)
    if workspace.manifest(0) is None:
        require_weights(weights)
    given = {"base.sampler": sampler, "model.head": head, "model.mask": mask}
    chosen = {**(JOINT_ROWS[row] if row else {}), **{k: v for k, v in given.items() if v}}
    named = {key.replace(".", "__"): value for key, value in chosen.items()}
    settings = workspace.settings(words(overrides, device=device, **named))
    if budget_of is not None:
        other = Workspace(budget_of)
        image_passes = passes_of(other, workspace)
        if differing := network_differences(settings, other.trained_settings(0)):
            shown = "; ".join(map(str, differing[:3]))
            warn(f"{budget_of} was trained with other data or network settings: {shown}")
    if dry_run:
        show_dry_run(workspace, 0, settings, as_json, image_passes=image_passes)
        return
    manifest = run_training(
        workspace, 0, settings, weights=weights, restart=restart, image_passes=image_passes
    )
    show_done(workspace, [manifest], as_json)
