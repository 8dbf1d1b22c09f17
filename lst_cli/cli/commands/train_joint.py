"""`lst train-joint`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from lst_cli.cli import options
from lst_cli.cli.console import warn
from lst_cli.errors import LstError
from lst_cli.settings.presets import JOINT_ROWS


@options.command(
    "train-joint",
    "lst train-joint --row repeat-factor",
    "lst train-joint --row repeat-factor --budget-of ../lst-workspace",
    "lst train-joint --sampler class-aware --head softmax --mask fcn",
)
@options.workspace_option
@options.weights_option
@options.choice(
    "--row",
    list(JOINT_ROWS),
    "A row of the paper's Table 1: sets --sampler, --head and --mask, unless they are given.",
)
@options.choice(
    "--sampler",
    ["uniform", "class-aware", "repeat-factor"],
    "Images of an epoch: each once, all classes equally often, or images of rare classes repeated.",
)
@options.choice(
    "--head", ["cosine", "softmax"], "Classifier: cosine (LST) or softmax (Mask R-CNN)."
)
@options.choice("--mask", ["transfer", "fcn"], "Masks: weight transfer (LST) or FCN (Mask R-CNN).")
@click.option(
    "--image-passes",
    metavar="N",
    type=click.IntRange(min=1),
    help="Train on N images in total, repeats counted; epochs are scaled to this.",
)
@click.option(
    "--budget-of",
    metavar="DIR",
    type=options.LocalPath(),
    help="Train on as many images as all phases of that workspace together.",
)
@options.training_options
def command(
    workspace: options.Workspace,
    row: str | None,
    budget_of: Path | None,
    overrides: tuple[str, ...],
    how: options.HowToTrain,
    **parts: str | None,
) -> None:
    """Train all classes at once: the baseline for training in phases.

    The workspace is made by lst split --joint. Schedule and batch size are those of the [base]
    settings. The same command continues an interrupted run.
    """
    from lst_cli.cli.training import require_first_phase, run_training
    from lst_cli.compare.run_settings import network_differences
    from lst_cli.train.plan import budget_of as passes_of
    from lst_cli.workspace.store import Workspace

    if how.image_passes is not None and budget_of is not None:
        raise LstError(
            "--image-passes and --budget-of both set the budget", "leave one of them out"
        )
    require_first_phase(workspace, how, joint=True)
    keys = {"sampler": "base.sampler", "head": "model.head", "mask": "model.mask"}
    chosen = dict(JOINT_ROWS[row]) if row else {}
    chosen |= {keys[name]: value for name, value in parts.items() if value}
    settings = workspace.settings((*overrides, *(f"{key}={chosen[key]}" for key in chosen)))
    if budget_of is not None:
        other = Workspace(budget_of)
        how = replace(how, image_passes=passes_of(other, workspace))
        if differing := network_differences(settings, other.trained_settings(0)):
            shown = "; ".join(map(str, differing[:3]))
            warn(f"{budget_of} was trained with other data or network settings: {shown}")
    run_training(workspace, settings, how)
