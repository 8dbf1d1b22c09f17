"""`lst adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_rows, show_next
from lst_cli.images.finder import HERE
from lst_cli.libraries import NETWORK, require
from lst_cli.settings.presets import PRESETS
from lst_cli.weights.kinds import require_weights

if TYPE_CHECKING:
    from lst_cli.workspace.manifest import PhaseManifest


@options.command(
    "adopt",
    "lst adopt --weights m.pth --config m.yaml --train t.json --val v.json",
)
@options.workspace_option
@click.option(
    "--weights",
    metavar="FILE|URL",
    required=True,
    help="Weights of a Mask R-CNN that was trained with detectron2.",
)
@click.option(
    "--config",
    metavar="FILE",
    required=True,
    help="Its YAML config, or the name of one in detectron2's model zoo.",
)
@options.train_option
@options.file_option("--val", "Validation annotations of the same classes.", required=True)
@options.image_dirs_option
@options.file_option(
    "--classes",
    "Names of the model's classes, one a line, in the model's order.  [default: those of the data "
    "set in its config, else the training file's in ascending category id]",
)
@click.option(
    "--phases",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Make N later phases of the classes that the model does not know; 0 leaves them out.",
)
@click.option(
    "--image-passes",
    metavar="N",
    type=click.IntRange(min=1),
    help="Show N images, at most a tenth of what the model was trained on.  [default: 2000, or "
    "that tenth]",
)
@options.choice("--preset", list(PRESETS), "Preset of the settings for later phases.")
@options.skip_unusable_option
@options.settings_options
@options.json_option
def adopt(
    workspace: options.Workspace,
    weights: str,
    image_dirs: tuple[Path, ...],
    overrides: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Make a workspace whose base phase is an existing model.

    The model is a Mask R-CNN with a feature pyramid that was trained with detectron2. Backbone,
    pyramid, proposals, box head and box regression stay as they are. The classifier and the masks
    become those of LST, which can be extended: they are trained for minutes to give what the model
    gives. AP of both models is printed. The same command continues an interrupted evaluation.
    """
    require_weights(weights)
    require(*NETWORK)
    from lst_cli.adopt.adopt import AdoptRequest, adopt_model
    from lst_cli.train.train import next_training_command

    request = AdoptRequest(weights=weights, image_dirs=image_dirs or HERE, **given)
    with meter() as tell:
        manifest = adopt_model(workspace, request, overrides, progress=tell, note=note)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    _show(manifest)
    show_next(next_training_command(workspace) or "lst extend --train FEW.json --images DIR")


def _show(manifest: PhaseManifest) -> None:
    from lst_cli.display.tables import format_seconds, format_value

    adopted = manifest.adopted
    assert adopted is not None
    names = {"segm": "masks", "bbox": "boxes"}
    keys = ("AP", "AP50", "AP75")
    rows = []
    for kind, name in names.items():
        before, after = adopted.original[kind], adopted.adopted[kind]
        for key in keys:
            pair = before[key], after[key]
            change = None if None in pair else (pair[1] or 0.0) - (pair[0] or 0.0)
            cells = [format_value("ap", one) for one in pair]
            rows.append([f"{name}, {key}", *cells, format_value("change", change)])
    print_rows(
        f"{manifest.new_classes:,} classes, original and adopted",
        ["of", "original", "adopted", "change"],
        rows,
    )
    note(
        f"trained on {adopted.image_passes:,} images in {format_seconds(manifest.seconds or 0.0)}; "
        f"the original was trained on {adopted.image_passes_of_original:,}, as its config says"
    )
