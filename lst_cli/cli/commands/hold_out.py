"""`lst hold-out`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli.annotations.problems import count_of
from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_rows, say, warn
from lst_cli.phases.classes import fitting_split
from lst_cli.phases.hold_out import HoldOutRule

if TYPE_CHECKING:
    from lst_cli.split.hold_out import HeldOut


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
    "--rare", click.IntRange(min=2), HoldOutRule.rare, "A class in fewer images is rare."
)
@options.number_option(
    "--share",
    click.FloatRange(0, 1),
    HoldOutRule.share,
    "Share of the images to set aside; more if the classes that become rare need it.",
)
@options.number_option("--seed", click.IntRange(min=0), 0, "Random seed.")
@options.skip_unusable_option
@options.flag("--force", "Replace train.json and val.json of an earlier run.")
@options.json_option
def command(
    directory: Path, rare: int, share: float, seed: int, as_json: bool, **given: Any
) -> None:
    """Set aside a part of the training set for choosing settings.

    If settings are chosen on the validation set, AP on it is too high. Choose them on the part
    that this command sets aside. In this part rare classes can be evaluated: of the classes in N
    to 4 N images (N is --rare), every second one becomes rare in training, and its other images
    go to the part. The image files are not moved.
    """
    from lst_cli.split.hold_out import hold_out_file
    from lst_cli.workspace.store import DEFAULT_DIRECTORY

    with meter() as tell:
        rule = HoldOutRule(rare, share, seed)
        held_out = hold_out_file(directory=directory, rule=rule, progress=tell, **given)
    if as_json:
        print_json(held_out.as_dict())
        return
    train, val = held_out.train, held_out.val
    _show(held_out, rare)
    if train.classes < 2:
        warn("only one class is left in training: it cannot be divided into phases")
        return
    files = f"--train {shlex.quote(str(train.path))} --val {shlex.quote(str(val.path))}"
    if held_out.skipped:
        from lst_cli.check.masks import tell_skipped  # needs Pillow

        note(f"{tell_skipped(held_out.skipped)}; they are copied, but not counted")
        files += " --skip-unusable"
    base, phases = fitting_split(train.classes)
    files += f" -w {shlex.quote(str(directory / DEFAULT_DIRECTORY))}"
    say(f"next: lst split {files} --images DIR --b {base} --phases {phases}")


def _show(held_out: HeldOut, rare: int) -> None:
    val = held_out.val
    rows = []
    for part in (held_out.train, val):
        counts = (part.images, part.instances, part.classes, part.rare)
        rows.append([str(part.path), *(f"{count:,}" for count in counts)])
    print_rows(
        f"Rare: in fewer than {rare} images of {held_out.train.path}",
        ["file", "images", "instances", "classes", "of them rare"],
        rows,
    )
    note(
        f"{count_of(len(held_out.demoted), 'class', 'classes')} became rare; "
        f"{count_of(val.classes, 'class', 'classes')} can be evaluated, {val.rare} of them rare"
    )
    if not val.rare:
        warn("no rare class can be evaluated: give a larger --rare")
