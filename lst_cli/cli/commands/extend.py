"""`lst extend`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_json, print_rows, show_next
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require

if TYPE_CHECKING:
    from lst_cli.workspace.manifest import ClassRecord, PhaseManifest


@options.command(
    "extend",
    "lst extend --train few.json --images DIR",
    "lst extend --train few.json --images DIR --class zebra --finetune",
    "lst extend --undo",
)
@options.workspace_option
@options.file_option(
    "--train",
    "A few annotated images of the new classes, in LVIS or COCO format.  [required, except with "
    "--undo]",
)
@options.image_dirs_option
@options.file_option(
    "--val",
    "Validation annotations of old and new classes, from this phase on.  [default: as before]",
)
@click.option(
    "--class",
    "names",
    metavar="NAME",
    multiple=True,
    help="Learn only this class; may be repeated.  [default: all annotated classes]",
)
@options.flag("--finetune", "Train, in minutes: see the settings in [extend].")
@click.option(
    "--budget",
    metavar="N",
    type=click.IntRange(min=1),
    help="With --finetune: train on N images in total, repeats counted; short for "
    "--set extend.image_passes=N.",
)
@options.flag(
    "--full", "With --finetune: train a whole phase with replay and distillation, as lst step does."
)
@options.flag(
    "--mwg", "With --finetune: compute the rows of new classes with the meta weight generator."
)
@options.flag(
    "--anyway", "Add classes too that cannot be told from the background or from old classes."
)
@options.flag("--undo", "Remove the classes that were added last, and their phase.")
@options.skip_unusable_option
@options.device_option
@options.set_option
@options.json_option
def command(
    workspace: options.Workspace,
    undo: bool,
    finetune: bool,
    budget: int | None,
    full: bool,
    mwg: bool,
    device: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **data: Any,
) -> None:
    """Add new classes from a few annotated images.

    This takes seconds, without training: the generator that `lst step --mwg` trained computes
    the classifier rows of the new classes. If there is no generator, each row is the mean feature
    of its class. Each row is then fitted so that its class is found no more often in 100 training
    images, where it is not annotated, than the mean old class is by mistake. With --finetune the
    classes are trained as a phase. In both cases the classes become a phase like any other: lst
    eval, step and report work as usual. --undo makes the workspace what it was before the last
    extension, finished or not.
    """
    if undo:
        if any([finetune, mwg, device, overrides, *data.values()]):
            raise LstError("--undo goes with -w and --json only", "leave out all other options")
        _undo(workspace, as_json)
        return
    if data["train"] is None:
        raise click.MissingParameter(param_hint="'--train'", param_type="option")
    from lst_cli.cli.training import training_events
    from lst_cli.extend.extend import extend_workspace
    from lst_cli.extend.plan import NewFiles
    from lst_cli.settings.models import EXTEND_REPLACES

    if mwg and not finetune:
        raise LstError(
            "--mwg trains a generator, which needs --finetune",
            "leave --mwg out: an existing generator is used, or add --finetune",
        )
    unused = [word for word in overrides if not finetune and not word.startswith("data.")]
    if unused:
        raise LstError(
            f"--set {unused[0]}: without --finetune there is no training; all settings but data.* "
            "are those of the phase before",
            "leave it out, or add --finetune",
        )
    for option, given in (("--budget", budget is not None), ("--full", full)):
        if given and not finetune:
            raise LstError(f"{option}: without --finetune there is no training", "add --finetune")
    if full and budget is not None:
        raise LstError("--budget and --full contradict each other", "leave one of them out")
    require(*NETWORK)
    chosen = options.words(
        overrides,
        device=device,
        step__mwg="true" if mwg else None,
        extend__image_passes=0 if full else budget,
    )
    settings = workspace.settings(chosen)
    replaced = [
        key
        for key in (word.partition("=")[0].strip() for word in overrides)
        if settings.extend.image_passes and key in map("step.{}".format, EXTEND_REPLACES)
    ]
    if replaced:
        raise LstError(
            f"--set {replaced[0]}: --finetune takes this from extend.{replaced[0][5:]}",
            f"--set extend.{replaced[0][5:]}, or add --full to train a whole phase",
        )
    with meter() as tell:
        events = training_events(tell)
        manifest = extend_workspace(
            workspace, settings, NewFiles(**data), finetune=finetune, events=events
        )
    split = workspace.split
    classes = split.classes_of(manifest.phase)
    if as_json:
        print_json(
            {
                "phase": manifest.phase,
                "classes": [record.model_dump(mode="json") for record in classes],
                "new_rows": manifest.new_rows,
                "seconds": manifest.seconds,
                "manifest": manifest.model_dump(mode="json"),
            }
        )
        return
    _show(manifest, classes)
    show_next("lst eval")


def _undo(workspace: options.Workspace, as_json: bool) -> None:
    from lst_cli.annotations.problems import count_of
    from lst_cli.extend.undo import undo_extension

    undone = undo_extension(workspace)
    if as_json:
        print_json(
            {
                "phase": undone.phase,
                "classes": [record.model_dump(mode="json") for record in undone.classes],
                "kept_in": [str(place) for place in undone.kept_in],
            }
        )
        return
    names = ", ".join(one.name for one in undone.classes)
    note(
        f"phase {undone.phase} removed, and its "
        f"{count_of(len(undone.classes), 'class', 'classes')}: {names}"
    )
    for place in undone.kept_in:
        note(f"files of the finished phase are in {place}: remove them when you do not need them")
    show_next("lst status")


def _show(manifest: PhaseManifest, classes: Sequence[ClassRecord]) -> None:
    from lst_cli.annotations.problems import count_of
    from lst_cli.display.tables import format_seconds
    from lst_cli.extend.new_classes import listed
    from lst_cli.extend.plan import LOW_OWN_SCORE
    from lst_cli.workspace.manifest import FALSE_ALARM_SCORES

    print_rows(
        f"phase {manifest.phase}: {count_of(len(classes), 'new class', 'new classes')}",
        ["class", "category id", "instances", "images", "validation objects"],
        [
            [
                one.name,
                str(one.category_id),
                *(f"{count:,}" for count in (one.instances, one.images, one.val_instances)),
            ]
            for one in classes
        ],
    )
    seconds = format_seconds(manifest.seconds or 0.0)
    if manifest.iterations:
        note(f"trained for {manifest.iterations:,} iterations in {seconds}")
        return
    rows = {"generated": "by the generator", "mean-feature": "from mean features"}
    how = rows.get(manifest.new_rows or "", "")
    note(f"learned in {seconds} without training, rows made {how}")
    if not manifest.checks:
        note(
            "no training image without the new classes could be read: false alarms were not checked"
        )
        return
    images = count_of(manifest.known_images, "training image", "training images")
    print_rows(
        f"False alarms per 100 images, in {images} without the class, before -> after fitting",
        ["class", "boxes", "their mean score", *(f"at {least:g}" for least in FALSE_ALARM_SCORES)],
        [
            [
                one.name,
                str(check.boxes),
                _change(check.own_score, ".2f"),
                *(
                    _change(counts, ".0f")
                    for counts in zip(check.alarms_before, check.alarms_after, strict=True)
                ),
            ]
            for one, check in zip(classes, manifest.checks, strict=True)
        ]
        + [["mean old class", "", "", *(f"{rate:.1f}" for rate in manifest.old_alarms)]],
    )
    scores = {
        one.name: check.own_score[1] for one, check in zip(classes, manifest.checks, strict=True)
    }
    if low := [name for name, score in scores.items() if score < LOW_OWN_SCORE]:
        least = max(min(scores.values()) / 2, 0.05)
        note(
            f"objects of {listed(low)} get low scores: to find more of them, use a lower "
            f"threshold, such as lst predict --score {least:.2f}"
        )
    above = [
        one.name
        for one, check in zip(classes, manifest.checks, strict=True)
        if any(map(operator.gt, check.alarms_after, manifest.old_alarms))
    ]
    if above:
        note(
            "more false alarms than the mean old class: "
            + ", ".join(above)
            + "; annotate more images of these classes, or train them with --finetune"
        )


def _change(values: tuple[float, float], spec: str) -> str:
    before, after = values
    return f"{before:{spec}} -> {after:{spec}}"
