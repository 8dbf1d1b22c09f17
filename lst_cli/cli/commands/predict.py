"""`lst predict`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_table, say
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require
from lst_cli.text import first_few

if TYPE_CHECKING:
    from lst_cli.predict.predict import Predictions


@options.command(
    "predict",
    "lst predict photos/",
    "lst predict a.jpg b.jpg --score 0.5 -o drawn",
    "lst predict photos/ --class zebra --score 0.1",
    "lst predict photos/ --phase 0 --json",
)
@click.argument(
    "places", metavar="IMAGE_OR_DIRECTORY...", nargs=-1, required=True, type=options.LocalPath()
)
@options.workspace_option
@options.phase_option("use")
@click.option(
    "--score", type=float, default=0.3, show_default=True, help="Lowest score of an object."
)
@click.option(
    "--class",
    "names",
    metavar="NAME",
    multiple=True,
    help="Show objects of this class only; may be repeated.  [default: all classes]",
)
@options.output_option("predictions/PHASE in the workspace")
@options.settings_options
@options.json_option
def command(
    places: tuple[Path, ...],
    workspace: options.Workspace,
    phase: int | None,
    output: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Run a trained phase's model on images.

    Draws masks, boxes, class names and scores on each image, and writes the pictures and
    predictions.json. Directories are searched with all their subdirectories. No annotations are
    needed. Images may have up to 200 million pixels; one of that size takes about 1 GB of memory
    in addition to the network. With --json nothing is written.
    """
    from lst_cli.predict.predict import Request, found_table, low_scores, predict_images

    if as_json and output is not None:
        raise LstError("--json prints and writes nothing, -o writes", "give one of them")
    require(*NETWORK)
    settings = workspace.settings(overrides)
    chosen = workspace.newest_phase() if phase is None else phase
    directory = None if as_json else output or workspace.layout.predictions(chosen)
    with meter() as tell:
        request = Request(places, chosen, directory=directory, **how)
        found = predict_images(workspace, request, settings, progress=tell)
    if directory is None:
        print_json(found.as_dict())
    else:
        print_table(found_table(found))
        if low := low_scores(workspace, chosen, found.score):
            names = [f"{name} ({score:.2f})" for name, score in low.items()]
            note(
                "added without training, so that the boxes they were learned from score low "
                f"(mean): {first_few(names, 5)}; a lower --score shows more of them"
            )
        note("wrote the pictures and predictions.json in")
        say(str(directory))
    _refuse_incomplete(found)


def _refuse_incomplete(found: Predictions) -> None:
    """End as a failure if images were left out: a script must not take them for empty.

    Raises:
        LstError: Naming the first of them.
    """
    from lst_cli.annotations.problems import count_of, incomplete
    from lst_cli.images.decode import FIND_ALL
    from lst_cli.predict.predict import FILE

    not_drawn = [image.not_drawn for image in found.images if image.not_drawn]
    if found.left_out:
        also = f"; {len(not_drawn):,} more were not drawn" if not_drawn else ""
        errors = [error for _, error in found.left_out]
        hints = Counter((one.hint or "look at them").removesuffix(FIND_ALL) for one in errors)
        counted = "; ".join(f"{hint} ({count:,})" for hint, count in hints.most_common(3))
        hint = counted if len(hints) > 1 else next(iter(hints))
        raise incomplete(
            f"{count_of(len(errors), 'image was', 'images were')} left out{also}",
            [*(error.message for error in errors), *not_drawn],
            f"{hint}; every reason is in {FILE}; the other images are done",
        )
    if not_drawn:
        raise incomplete(
            f"{count_of(len(not_drawn), 'picture was', 'pictures were')} not drawn",
            not_drawn,
            f"the objects found in them are still in {FILE}",
        )
