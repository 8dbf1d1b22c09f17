"""`lst eval`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lst_cli.cli import options
from lst_cli.cli.console import Meter, meter, note, print_json, print_table, show_next
from lst_cli.errors import LstError
from lst_cli.libraries import NETWORK, require
from lst_cli.progress import Progress, within

if TYPE_CHECKING:
    from lst_cli.evaluate.evaluate import Evaluation
    from lst_cli.settings.models import Settings


@options.command(
    "eval", "lst eval", "lst eval --all-phases --json", "lst eval --instant", "lst eval --errors"
)
@options.workspace_option
@click.option("--phase", type=int, help="Phase to evaluate.  [default: the newest finished phase]")
@options.flag("--all-phases", "Evaluate every finished phase.")
@options.flag(
    "--instant",
    "Evaluate the new classes of a phase before any training, with random, mean-feature and "
    "generated rows.",
)
@click.option(
    "--bins",
    metavar="BINS",
    help="Bins of training instances, such as '=1,<10,10-99,>=100'.  [default: the setting "
    "eval.bins]",
)
@options.fixed_ap_option
@options.errors_option
@options.reference_option
@options.settings_options
@options.json_option
def command(
    workspace: options.Workspace,
    phase: int | None,
    all_phases: bool,
    instant: bool,
    bins: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Compute LVIS AP of a phase's model on the validation images.

    Prints mask and box AP over the classes seen so far, by number of training instances, and
    writes metrics.json and detections.json to the directory of the phase. With --instant, the new
    classes are added to the model of the phase before without training, and instant.json is
    written.
    """
    from lst_cli.phases.bins import parse_bins

    if all_phases and phase is not None:
        raise LstError("--phase and --all-phases cannot be used together", "give one of them")
    require(*NETWORK, *(["lvis"] if how["reference"] else []))
    from lst_cli.evaluate.evaluate import EvalOptions, check_phases, evaluate_phase

    if bins is not None:
        parse_bins(bins, "--bins")
    settings = workspace.settings(options.words(overrides, eval__bins=bins))
    newest = workspace.newest_phase()
    phases = list(range(newest + 1)) if all_phases else [newest if phase is None else phase]
    if instant:
        for name in (name for name, given in how.items() if given):
            option = "--" + name.replace("_", "-")
            raise LstError(f"{option} cannot be used with --instant", "lst eval --help")
        later = [one for one in phases if one > 0] if all_phases else phases
        _eval_instant(workspace, later, settings, as_json)
        return
    with meter() as tell:
        if len(phases) > 1:
            check_phases(workspace, phases, settings, fixed_ap=how["fixed_ap"], progress=tell)
        found = [
            evaluate_phase(
                workspace,
                one,
                settings,
                EvalOptions(**how),
                progress=_about_phase(tell, one, phases),
            )
            for one in phases
        ]
    for sentence in dict.fromkeys(sentence for one in found for sentence in one.notes):
        note(sentence)
    if not as_json:
        _show(workspace, found, **how)
        return
    records = [_record(one) for one in found]
    print_json(records if all_phases else records[0])


def _record(found: Evaluation) -> dict[str, Any]:
    record = found.metrics.model_dump(mode="json")
    if found.errors is not None:
        record["errors"] = {"segm": found.errors.model_dump(mode="json")}
    if found.differences:
        record["largest_difference"] = found.differences
    return record


def _show(
    workspace: options.Workspace, found: Sequence[Evaluation], *, fixed_ap: bool, **closer: bool
) -> None:
    from lst_cli.cli.commands.score import show_differences
    from lst_cli.display.tables import binned_table, groups_table, with_joint
    from lst_cli.evaluate.tables import errors_table, scores_table
    from lst_cli.report.status import next_command

    joint = workspace.split.joint
    metrics = [one.metrics for one in found]
    print_table(with_joint(binned_table(metrics), joint))
    if not joint:
        print_table(groups_table(metrics))
    print_table(scores_table(metrics[-1].segm))
    for one in found:
        if one.errors is not None:
            print_table(errors_table(one.errors))
        show_differences(one.differences)
        for path in one.error_files:
            note(f"wrote {path}")
    if not any(closer.values()):
        suffix = "-fixed" if fixed_ap else ""
        several = len(metrics) > 1
        where = workspace.layout.phases if several else workspace.phase(metrics[0].phase).root
        note(f"wrote metrics{suffix}.json and detections{suffix}.json in {where}")
    show_next(next_command(workspace))


def _about_phase(tell: Meter, phase: int, phases: Sequence[int]) -> Progress:
    """Say which phase progress is about, where there are several."""
    if len(phases) == 1:
        return tell
    name = "base phase" if phase == 0 else f"phase {phase} of {phases[-1]}"
    return within(tell, f"{name}: ")


def _eval_instant(
    workspace: options.Workspace, phases: Sequence[int], settings: Settings, as_json: bool
) -> None:
    from lst_cli.evaluate.instant import evaluate_instant
    from lst_cli.evaluate.stored import load_all_metrics
    from lst_cli.extend.tables import instant_table

    with meter() as tell:
        instant = [
            evaluate_instant(workspace, one, settings, progress=_about_phase(tell, one, phases))
            for one in phases
        ]
    if as_json:
        print_json([one.model_dump(mode="json") for one in instant])
        return
    # A phase that lst extend added without training has no later metrics to compare with.
    trained_phases = [one for one in phases if workspace.require_done(one).iterations]
    print_table(instant_table(instant, load_all_metrics(workspace, trained_phases)))
    for one in phases:
        note(f"wrote {workspace.phase(one).instant}")
