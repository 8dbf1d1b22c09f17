"""`lst predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lst_cli.cli.console import meter, note, print_json, print_table, say
from lst_cli.cli.options import (
    LocalPath,
    device_option,
    examples,
    json_option,
    set_option,
    with_options,
    words,
    workspace_option,
)
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require
from lst_cli.predict.found import SCORE

if TYPE_CHECKING:
    from lst_cli.predict.found import Predictions
    from lst_cli.workspace.store import Workspace


@click.command(
    "predict",
    epilog=examples(
        "lst predict photos/",
        "lst predict a.jpg b.jpg --score 0.5 -o drawn",
        "lst predict photos/ --phase 0 --json",
    ),
)
@click.argument(
    "places",
    metavar="IMAGE_OR_DIRECTORY...",
    nargs=-1,
    required=True,
    type=LocalPath(),
)
@with_options(workspace_option)
@click.option("--phase", type=int, help="Phase to use.  [default: the newest finished one]")
@click.option(
    "--score", type=float, default=SCORE, show_default=True, help="Lowest score of an object."
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=LocalPath(file_okay=False),
    help="Where to write.  [default: predictions/ in the workspace, a directory for each phase]",
)
@with_options(device_option, set_option, json_option)
def command(
    places: tuple[Path, ...],
    workspace: Workspace,
    phase: int | None,
    score: float,
    output: Path | None,
    device: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find objects in any images with a finished phase's model.

    Draws each image with masks, boxes, class names and scores, and writes predictions.json beside
    the pictures. Directories are looked through with all below them; annotations are not needed.
    Images of up to 200 million pixels are read; one of these takes about 1 GB of memory beside the
    network's.
    With --json nothing is written.
    """
    from lst_cli.predict.predict import predict_images

    if as_json and output is not None:
        raise LstError("--json prints and writes nothing, -o writes", "give one of them")
    require(*NETWORK)
    settings = workspace.settings(words(overrides, device=device))
    chosen = workspace.newest_phase() if phase is None else phase
    directory = None if as_json else output or workspace.layout.predictions(chosen)
    with meter() as tell:
        found = predict_images(
            workspace,
            places,
            settings,
            phase=chosen,
            score=score,
            directory=directory,
            progress=tell,
        )
    if directory is None:
        print_json(found.as_dict())
    else:
        _show(found, directory)
    _complain(found)


def _show(found: Predictions, directory: Path) -> None:
    from lst_cli.predict.tables import found_table

    print_table(found_table(found))
    note("wrote the pictures and predictions.json in")
    say(str(directory))


def _complain(found: Predictions) -> None:
    """End as a failure if images were left out: a script must not take them for empty.

    Raises:
        LstError: Naming the first of them.
    """
    from lst_cli.annotations.problems import count_of, incomplete
    from lst_cli.predict.predict import FILE

    not_drawn = [image.not_drawn for image in found.images if image.not_drawn]
    if found.left_out:
        also = f"; {len(not_drawn):,} more were not drawn" if not_drawn else ""
        errors = [error for _, error in found.left_out]
        raise incomplete(
            f"{count_of(len(errors), 'image was', 'images were')} left out{also}",
            [*(error.message for error in errors), *not_drawn],
            f"{_what_to_do(errors)}; every reason is in {FILE}; the others are done",
        )
    if not_drawn:
        raise incomplete(
            f"{count_of(len(not_drawn), 'picture was', 'pictures were')} not drawn",
            not_drawn,
            f"what was found in them is in {FILE} all the same",
        )


def _what_to_do(errors: Sequence[LstError]) -> str:
    """Their hints, the most frequent first, each with how many it is about."""
    from lst_cli.images.decode import FIND_ALL

    hints = Counter((error.hint or "look at them").removesuffix(FIND_ALL) for error in errors)
    if len(hints) == 1:
        return next(iter(hints))
    return "; ".join(f"{hint} ({count:,})" for hint, count in hints.most_common(3))
