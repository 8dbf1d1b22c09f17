"""The numbers of one evaluation (`metrics.json`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[Fraction, Fraction]
_CORRECTION = "correction of scores"  # None in what older versions wrote


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BinMetrics(_Record):
    """AP of the seen classes in one bin of training instances, [low, high).

    Attributes:
        bin: The bin's name.
        low: Fewest training instances inside.
        high: Fewest outside again; None for no bound.
        classes: Seen classes in the bin.
        with_ground_truth: Those of them that AP rests on.
        AP: Mean over IoU 0.50 to 0.95; None if no class has ground truth.
        AP50: At IoU 0.50.
        AP75: At IoU 0.75.
        interval: Of AP, 95 %, over resampled images; None if not known.
    """

    bin: str
    low: Count
    high: Count | None
    classes: Count
    with_ground_truth: Count
    AP: Fraction | None
    AP50: Fraction | None
    AP75: Fraction | None
    interval: Interval | None = None


class GroupMetrics(_Record):
    """AP of the classes that one phase brought.

    Attributes:
        phase: The phase that learned them first.
        classes: How many they are.
        with_ground_truth: Those of them that AP rests on.
        AP: Their AP now; None if none has ground truth.
    """

    phase: Count
    classes: Count
    with_ground_truth: Count
    AP: Fraction | None


class Scores(_Record):
    """The numbers of any detections, for masks or for boxes. None stands for no ground truth.

    Attributes:
        AP: Over all classes, IoU 0.50 to 0.95.
        AP50: At IoU 0.50.
        AP75: At IoU 0.75.
        APs: Objects below 32 x 32 pixels.
        APm: Objects between.
        APl: Objects above 96 x 96 pixels.
        APr: Rare classes, by training images.
        APc: Common classes.
        APf: Frequent classes.
        AR: Recall, mean over classes and IoU thresholds.
        interval: Of AP, 95 %, over resampled images; None if not known.
        bins: AP by training instances; empty where these are not known.
        per_class: AP by category_id, of the classes with ground truth.
    """

    AP: Fraction | None
    AP50: Fraction | None
    AP75: Fraction | None
    APs: Fraction | None
    APm: Fraction | None
    APl: Fraction | None
    APr: Fraction | None
    APc: Fraction | None
    APf: Fraction | None
    AR: Fraction | None
    interval: Interval | None = None
    bins: tuple[BinMetrics, ...]
    per_class: dict[int, Fraction]


class IouMetrics(Scores):
    """The numbers of a phase's model: those of `Scores` over the classes seen so far, and more.

    Attributes:
        old: AP of the classes of earlier phases; None in phase 0.
        new: AP of the classes of this phase.
        all: AP of both.
        groups: AP by the phase that brought the classes, from phase 0 to this one.
    """

    old: Fraction | None
    new: Fraction | None
    all: Fraction | None
    groups: tuple[GroupMetrics, ...]


class _Evaluation(_Record):
    """One evaluation.

    Attributes:
        format: Version of this schema.
        images: Images that detections were held against, those without any object included.
        detections: Detections on them.
        seconds: Wall-clock time of the evaluation.
        federated: Whether images are labelled for some classes only.
        fixed_ap: Whether the cap on detections is 10,000 a class over all images (AP_fixed), and
            not so many an image.
    """

    format: Literal[1] = 1
    images: Count
    detections: Count
    seconds: float = Field(ge=0)
    federated: bool
    fixed_ap: bool = False


class Metrics(_Evaluation):
    """Evaluation of a phase: the content of `metrics.json` and what `lst eval --json` prints.

    Attributes:
        phase: The phase whose model was evaluated.
        annotations_sha256: Of the validation file; empty where it was not recorded.
        made_with: What decided about the detections, by dotted setting; empty likewise.
        detections_sha256: Of the file of detections; empty likewise.
        segm: Numbers for masks.
        bbox: Numbers for boxes.
    """

    phase: Count
    annotations_sha256: str = ""
    made_with: dict[str, Any] = Field(default_factory=dict)
    detections_sha256: str = ""
    segm: IouMetrics
    bbox: IouMetrics

    @model_validator(mode="before")
    @classmethod
    def _without_calibration(cls, record: Any) -> Any:
        # Scores could be corrected after training once.
        if not isinstance(record, dict):
            return record
        if record.get("calibration") is not None:
            raise ValueError("its scores were calibrated, which lst does no more")
        made = {k: v for k, v in record.get("made_with", {}).items() if k != _CORRECTION}
        rest = {key: value for key, value in record.items() if key != "calibration"}
        return {**rest, "made_with": made} if made else rest


class FileMetrics(_Evaluation):
    """Evaluation of a results file: what `lst score --json` prints.

    Attributes:
        segm: Numbers for masks; None if they were not asked for.
        bbox: Numbers for boxes; None if they were not asked for.
    """

    segm: Scores | None
    bbox: Scores | None


def comparable(history: Sequence[Metrics]) -> list[Metrics]:
    """Evaluations on the validation file of the last one; AP on others is no measure beside it.

    Args:
        history: Evaluations of several phases of one split; the last one is kept.

    Returns:
        Them in their order; also those that do not say on which file they are.
    """
    files = [metrics.annotations_sha256 for metrics in history]
    return [
        metrics
        for metrics, file in zip(history, files, strict=True)
        if file == files[-1] or not (file and files[-1])
    ]


def forgetting(
    history: Sequence[Metrics], iou_type: Literal["segm", "bbox"] = "segm"
) -> dict[int, float]:
    """Tell how much AP each phase's classes have lost since they were learned.

    Args:
        history: Evaluations of several phases of one split, in any order.
        iou_type: Masks or boxes.

    Returns:
        By phase: AP of its classes right after that phase, minus their AP in the last phase
        of the history. Below 0 if they gained. Phases that were not evaluated, whose classes
        have no ground truth, that were evaluated on another validation file, or that have only
        just been learned, are left out.
    """
    if not history:
        return {}
    in_order = sorted(history, key=lambda metrics: metrics.phase)
    by_phase = {metrics.phase: getattr(metrics, iou_type) for metrics in comparable(in_order)}
    newest = max(by_phase)
    lost = {}
    for phase in by_phase:
        learned, now = by_phase[phase].groups[phase].AP, by_phase[newest].groups[phase].AP
        if phase < newest and learned is not None and now is not None:
            lost[phase] = learned - now
    return lost
