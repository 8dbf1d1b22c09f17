"""`lst train-base`, `lst train-joint` and `lst step`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lst_cli.cli import options
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require
from lst_cli.settings.nested import toml_value
from lst_cli.settings.presets import JOINT_ROWS


@options.command(
    "train-base", "lst train-base --weights model_final_f10217.pkl", "lst train-base --dry-run"
)
@options.workspace_option
@options.weights_option
@options.training_options
def train_base(workspace: options.Workspace, overrides: tuple[str, ...], **how: Any) -> None:
    """Train the base phase: the most frequent classes.

    The same command continues an interrupted run.
    """
    from lst_cli.cli.training import run_training
    from lst_cli.train.plan import require_joint

    require_joint(workspace, joint=False)
    run_training(workspace, workspace.settings(overrides), **how)


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
    ["uniform", "class-aware", "repeat-factor", "few"],
    "Images of an epoch: each once, all classes equally often, images of rare classes repeated, or "
    "few that show some objects of each class.",
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
def train_joint(
    workspace: options.Workspace,
    row: str | None,
    sampler: str | None,
    head: str | None,
    mask: str | None,
    budget_of: Path | None,
    overrides: tuple[str, ...],
    **how: Any,
) -> None:
    """Train all classes at once: the baseline for training in phases.

    The workspace is made by lst split --joint. Schedule and batch size are those of the [base]
    settings. The same command continues an interrupted run.
    """
    from lst_cli.cli.console import warn
    from lst_cli.cli.training import run_training
    from lst_cli.compare.run_settings import network_differences
    from lst_cli.train.plan import budget_of as passes_of
    from lst_cli.train.plan import require_joint
    from lst_cli.workspace.store import Workspace

    if how["image_passes"] is not None and budget_of is not None:
        raise LstError(
            "--image-passes and --budget-of both set the budget", "leave one of them out"
        )
    require_joint(workspace, joint=True)
    of_row = [f"{key}={value}" for key, value in JOINT_ROWS[row].items()] if row else []
    settings = workspace.settings(
        options.words(
            (*overrides, *of_row), base__sampler=sampler, model__head=head, model__mask=mask
        )
    )
    if budget_of is not None:
        other = Workspace(budget_of)
        how["image_passes"] = passes_of(other, workspace)
        if differing := network_differences(settings, other.trained_settings(0)):
            shown = "; ".join(map(str, differing[:3]))
            warn(f"{budget_of} was trained with other data or network settings: {shown}")
    run_training(workspace, settings, **how)


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
def step(
    workspace: options.Workspace,
    replay: str | None,
    no_distill: bool,
    freeze: tuple[str, ...],
    new_rows: str | None,
    mwg: bool | None,
    overrides: tuple[str, ...],
    **how: Any,
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
    if workspace.joint:
        raise LstError(
            "joint training learns all classes at once: no phase is left for lst step",
            next_command(workspace),
        )
    if phase == 0:
        raise LstError("the base phase must be trained first", "lst train-base")
    if phase is None:
        raise LstError("all phases are done: lst extend adds classes", next_command(workspace))
    run_training(workspace, settings, phase, **how)


@options.command("bank", "lst bank", "lst bank --rebuild")
@options.workspace_option
@options.flag("--rebuild", "Cut the objects out of the training images again.")
@options.set_option
@options.json_option
def bank(
    workspace: options.Workspace, rebuild: bool, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Show the bank of cut-out objects, or make it again.

    Every finished phase leaves a few objects of each of its classes, with their masks. lst extend
    --finetune pastes them into the new images where the old images are gone. The number of objects
    is the setting extend.bank_objects.
    """
    from lst_cli.cli.console import meter, note, print_json, print_rows
    from lst_cli.train.bank import REBUILD, read_banks, rebuild_banks

    workspace.newest_phase()
    if rebuild:
        require(*NETWORK)
        with meter() as tell:
            banks = rebuild_banks(workspace, workspace.settings(overrides), tell)
    elif overrides:
        raise LstError("--set: nothing is made", "add --rebuild")
    else:
        banks = read_banks(workspace)
    if as_json:
        print_json([asdict(one) for one in banks])
        return
    names = {one.category_id: one.name for one in workspace.split.classes}
    print_rows(
        "bank of cut-out objects",
        ["phase", "classes", "objects", "objects a class", "size"],
        [
            [
                str(one.phase),
                f"{len(one.objects):,}",
                f"{sum(one.objects.values()):,}",
                f"{min(one.objects.values())} to {max(one.objects.values())}",
                "none" if one.size is None else f"{one.size / 1e6:,.1f} MB",
            ]
            for one in banks
        ],
    )
    lacking = [names[number] for one in banks for number, count in one.objects.items() if not count]
    if any(one.size is None for one in banks):
        note(f"{REBUILD} makes the banks that are missing")
    elif lacking:
        note("no object large enough: " + ", ".join(lacking[:10]))
