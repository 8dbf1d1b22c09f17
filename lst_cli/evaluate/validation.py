"""What a phase is held against, read and checked before any network runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lst_cli.annotations.read import Dataset
from lst_cli.ap.ground_truth import GroundTruth, build_ground_truth
from lst_cli.inputs import ImagePaths, read_validation
from lst_cli.phases.bins import Bin, parse_bins
from lst_cli.progress import Progress
from lst_cli.settings.models import Settings
from lst_cli.train.before_training import check_found_images
from lst_cli.workspace.atomic import require_writable
from lst_cli.workspace.manifest import Split
from lst_cli.workspace.store import Workspace


@dataclass(frozen=True, eq=False)
class Validation:
    """All that the evaluation of a phase reads but its model.

    Attributes:
        split: The split.
        phase: t.
        dataset: The validation file of the phase.
        paths: Where its images lie.
        truth: Its classes seen so far.
        bins: Ranges of training instances.
    """

    split: Split
    phase: int
    dataset: Dataset
    paths: ImagePaths
    truth: GroundTruth
    bins: tuple[Bin, ...]


def prepare_validation(
    workspace: Workspace,
    phase: int,
    settings: Settings,
    *,
    outputs: tuple[Path, ...] = (),
    images: bool = True,
    progress: Progress,
) -> Validation:
    """Read what a phase is evaluated on.

    Args:
        workspace: With the split.
        phase: t.
        settings: Whose bins are used.
        outputs: Files that will be written.
        images: Whether images will be looked at.
        progress: What is done, how much of it, of how much.

    Raises:
        LstError: If anything that the evaluation needs is missing, has changed or is unusable.
    """
    bins = parse_bins(settings.eval.bins)
    require_writable(*outputs)
    split = workspace.split
    dataset, paths = read_validation(workspace, phase)
    records = split.classes[: split.seen_classes(phase)]
    truth = build_ground_truth(
        dataset,
        [record.category_id for record in records],
        {record.category_id: record.images for record in records},
        progress=progress,
    )
    if images:
        check_found_images([dataset], paths, progress=progress)
    return Validation(split, phase, dataset, paths, truth, tuple(bins))
