"""`lst split`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli.annotations.problems import count_of
from lst_cli.cli import options
from lst_cli.cli.console import note, print_json, print_rows, print_table, show_next, warn
from lst_cli.errors import LstError
from lst_cli.images.finder import HERE
from lst_cli.libraries import require
from lst_cli.phases import BASE, PHASES
from lst_cli.settings.presets import PRESETS

if TYPE_CHECKING:
    from lst_cli.workspace.manifest import Split


@options.command(
    "split",
    "lst split --train lvis_v1_train.json --val lvis_v1_val.json --images coco",
    "lst split --train train.json --val val.json --images DIR --b 20 --phases 3",
    "lst split --train train.json --val val.json --images . --b 20 --preset lite",
    "lst split --joint --train train.json --val val.json --images DIR -w joint",
)
@options.workspace_option
@options.train_option
@options.file_option("--val", "Validation annotations of the same release.", required=True)
@options.image_dirs_option
@click.option(
    "--b",
    "--base",
    "base",
    default=BASE,
    show_default=True,
    help="Number of classes in the base phase.",
)
@click.option(
    "--phases", default=PHASES, show_default=True, help="Number of phases after the base phase."
)
@options.flag(
    "--joint", "Put all classes into one phase, for lst train-joint; replaces --b and --phases."
)
@options.choice("--preset", list(PRESETS), "Preset for a new lst.toml.")
@options.skip_unusable_option
@options.flag("--force", "Move phases that were trained on another split to replaced/.")
@options.set_option
@options.json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    workspace: options.Workspace,
    image_dirs: tuple[Path, ...],
    base: int,
    joint: bool,
    preset: str | None,
    force: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Sort the classes by frequency and divide them into phases.

    Reads the annotation files only, and writes the workspace: split.json, two plots, and
    lst.toml if there is none (with the values of --preset and --set).
    """
    from lst_cli.report.status import next_command
    from lst_cli.split.init import write_settings
    from lst_cli.split.split import SplitRequest, split_dataset
    from lst_cli.split.tables import balance_table

    if joint:
        _refuse_phases(ctx)
    require("matplotlib")
    chosen = options.words(overrides, preset=preset)
    settings = workspace.settings(chosen)
    request = SplitRequest(image_dirs=image_dirs or HERE, base=None if joint else base, **given)
    split, balances = split_dataset(workspace, request, settings, force=force, warn=warn)
    if not workspace.layout.settings.exists():
        write_settings(workspace.layout.settings, chosen)
    elif settings != workspace.settings():
        only = "--preset and --set were used for this command only"
        warn(f"{workspace.layout.settings} stays as it is: {only}")
    if as_json:
        print_json(_summary(split))
        return
    print_rows(
        f"{len(split.classes)} classes, {split.train.instances:,} instances, "
        f"{split.train.images:,} images ({split.train.layout})",
        ["phase", "classes", "instances a class", "mean", "new samples", "replay", "iterations"],
        _phase_rows(split),
    )
    if balances:
        print_table(balance_table(balances))
    _print_remarks(split)
    plots = "two plots" if balances else "a plot"
    note(f"wrote {workspace.layout.split} and {plots} beside it")
    show_next(next_command(workspace))


def _refuse_phases(ctx: click.Context) -> None:
    for name, option in (("base", "--b"), ("phases", "--phases")):
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise LstError(
                f"--joint puts all classes into one phase; {option} divides them into several",
                f"leave --joint or {option} out",
            )


def _summary(split: Split) -> dict[str, Any]:
    """What `lst split --json` prints."""
    return {
        "class_order": split.class_order,
        "groups": [list(group) for group in split.groups],
        "phases": [plan.model_dump() for plan in split.phases],
        "excluded": [record.category_id for record in split.left_out],
        "left_out_instances": split.left_out_instances,
        "skipped": {"train": split.train.skipped, "val": split.val.skipped},
        "federated": split.federated,
    }


def _phase_rows(split: Split) -> list[list[str]]:
    rows = []
    for phase in range(len(split.groups)):
        counts = [split.classes[label].instances for label in split.labels_of(phase)]
        row = [
            ("joint" if split.joint else "base") if phase == 0 else str(phase),
            f"{len(counts):,}",
            f"{max(counts):,} to {min(counts):,}",
            f"{sum(counts) / len(counts):,.1f}",
        ]
        if phase == 0:
            rows.append([*row, "", "", ""])
        else:
            plan = split.phases[phase - 1]
            planned = (plan.new_entries, plan.replay_entries, plan.iterations)
            rows.append([*row, *(f"{count:,}" for count in planned)])
    return rows


def _print_remarks(split: Split) -> None:
    if left_out := split.left_out:
        names = ", ".join(record.name for record in left_out[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        note(f"left out, no training instance: {names}{more}")
    for file in (split.train, split.val):
        if file.skipped:
            from lst_cli.check.masks import tell_skipped  # needs Pillow

            note(f"{Path(file.path).name}: {tell_skipped(file.skipped)}")
    if crowds := split.left_out_instances - sum(split.train.skipped.values()):
        count = count_of(crowds, "annotation", "annotations")
        note(f"{count} left out: crowds, which stand for several objects, and boxes of no area")
    if not split.federated:
        note("no federated labels: every image counts as exhaustively labelled")
