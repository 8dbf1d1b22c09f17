"""`lst hold-out`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lst_cli.annotations.problems import count_of
from lst_cli.cli.console import meter, note, print_json, print_rows, say, warn
from lst_cli.cli.options import (
    LocalPath,
    examples,
    json_option,
    skip_unusable_option,
    train_option,
    with_options,
)
from lst_cli.phases.hold_out import RARE_BELOW, SHARE
from lst_cli.phases.split import fitting_split

if TYPE_CHECKING:
    from lst_cli.split.hold_out import HeldOut


@click.command(
    "hold-out",
    epilog=examples(
        "lst hold-out --train train.json --out tune",
        "lst hold-out --train train.json --out tune --rare 10 --share 0.1 --seed 1",
    ),
)
@with_options(train_option)
@click.option(
    "--out",
    "directory",
    required=True,
    metavar="DIR",
    type=LocalPath(),
    help="Where train.json and val.json go.",
)
@click.option(
    "--rare",
    metavar="N",
    type=click.IntRange(min=2),
    default=RARE_BELOW,
    show_default=True,
    help="A class in fewer images than this is rare.",
)
@click.option(
    "--share",
    metavar="S",
    type=click.FloatRange(0, 1),
    default=SHARE,
    show_default=True,
    help="Share of images to set aside; more, if the classes that are made rare need it.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of all draws.",
)
@with_options(skip_unusable_option)
@click.option("--force", is_flag=True, help="Replace train.json and val.json of an earlier cut.")
@with_options(json_option)
def command(
    train: Path,
    directory: Path,
    rare: int,
    share: float,
    seed: int,
    skip_unusable: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Cut a part from a training set, to choose settings on.

    Settings chosen on the validation set flatter every number measured there. The part is cut so
    that rare classes can be judged: every second one of the classes in N to 4 N images becomes
    rare, its other images go to the part. The images themselves stay where they are.
    """
    from lst_cli.split.hold_out import hold_out_file
    from lst_cli.workspace.store import DEFAULT_DIRECTORY

    with meter() as tell:
        cut = hold_out_file(
            train,
            directory,
            rare=rare,
            share=share,
            seed=seed,
            skip_unusable=skip_unusable,
            force=force,
            progress=tell,
        )
    if as_json:
        print_json(cut.as_dict())
        return
    _print_cut(cut, rare)
    if cut.train.classes < 2:
        warn("one class is left to learn: no phases can be made of it")
        return
    files = f"--train {shlex.quote(str(cut.train.path))} --val {shlex.quote(str(cut.val.path))}"
    if cut.skipped:
        from lst_cli.check.unusable import tell_skipped  # needs Pillow

        note(f"{tell_skipped(cut.skipped)}; they are copied, but not counted")
        files += " --skip-unusable"
    base, phases = fitting_split(cut.train.classes)
    files += f" -w {shlex.quote(str(directory / DEFAULT_DIRECTORY))}"
    say(f"next: lst split {files} --images DIR --b {base} --phases {phases}")


def _print_cut(cut: HeldOut, rare: int) -> None:
    rows = []
    for part in (cut.train, cut.val):
        counts = (part.images, part.instances, part.classes, part.rare)
        rows.append([str(part.path), *(f"{count:,}" for count in counts)])
    print_rows(
        f"Rare: in fewer than {rare} images of {cut.train.path}",
        ["file", "images", "instances", "classes", "of them rare"],
        rows,
    )
    judged = count_of(cut.val.classes, "class", "classes")
    note(
        f"{count_of(len(cut.demoted), 'class was', 'classes were')} made rare; {judged} can be "
        f"judged, {cut.val.rare} rare ones among them"
    )
    if not cut.val.rare:
        warn("no rare class can be judged: give a larger --rare")
