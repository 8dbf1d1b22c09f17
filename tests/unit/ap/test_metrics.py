from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from lst_cli.ap.lvis_ap import ApResult
from lst_cli.ap.metrics import FileMetrics, Metrics, forgetting
from lst_cli.ap.scoring import iou_metrics, mean_ap, scores

NONE = -1.0
INSTANCES = {40: 1000, 10: 999, 30: 10, 20: 9, 50: 1}
GROUPS = [[40, 10], [30], [20, 50]]


def result_of(class_ap: list[float], category_ids: list[int]) -> ApResult:
    """Give every class one precision everywhere, -1 for none; at IoU 0.75 half of it."""
    precision = np.broadcast_to(
        np.array(class_ap)[None, None, :, None], (10, 101, len(class_ap), 4)
    ).copy()
    precision[5] = np.where(precision[5] > -1, precision[5] / 2, -1)
    mean = mean_ap(precision)
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR"]
    summary = dict.fromkeys(names, -1.0) | {"AP": -1.0 if mean is None else mean, "AR": 0.25}
    return ApResult(precision, precision[:, 0], tuple(category_ids), summary)


def metrics_of(class_ap: list[float], category_ids: list[int], phase: int) -> Metrics:
    numbers = iou_metrics(result_of(class_ap, category_ids), GROUPS[: phase + 1], INSTANCES)
    return Metrics(
        phase=phase,
        images=7,
        detections=70,
        seconds=1.5,
        federated=True,
        segm=numbers,
        bbox=numbers,
    )


def test_the_record_has_the_documented_fields_and_reads_back_from_json() -> None:
    metrics = metrics_of([0.8, NONE, 0.4, 0.2, 0.1], [40, 10, 30, 20, 50], 2)
    plain = json.loads(metrics.model_dump_json())
    assert set(plain) >= {
        "format", "phase", "images", "detections", "seconds", "federated", "fixed_ap",
        "segm", "bbox",
    }  # fmt: skip
    assert set(plain["segm"]) == {
        "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "interval",
        "old", "new", "all", "bins", "groups", "per_class",
    }  # fmt: skip
    assert plain["format"] == 1
    assert plain["fixed_ap"] is False
    assert plain["segm"]["APs"] is None
    assert plain["segm"]["AR"] == 0.25
    assert plain["segm"]["all"] == plain["segm"]["AP"]
    assert list(plain["segm"]["per_class"]) == ["40", "30", "20", "50"]
    assert plain["bbox"]["per_class"]["30"] == pytest.approx(0.38)
    assert plain["segm"]["bins"][5]["high"] is None
    assert Metrics.model_validate_json(json.dumps(plain)) == metrics
    assert json.dumps(metrics.model_dump(mode="json")) == json.dumps(plain)


def test_metrics_from_before_there_were_intervals_are_read() -> None:
    plain = metrics_of([0.8, 0.5], [40, 10], 0).model_dump(mode="json")
    for name in set(plain) - {
        "format", "phase", "images", "detections", "seconds", "federated", "segm", "bbox"
    }:  # fmt: skip
        del plain[name]
    for numbers in (plain["segm"], plain["bbox"]):
        del numbers["interval"]
        for each in numbers["bins"]:
            del each["interval"]
    assert Metrics.model_validate(plain) == metrics_of([0.8, 0.5], [40, 10], 0)


def test_older_metrics_say_that_scores_were_not_calibrated_and_others_are_refused() -> None:
    metrics = metrics_of([0.8, 0.5], [40, 10], 0)
    plain = metrics.model_dump(mode="json")
    made = {"model_sha256": "0", "correction of scores": None}
    older = Metrics.model_validate(plain | {"calibration": None, "made_with": made})
    assert older == metrics.model_copy(update={"made_with": {"model_sha256": "0"}})
    for calibration in (0.3, {"way": "phases", "strength": 0.0}):
        with pytest.raises(ValidationError, match="its scores were calibrated"):
            Metrics.model_validate(plain | {"calibration": calibration})


def test_the_record_of_a_file_has_no_phases_and_may_have_masks_or_boxes_only() -> None:
    numbers = scores(result_of([0.8, 0.5], [40, 10]), INSTANCES)
    metrics = FileMetrics(
        images=7, detections=0, seconds=0, federated=False, fixed_ap=True, segm=None, bbox=numbers
    )
    plain = json.loads(metrics.model_dump_json())
    assert plain["segm"] is None
    assert plain["fixed_ap"] is True
    assert "phase" not in plain
    assert set(plain["bbox"]) == {
        "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "interval",
        "bins", "per_class",
    }  # fmt: skip
    assert FileMetrics.model_validate_json(json.dumps(plain)) == metrics


def test_unknown_fields_numbers_outside_0_to_1_and_changes_are_refused() -> None:
    plain = metrics_of([0.8, 0.5], [40, 10], 0).model_dump(mode="json")
    for change in (
        {"extra": 1},
        {"phase": -1},
        {"format": 2},
        {"segm": plain["segm"] | {"AP": 76}},
    ):
        with pytest.raises(ValidationError):
            Metrics.model_validate(plain | change)
    with pytest.raises(ValidationError):
        Metrics.model_validate(plain).phase = 3  # type: ignore[misc]


def test_the_base_phase_has_no_old_classes_and_one_group() -> None:
    metrics = metrics_of([0.8, 0.5], [40, 10], 0)
    assert metrics.segm.old is None
    assert metrics.segm.new == metrics.segm.all == metrics.segm.AP
    assert len(metrics.segm.groups) == 1


def test_forgetting_is_what_each_phases_classes_lost_since_they_were_learned() -> None:
    base = metrics_of([0.8, 0.6], [40, 10], 0)
    first = metrics_of([0.7, 0.5, 0.4], [40, 10, 30], 1)
    second = metrics_of([0.6, 0.2, 0.5, NONE, NONE], [40, 10, 30, 20, 50], 2)
    lost = forgetting([second, base, first])
    assert list(lost) == [0, 1]
    assert list(lost.values()) == pytest.approx([0.3 * 0.95, -0.1 * 0.95])
    assert forgetting([base, first], "bbox") == {0: pytest.approx(0.1 * 0.95)}
    assert list(forgetting([base, second])) == [0]  # phase 1 was not evaluated
    assert forgetting([base]) == {}
    assert forgetting([]) == {}


def test_classes_without_ground_truth_forget_nothing() -> None:
    base = metrics_of([NONE, NONE], [40, 10], 0)
    first = metrics_of([NONE, NONE, 0.4], [40, 10, 30], 1)
    assert base.segm.AP is None
    assert forgetting([base, first]) == {}
