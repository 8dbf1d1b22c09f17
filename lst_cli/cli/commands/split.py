"""`lst init`, `lst split` and `lst hold-out`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lst_cli.annotations.problems import count_of
from lst_cli.cli import options
from lst_cli.cli.console import (
    meter,
    note,
    print_json,
    print_rows,
    print_table,
    say,
    show_next,
    warn,
)
from lst_cli.errors import LstError
from lst_cli.images.finder import HERE
from lst_cli.libraries import require
from lst_cli.phases import BASE, HELD_OUT_SHARE, PHASES, RARE_BELOW
from lst_cli.settings.presets import PRESETS
from lst_cli.text import first_few

if TYPE_CHECKING:
    from lst_cli.workspace.manifest import Split


@options.command("init", "lst init --preset lite", "lst init --print | less")
@options.workspace_option
@options.set_option
@options.choice("--preset", list(PRESETS), "Preset to start from.")
@options.flag("--print", "Print the file instead of writing it.", "to_stdout")
@options.flag("--force", "Replace an existing lst.toml.")
def init(
    workspace: options.Workspace,
    overrides: tuple[str, ...],
    preset: str | None,
    to_stdout: bool,
    force: bool,
) -> None:
    """Write lst.toml with every setting, its default and a comment."""
    from lst_cli.split.init import render_settings, write_settings

    chosen = options.words(overrides, preset=preset)
    if to_stdout:
        click.echo(render_settings(chosen))
        return
    write_settings(workspace.layout.settings, chosen, force=force)
    note(f"wrote {workspace.layout.settings}")


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
def split_files(
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

    for name, option in (("base", "--b"), ("phases", "--phases")):
        if joint and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise LstError(
                f"--joint puts all classes into one phase; {option} divides them into several",
                f"leave --joint or {option} out",
            )
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
        print_json(
            {
                "class_order": split.class_order,
                "groups": split.groups,
                "phases": [plan.model_dump() for plan in split.phases],
                "excluded": [record.category_id for record in split.left_out],
                "left_out_instances": split.left_out_instances,
                "skipped": {"train": split.train.skipped, "val": split.val.skipped},
                "federated": split.federated,
            }
        )
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


def _phase_rows(split: Split) -> list[list[str]]:
    plans = [None, *split.phases]
    rows = []
    for phase, plan in enumerate(plans):
        counts = [record.instances for record in split.classes_of(phase)]
        planned = (plan.new_entries, plan.replay_entries, plan.iterations) if plan else ()
        base = "joint" if split.joint else "base"
        rows.append(
            [
                str(phase) if phase else base,
                f"{len(counts):,}",
                f"{max(counts):,} to {min(counts):,}",
                f"{sum(counts) / len(counts):,.1f}",
                *(f"{count:,}" for count in planned),
            ]
        )
    rows[0] += [""] * 3
    return rows


def _print_remarks(split: Split) -> None:
    from lst_cli.check.masks import tell_skipped  # needs Pillow

    if left_out := split.left_out:
        names = first_few([record.name for record in left_out], 5)
        note(f"left out, no training instance: {names}")
    for file in (split.train, split.val):
        if file.skipped:
            note(f"{Path(file.path).name}: {tell_skipped(file.skipped)}")
    if crowds := split.left_out_instances - sum(split.train.skipped.values()):
        count = count_of(crowds, "annotation", "annotations")
        note(f"{count} left out: crowds, which stand for several objects, and boxes of no area")
    if not split.federated:
        note("no federated labels: every image counts as exhaustively labelled")


@options.command(
    "hold-out",
    "lst hold-out --train train.json --out tune",
    "lst hold-out --train train.json --out tune --rare 10 --share 0.1 --seed 1",
)
@options.train_option
@click.option(
    "--out",
    "directory",
    required=True,
    metavar="DIR",
    type=options.LocalPath(),
    help="Directory for train.json and val.json.",
)
@options.number_option(
    "--rare", click.IntRange(min=2), RARE_BELOW, "A class in fewer images is rare."
)
@options.number_option(
    "--share",
    click.FloatRange(0, 1),
    HELD_OUT_SHARE,
    "Share of the images to set aside; more if the classes that become rare need it.",
)
@options.number_option("--seed", click.IntRange(min=0), 0, "Random seed.")
@options.skip_unusable_option
@options.flag("--force", "Replace train.json and val.json of an earlier run.")
@options.json_option
def hold_out(
    directory: Path, rare: int, share: float, seed: int, as_json: bool, **given: Any
) -> None:
    """Set aside a part of the training set for choosing settings.

    If settings are chosen on the validation set, AP on it is too high. Choose them on the part
    that this command sets aside. In this part rare classes can be evaluated: of the classes in N
    to 4 N images (N is --rare), every second one becomes rare in training, and its other images
    go to the part. The image files are not moved.
    """
    from lst_cli.check.masks import tell_skipped  # needs Pillow
    from lst_cli.phases.classes import fitting_split
    from lst_cli.phases.hold_out import HoldOutRule
    from lst_cli.split.hold_out import hold_out_file
    from lst_cli.workspace.store import DEFAULT_DIRECTORY

    with meter() as tell:
        rule = HoldOutRule(rare, share, seed)
        held_out = hold_out_file(directory=directory, rule=rule, progress=tell, **given)
    if as_json:
        print_json(held_out.as_dict())
        return
    train, val = held_out.train, held_out.val
    rows = []
    for part in (train, val):
        counts = (part.images, part.instances, part.classes, part.rare)
        rows.append([str(part.path), *(f"{count:,}" for count in counts)])
    print_rows(
        f"Rare: in fewer than {rare} images of {train.path}",
        ["file", "images", "instances", "classes", "of them rare"],
        rows,
    )
    note(
        f"{count_of(len(held_out.demoted), 'class', 'classes')} became rare; "
        f"{count_of(val.classes, 'class', 'classes')} can be evaluated, {val.rare} of them rare"
    )
    if not val.rare:
        warn("no rare class can be evaluated: give a larger --rare")
    if train.classes < 2:
        warn("only one class is left in training: it cannot be divided into phases")
        return
    files = f"--train {shlex.quote(str(train.path))} --val {shlex.quote(str(val.path))}"
    if held_out.skipped:
        note(f"{tell_skipped(held_out.skipped)}; they are copied, but not counted")
        files += " --skip-unusable"
    files += f" -w {shlex.quote(str(directory / DEFAULT_DIRECTORY))}"
    base, phases = fitting_split(train.classes)
    say(f"next: lst split {files} --images DIR --b {base} --phases {phases}")
