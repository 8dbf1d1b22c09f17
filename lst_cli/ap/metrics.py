"""The numbers of an evaluation: `metrics.json`, `errors.json` and `instant.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lst_cli.errors import LstError
from lst_cli.workspace.records import load_record

IouType = Literal["segm", "bbox"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[Fraction, Fraction]


class Record(BaseModel):
    """What is read from a file has these fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BinMetrics(Record):
    """AP of the seen classes in one bin of training instances, [low, high)."""

    bin: str
    low: Count
    high: Count | None  # None for no bound
    classes: Count
    with_ground_truth: Count  # those of them that AP rests on
    AP: Fraction | None  # mean over IoU 0.50 to 0.95; None if no class has ground truth
    AP50: Fraction | None
    AP75: Fraction | None
    interval: Interval | None = None  # of AP, 95 %, over resampled images; None if not known


class GroupMetrics(Record):
    """AP, in the phase that was evaluated, of the classes that one phase learned first."""

    phase: Count
    classes: Count
    with_ground_truth: Count
    AP: Fraction | None


class Scores(Record):
    """The numbers of any detections, for masks or for boxes. None stands for no ground truth."""

    AP: Fraction | None  # over all classes, IoU 0.50 to 0.95
    AP50: Fraction | None
    AP75: Fraction | None
    APs: Fraction | None  # objects below 32 x 32 pixels
    APm: Fraction | None
    APl: Fraction | None  # above 96 x 96 pixels
    APr: Fraction | None  # rare, common and frequent classes, by training images
    APc: Fraction | None
    APf: Fraction | None
    AR: Fraction | None  # recall, mean over classes and IoU thresholds
    interval: Interval | None = None  # of AP, see `BinMetrics`
    bins: tuple[BinMetrics, ...]  # empty where training instances are not known
    per_class: dict[int, Fraction]  # AP by category_id, of the classes with ground truth


class IouMetrics(Scores):
    """The numbers of a phase's model: those of `Scores` over the classes seen so far, and more."""

    old: Fraction | None  # AP of the classes of earlier phases; None in phase 0
    new: Fraction | None  # of the classes of this phase
    all: Fraction | None
    groups: tuple[GroupMetrics, ...]  # from phase 0 to this one


class _Evaluation(Record):
    format: Literal[1] = 1
    images: Count  # those without any object included
    detections: Count
    seconds: float = Field(ge=0)  # wall-clock time
    federated: bool  # whether images are labelled for some classes only
    fixed_ap: bool = False  # whether the cap was 10,000 detections a class, not so many an image


class Metrics(_Evaluation):
    """Evaluation of a phase's model: `metrics.json`, and what `lst eval --json` prints."""

    phase: Count
    annotations_sha256: str = ""  # of the validation file; empty where it was not recorded
    # What decided about the detections, by dotted setting; empty likewise.
    made_with: dict[str, Any] = Field(default_factory=dict)
    detections_sha256: str = ""
    segm: IouMetrics
    bbox: IouMetrics

    @model_validator(mode="before")
    @classmethod
    def _without_calibration(cls, record: Any) -> Any:
        # In older versions scores could be corrected after training.
        if not isinstance(record, dict):
            return record
        record = dict(record)
        if record.pop("calibration", None) is not None:
            raise ValueError("its scores were calibrated, which lst no longer does")
        if isinstance(made := record.get("made_with"), dict):
            record["made_with"] = {k: v for k, v in made.items() if k != "correction of scores"}
        return record


class FileMetrics(_Evaluation):
    """Evaluation of a results file: what `lst score --json` prints; None for what was left out."""

    segm: Scores | None
    bbox: Scores | None


def comparable(history: Sequence[Metrics]) -> list[Metrics]:
    """Evaluations on the validation file of the last one, and those that do not say on which."""
    return [
        metrics
        for metrics in history
        if metrics.annotations_sha256 in ("", history[-1].annotations_sha256)
        or not history[-1].annotations_sha256
    ]


def forgetting(history: Sequence[Metrics], iou_type: IouType = "segm") -> dict[int, float]:
    """By phase: AP of its classes right after that phase, minus their AP in the last phase.

    The last phase is left out, and so are phases whose classes have no ground truth or that were
    evaluated on another validation file. The history is that of one split, in any order.
    """
    in_order = comparable(sorted(history, key=lambda metrics: metrics.phase))
    lost = {}
    for metrics in in_order[:-1]:
        learned, now = (
            getattr(one, iou_type).groups[metrics.phase].AP for one in (metrics, in_order[-1])
        )
        if learned is not None and now is not None:
            lost[metrics.phase] = learned - now
    return lost


Kind = Literal["classification", "localisation", "both", "duplicate", "background", "missed"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ErrorShares(Record):
    """What went wrong with a set of classes, and what it costs; None if none has ground truth."""

    classes: Count
    with_ground_truth: Count  # those of them that AP rests on
    AP50: Fraction | None
    # Errors of each kind: detections by the class they claim, missed annotations by their own.
    counts: dict[Kind, Count]
    # What AP50 would gain if the errors of one kind were fixed.
    dAP50: dict[Kind, Fraction | None]  # noqa: N815  (what TIDE calls it)


class ErrorBin(ErrorShares):
    """The same for the classes in one bin of training instances, [low, high)."""

    bin: str
    low: Count
    high: Count | None  # None for no bound


class ErrorAnalysis(Record):
    """Where AP50 is lost: the content of `errors.json`."""

    format: Literal[1] = 1
    iou_type: IouType
    images: Count
    annotations: Count  # that count
    right: Count  # detections that match one of them
    all: ErrorShares
    bins: tuple[ErrorBin, ...]  # empty if training instances are not known


Way = Literal["random", "mean-feature", "generated"]
"""How classifier rows of new classes are written without training."""

# What tables call them, the least informed first.
WAYS: dict[Way, str] = {way: way.replace("-", " ") for way in get_args(Way)}


class InstantMetrics(Record):
    """A phase's classes before any training, by how their classifier rows were written."""

    format: Literal[1] = 1
    phase: Annotated[int, Field(ge=1)]
    rows: Annotated[dict[Way, Metrics], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_phases(self) -> InstantMetrics:
        for way, metrics in self.rows.items():
            groups = [group.phase for group in metrics.segm.groups]
            if metrics.phase != self.phase or groups != list(range(self.phase + 1)):
                raise ValueError(f"the {way} rows were evaluated in another phase")
        return self


def load_instant(path: Path, phase: int) -> InstantMetrics | None:
    """Read what `lst eval --instant` wrote of a phase; None if there is no such file."""
    if not path.exists():
        return None
    hint = f"lst eval --instant --phase {phase}"
    found = load_record(InstantMetrics, path, hint)
    if found.phase != phase:
        raise LstError(f"{path}: phase: it belongs to phase {found.phase}", hint)
    return found
