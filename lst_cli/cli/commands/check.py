"""`lst check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lst_cli.annotations.problems import count_of
from lst_cli.cli import options
from lst_cli.cli.console import complete, meter, note, print_json, say
from lst_cli.errors import LstError

if TYPE_CHECKING:
    from lst_cli.check.check import CheckReport

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


@options.command(
    "check",
    "lst check",
    "lst check --train train.json --val val.json --images coco --decode",
    "lst check --train train.json --skip-unusable",
)
@options.workspace_option
@options.file_option("--train", "Training annotations.")
@options.file_option("--val", "Validation annotations.")
@options.image_dirs_option
@options.flag("--decode", "Decode every image, which also finds cut-off files.")
@options.skip_unusable_option
@options.json_option
def command(
    workspace: options.Workspace, train: Path | None, val: Path | None, as_json: bool, **how: Any
) -> None:
    """Check annotations and images before training.

    Checks the files of the workspace's split, or one or both of the files that are given.
    Training starts with the same checks.
    """
    from lst_cli.check.check import check

    if train is None and val is None:
        split = workspace.split
        train, val = Path(split.train.path), Path(split.val.path)
        how["skip_unusable"] |= split.skips_unusable
        how["image_dirs"] = how["image_dirs"] or tuple(map(Path, split.image_dirs))
    with meter() as tell:
        report = check(train, val, progress=tell, **how)
    files = " and ".join(dict.fromkeys(str(path) for path in (train, val) if path is not None))
    if as_json:
        print_json(report.as_dict())
    else:
        _show(report, files)
    if report.errors:
        kinds = count_of(len(report.errors), "kind", "kinds")
        raise LstError(
            f"{kinds} of error found in {files}",
            "correct what is named above, then run lst check again",
        )


def _show(report: CheckReport, files: str) -> None:
    for problem in report.problems:
        named = not problem.where or problem.where in problem.message
        text = problem.message if named else f"{problem.where}: {problem.message}"
        say(text, label=f"{problem.severity}: ", colour=_COLOURS[problem.severity])
        for example in problem.examples:
            say(f"    {example}")
        if problem.hint:
            say(f"  try: {complete(problem.hint)}")
    if not report.errors:
        images = f", {report.images_checked:,} images" if report.images_checked else ""
        note(f"no errors in {files}{images}")
