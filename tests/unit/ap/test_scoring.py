from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from lst_cli.ap.lvis_ap import ApResult, TrainBins, iou_metrics, mean_ap, per_class_ap, scores
from lst_cli.ap.metrics import FileMetrics, InstantMetrics, Metrics, forgetting, load_instant
from lst_cli.errors import LstError
from lst_cli.phases.bins import parse_bins

NONE = -1.0
FIELDS = {
    "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "interval", "bins",
    "per_class",
}  # fmt: skip
INSTANCES = {40: 1000, 10: 999, 30: 10, 20: 9, 50: 1}
BINS = TrainBins(INSTANCES)
GROUPS = [[40, 10], [30], [20, 50]]
EVERY = range(5)


def result_of(class_ap, category_ids):
    """Give every class one precision everywhere, -1 for none; at IoU 0.75 half of it."""
    precision = np.broadcast_to(
        np.array(class_ap)[None, None, :, None], (10, 101, len(class_ap), 4)
    ).copy()
    precision[5] = np.where(precision[5] > -1, precision[5] / 2, -1)
    mean = mean_ap(precision, range(len(class_ap)))
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR"]
    summary = dict.fromkeys(names, -1.0) | {"AP": -1.0 if mean is None else mean, "AR": 0.25}
    no_resample = np.zeros((0, len(class_ap)))
    return ApResult(precision, precision[:, 0], tuple(category_ids), summary, no_resample)


ORDER = [40, 10, 30, 20, 50]
ALL = result_of([0.8, NONE, 0.4, 0.2, 0.1], ORDER)


def test_per_class_ap_is_the_mean_over_iou_and_recall_thresholds():
    ap = per_class_ap(ALL.precision)
    assert ap[[0, 2, 3, 4]] == pytest.approx([0.76, 0.38, 0.19, 0.095])  # 9.5 of 10 thresholds
    assert math.isnan(ap[1])
    assert per_class_ap(ALL.precision, "AP75")[0] == pytest.approx(0.4)
    assert per_class_ap(ALL.precision, "AP50")[0] == pytest.approx(0.8)
    assert per_class_ap(np.empty((10, 101, 0, 4))).shape == (0,)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_over_all_classes_and_over_frequent_ones_is_lvis_apis(draw, score, seed):
    result = score(*draw.federated_set(seed), "segm")
    assert mean_ap(result.precision, range(9)) == result.summary["AP"]
    assert mean_ap(result.precision, range(9), "AP50") == result.summary["AP50"]
    assert mean_ap(result.precision, range(9), "AP75") == result.summary["AP75"]
    assert mean_ap(result.precision, [0, 1]) == result.summary["APf"]


def test_bins_are_half_open_and_say_how_many_classes_they_rest_on():
    bins = {each.bin: each for each in scores(ALL, BINS).bins}
    assert list(bins) == ["=1", "<5", "<10", "10-99", "100-999", ">=1000"]
    assert [each.classes for each in bins.values()] == [1, 1, 2, 1, 1, 1]
    assert [each.with_ground_truth for each in bins.values()] == [1, 1, 2, 1, 0, 1]
    assert pytest.approx(0.15) == bins["<10"].AP50
    assert pytest.approx(0.4) == bins["10-99"].AP50
    assert pytest.approx(0.2) == bins["10-99"].AP75
    assert bins["100-999"].AP is None
    assert pytest.approx(0.76) == bins[">=1000"].AP
    assert (bins["10-99"].low, bins["10-99"].high, bins[">=1000"].high) == (10, 100, None)
    assert {each.interval for each in bins.values()} == {None}


def test_a_bin_without_classes_is_there_with_nothing_in_it():
    (empty,) = scores(ALL, TrainBins(INSTANCES, parse_bins("2-8"))).bins
    assert (empty.classes, empty.with_ground_truth, empty.AP, empty.interval) == (0, 0, None, None)


@settings(deadline=None, max_examples=50)
@given(
    ap=hnp.arrays(float, 12, elements=st.floats(0, 1)),
    known=hnp.arrays(bool, 12),
    instances=st.lists(st.integers(1, 40), min_size=12, max_size=12),
)
def test_bins_that_partition_the_classes_weighted_by_ground_truth_give_back_ap(
    ap, known, instances
):
    result = result_of(np.where(known, ap, NONE).tolist(), list(range(12)))
    bins = scores(result, TrainBins(dict(enumerate(instances)), parse_bins("=1,2-9,>=10"))).bins
    assert sum(each.classes for each in bins) == 12
    assert sum(each.with_ground_truth for each in bins) == known.sum()
    weighted = sum((each.AP or 0) * each.with_ground_truth for each in bins)
    overall = mean_ap(result.precision, range(12)) or 0
    assert weighted == pytest.approx(overall * known.sum(), abs=1e-11)


def test_groups_are_the_classes_each_phase_brought():
    groups = iou_metrics(ALL, GROUPS, BINS).groups
    assert [each.phase for each in groups] == [0, 1, 2]
    assert [each.classes for each in groups] == [2, 1, 2]
    assert [each.with_ground_truth for each in groups] == [1, 1, 2]
    assert [each.AP for each in groups] == pytest.approx([0.76, 0.38, 0.1425])


@pytest.mark.parametrize(
    ("groups", "old", "new"),
    [
        (GROUPS, 0.57, 0.1425),
        ([[40, 10, 30, 20, 50]], None, 0.35625),
        ([[40, 20, 30, 50], [10]], 0.35625, None),
    ],
)
def test_old_new_and_all(groups, old, new):
    found = iou_metrics(ALL, groups, BINS)
    assert (found.old, found.new, found.all) == pytest.approx((old, new, 0.35625))


def test_arrays_over_other_classes_than_the_seen_ones_are_a_bug():
    with pytest.raises(ValueError, match="not over the classes"):
        iou_metrics(result_of([0.8, 0.5], [40, 10]), GROUPS[:2], BINS)


def test_the_numbers_of_a_file_are_those_of_a_phase_without_its_phases():
    of_phase = iou_metrics(ALL, GROUPS, BINS)
    of_file = scores(ALL, BINS)
    more = {"old", "new", "all", "groups"}
    assert of_file.model_dump() == of_phase.model_dump(exclude=more)
    assert of_file.per_class == pytest.approx({40: 0.76, 30: 0.38, 20: 0.19, 50: 0.095})
    assert (of_file.APs, of_file.AR, of_file.interval) == (None, 0.25, None)
    assert of_phase.all == of_phase.AP == of_file.AP


def test_no_classes_have_no_numbers():
    nothing = scores(result_of([], []), TrainBins({}))
    assert (nothing.AP, nothing.per_class) == (None, {})
    assert [each.classes for each in nothing.bins] == [0] * 6


def test_intervals_are_of_the_same_classes_as_their_ap():
    nan = np.nan
    resampled = np.array(  # 40 and 30 vary, 20 does not, 50 is often missing
        [[0.75, nan, 0.30, 0.19, nan], [0.77, nan, 0.46, 0.19, 0.1], [0.76, nan, 0.38, 0.19, nan]]
    )
    found = scores(replace(ALL, resampled=resampled), BINS)
    bins = {each.bin: each.interval for each in found.bins}
    assert bins[">=1000"] == pytest.approx((0.76 - 0.0196, 0.76 + 0.0196))
    assert bins["10-99"] == pytest.approx((0.38 - 0.1568, 0.38 + 0.1568))
    assert bins["=1"] is None  # one resample tells no spread
    assert bins["100-999"] is None  # its class has no ground truth
    assert np.searchsorted(found.interval, found.AP) == 1  # type: ignore[arg-type]


def test_intervals_end_at_nothing_and_at_everything():
    resampled = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    low, high = (result_of([ap], [1]) for ap in (0.01, 0.99))
    found = [scores(replace(one, resampled=resampled[:, :1])).interval for one in (low, high)]
    assert found == [pytest.approx((0.0, 0.7935)), pytest.approx((0.1565, 1.0))]


# --- records -------------------------------------------------------------------------------------


def metrics_of(class_ap, phase):
    """What a phase's evaluation would be, of the AP of each class seen so far."""
    numbers = iou_metrics(result_of(class_ap, ORDER[: len(class_ap)]), GROUPS[: phase + 1], BINS)
    same = {"images": 7, "detections": 70, "seconds": 1.5, "federated": True}
    return Metrics(phase=phase, segm=numbers, bbox=numbers, **same)


BASE = metrics_of([0.8, 0.5], 0)
PLAIN = BASE.model_dump(mode="json")


def test_the_record_has_the_documented_fields_and_reads_back_from_json():
    metrics = metrics_of([0.8, NONE, 0.4, 0.2, 0.1], 2)
    plain = json.loads(metrics.model_dump_json())
    assert set(plain) >= {
        "format", "phase", "images", "detections", "seconds", "federated", "fixed_ap",
        "segm", "bbox",
    }  # fmt: skip
    assert set(plain["segm"]) == FIELDS | {"old", "new", "all", "groups"}
    assert (plain["format"], plain["fixed_ap"], plain["segm"]["APs"]) == (1, False, None)
    assert list(plain["segm"]["per_class"]) == ["40", "30", "20", "50"]
    assert plain["segm"]["bins"][5]["high"] is None
    assert Metrics.model_validate_json(json.dumps(plain)) == metrics


def test_metrics_from_before_there_were_intervals_are_read():
    plain = copy.deepcopy(PLAIN)
    for name in ("format", "fixed_ap", "annotations_sha256", "made_with", "detections_sha256"):
        del plain[name]
    for numbers in (plain["segm"], plain["bbox"]):
        for each in (numbers, *numbers["bins"]):
            del each["interval"]
    assert Metrics.model_validate(plain) == BASE


def test_older_metrics_say_that_scores_were_not_calibrated_and_others_are_refused():
    made = {"model_sha256": "0", "correction of scores": None}
    older = Metrics.model_validate(PLAIN | {"calibration": None, "made_with": made})
    assert older == BASE.model_copy(update={"made_with": {"model_sha256": "0"}})
    for calibration in (0.3, {"way": "phases", "strength": 0.0}):
        with pytest.raises(ValidationError, match="its scores were calibrated"):
            Metrics.model_validate(PLAIN | {"calibration": calibration})


def test_the_record_of_a_file_has_no_phases_and_may_have_masks_or_boxes_only():
    numbers = scores(result_of([0.8, 0.5], [40, 10]), BINS)
    metrics = FileMetrics(
        images=7, detections=0, seconds=0, federated=False, fixed_ap=True, segm=None, bbox=numbers
    )
    plain = json.loads(metrics.model_dump_json())
    assert (plain["segm"], plain["fixed_ap"]) == (None, True)
    assert "phase" not in plain
    assert set(plain["bbox"]) == FIELDS
    assert FileMetrics.model_validate_json(json.dumps(plain)) == metrics


def test_unknown_fields_numbers_outside_0_to_1_and_changes_are_refused():
    wrong = PLAIN["segm"] | {"AP": 76}
    for change in ({"extra": 1}, {"phase": -1}, {"format": 2}, {"segm": wrong}):
        with pytest.raises(ValidationError):
            Metrics.model_validate(PLAIN | change)
    with pytest.raises(ValidationError):
        Metrics.model_validate(PLAIN).phase = 3  # type: ignore[misc]


def test_forgetting_is_what_each_phases_classes_lost_since_they_were_learned():
    base, first = metrics_of([0.8, 0.6], 0), metrics_of([0.7, 0.5, 0.4], 1)
    second = metrics_of([0.6, 0.2, 0.5, NONE, NONE], 2)
    lost = forgetting([second, base, first])
    assert list(lost) == [0, 1]
    assert list(lost.values()) == pytest.approx([0.3 * 0.95, -0.1 * 0.95])
    assert forgetting([base, first], "bbox") == {0: pytest.approx(0.1 * 0.95)}
    assert list(forgetting([base, second])) == [0]  # phase 1 was not evaluated
    assert forgetting([base]) == {}
    assert forgetting([]) == {}
    unknown = metrics_of([NONE, NONE], 0)
    assert unknown.segm.AP is None
    assert forgetting([unknown, metrics_of([NONE, NONE, 0.4], 1)]) == {}


# --- instant.json --------------------------------------------------------------------------------

RECORD, OTHER = (metrics_of([0.5] * n, t).model_dump(mode="json") for n, t in ((5, 2), (3, 1)))
ROWS = {"format": 1, "phase": 2, "rows": {"mean-feature": RECORD}}


def test_instant_metrics_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "instant.json"
    assert load_instant(path, 2) is None
    written = InstantMetrics.model_validate(
        ROWS | {"rows": {"random": RECORD, "generated": RECORD}}
    )
    path.write_text(written.model_dump_json(indent=1))
    found = load_instant(path, 2)
    assert found == written
    assert found.rows["generated"].segm.per_class[30] == pytest.approx(0.475)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not valid JSON"),
        ("[]", "no JSON object"),
        (ROWS | {"format": 2}, "format: "),
        (ROWS | {"rows": {}}, "rows: "),
        (ROWS | {"more": 1}, "more: "),
        (ROWS | {"rows": {"drawn": RECORD}}, r"rows\.drawn\."),
        (ROWS | {"rows": {"random": {**RECORD, "images": -1}}}, r"rows\.random\.images: "),
        (ROWS | {"rows": {"random": OTHER}}, "the random rows were evaluated in another phase"),
        (
            ROWS | {"rows": {"random": {**RECORD, "segm": OTHER["segm"]}}},  # a group is missing
            "the random rows were evaluated in another phase",
        ),
        ({"format": 1, "phase": 1, "rows": {"random": OTHER}}, "phase: it belongs to phase 1"),
        ({"format": 1, "phase": 0, "rows": {"random": PLAIN}}, "phase: "),
    ],
)
def test_a_damaged_instant_file_names_the_place_and_the_command(tmp_path, content, reason):
    path = tmp_path / "instant.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(LstError, match=rf"instant\.json: .*{reason}") as caught:
        load_instant(path, 2)
    assert caught.value.hint == "lst eval --instant --phase 2"
    assert "\n" not in caught.value.message
