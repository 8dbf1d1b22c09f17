from __future__ import annotations

import copy
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lst_cli.ap.detections import FIXED_AP, Cap, gather_detections
from lst_cli.ap.ground_truth import GroundTruth
from lst_cli.ap.lvis_ap import average_precision
from lst_cli.ap.matching import match_detections
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError

Score = Callable[..., Any]
ONE = pytest.approx(1.0)  # lvis-api divides by one and a hair
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]
RECALLS = ["AR", "ARs", "ARm", "ARl"]
FIRST, SECOND, THIRD = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0], [90.0, 0.0, 40.0, 40.0]


def one_class(draw: types.SimpleNamespace, boxes: list[list[float]]) -> dict[str, Any]:
    return {
        "images": [draw.image(5, [], [])],
        "annotations": [draw.annotation(n, 5, 1, box) for n, box in enumerate(boxes)],
        "categories": [{"id": 1, "frequency": "r"}, {"id": 2, "frequency": "f"}],
    }


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_a_wrong_detection_between_two_right_ones_costs_a_sixth(
    draw: types.SimpleNamespace, score: Score, iou_type: Any
) -> None:
    truth = one_class(draw, [FIRST, SECOND])  # ids 0 and 1
    found = [
        draw.detection(5, 1, 0.7, SECOND),
        draw.detection(5, 1, 0.9, FIRST),
        draw.detection(5, 1, 0.8, THIRD),
    ]
    result = score(truth, found, iou_type, [1])
    # precision 1 up to recall 0.5 (51 of 101 points), then 2 right of 3
    assert result.summary["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.summary["AP50"] == pytest.approx(0.8349834983)
    assert result.summary["APr"] == result.summary["AP"]
    assert result.summary["APf"] == -1
    assert result.summary["AR"] == 1.0
    assert result.precision.shape == (10, 101, 1, 4)
    assert result.recall.shape == (10, 1, 4)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_an_annotation_with_the_id_0_counts_here_though_not_in_lvis_api(
    draw: types.SimpleNamespace, score: Score, reference: Callable[..., Any], iou_type: Any
) -> None:
    # lvis-api stores the id of what a detection matched, and takes 0 for no match.
    truth = one_class(draw, [FIRST, SECOND])
    found = [draw.detection(5, 1, 0.9, FIRST), draw.detection(5, 1, 0.7, SECOND)]
    ours = score(truth, found, iou_type)
    assert ours.summary["AP"] == ONE
    assert reference(truth, found, iou_type).results["AP"] < 0.6
    truth["annotations"][0]["id"] = 7
    assert reference(truth, found, iou_type).results["AP"] == ours.summary["AP"]


def test_iou_decides_which_thresholds_a_detection_passes(
    draw: types.SimpleNamespace, score: Score
) -> None:
    truth = one_class(draw, [[0.0, 0.0, 20.0, 20.0]])
    found = [draw.detection(5, 1, 0.9, [0.0, 0.0, 20.0, 15.0])]  # IoU exactly 0.75
    result = score(truth, found, "segm", [1])
    assert result.summary["AP50"] == ONE
    assert result.summary["AP75"] == ONE
    assert result.summary["AP"] == pytest.approx(0.6)  # 0.50 to 0.75, of 0.50 to 0.95


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_arrays_and_means_equal_lvis_apis_own(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
    seed: int,
    iou_type: Any,
) -> None:
    truth, found = draw.federated_set(seed)
    result = score(truth, found, iou_type)
    assert_same(result, reference(truth, found, iou_type))
    assert 0.05 < result.summary["AP"] < 0.95
    assert result.category_ids == tuple(range(1, 10))
    assert (result.precision[:, :, 8] == -1).all()  # named as a negative only


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_cap_takes_the_best_of_all_classes_of_an_image(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
    iou_type: Any,
) -> None:
    truth, found = draw.federated_set(3, images=2, per_image=700)
    capped = score(truth, found, iou_type)
    assert_same(capped, reference(truth, found, iou_type))
    ten = score(truth, found, iou_type, cap=Cap(per_image=10))
    assert_same(ten, reference(truth, found, iou_type, max_detections=10))
    assert ten.summary["AR"] < capped.summary["AR"]


def test_fixed_ap_takes_ten_thousand_of_a_class_however_many_an_image(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
) -> None:
    truth, found = draw.federated_set(3, images=2, per_image=700)
    fixed = score(truth, found, "bbox", cap=FIXED_AP)
    assert_same(fixed, reference(truth, found, "bbox", max_detections=-1))
    assert fixed.summary["AR"] > score(truth, found, "bbox").summary["AR"]


def test_more_than_255_masks_of_one_class_are_measured(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
) -> None:
    truth = one_class(draw, [FIRST, SECOND])
    for number, each in enumerate(truth["annotations"], start=1):
        each["id"] = number
    found = [draw.detection(5, 1, n / 300, FIRST if n % 3 else SECOND) for n in range(300)]
    assert_same(score(truth, found, "segm"), reference(truth, found, "segm"))


def test_a_subset_of_the_classes_in_any_order_gives_their_columns(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
) -> None:
    truth, found = draw.federated_set(4)
    whole = score(truth, found, "segm")
    part = score(truth, found, "segm", [6, 2, 3])
    np.testing.assert_array_equal(part.precision, whole.precision[:, :, [5, 1, 2]])
    assert_same(part, reference(truth, found, "segm", category_ids=[6, 2, 3]))


def test_a_detection_counts_only_where_its_class_was_looked_for(
    draw: types.SimpleNamespace, score: Score
) -> None:
    truth = one_class(draw, [FIRST])
    right = draw.detection(5, 1, 0.5, FIRST)
    truth["images"] += [draw.image(6, [1], []), draw.image(7, [], []), draw.image(8, [], [1])]

    def ap(*found: dict[str, Any]) -> float:
        return float(score(truth, list(found), "bbox", [1]).summary["AP"])

    assert ap(right, draw.detection(7, 1, 0.9, FIRST)) == ONE  # nobody looked
    assert ap(right, draw.detection(8, 1, 0.9, FIRST)) == ONE  # and nobody says it is absent
    assert ap(right, draw.detection(6, 1, 0.9, FIRST)) == pytest.approx(0.5)  # known to be absent


def test_an_unmatched_detection_is_not_wrong_where_not_every_instance_is_outlined(
    draw: types.SimpleNamespace, score: Score
) -> None:
    truth = one_class(draw, [FIRST])
    found = [draw.detection(5, 1, 0.5, FIRST), draw.detection(5, 1, 0.9, THIRD)]
    assert score(truth, found, "bbox", [1]).summary["AP"] < 0.51
    truth["images"][0]["not_exhaustive_category_ids"] = [1]
    assert score(truth, found, "bbox", [1]).summary["AP"] == ONE


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_without_detections_classes_with_ground_truth_score_zero(
    draw: types.SimpleNamespace, score: Score, iou_type: Any
) -> None:
    result = score(one_class(draw, [FIRST]), [], iou_type)
    assert (result.precision[:, :, 0, 0] == 0).all()
    assert (result.precision[:, :, 1] == -1).all()
    assert (result.recall[:, 0, 0] == 0).all()
    assert result.summary["AP"] == 0
    assert result.summary["APr"] == 0
    assert result.summary["APf"] == -1


def test_without_ground_truth_every_mean_is_minus_one(
    draw: types.SimpleNamespace, score: Score
) -> None:
    found = [draw.detection(5, 1, 0.5, FIRST)]
    result = score(one_class(draw, []), found, "segm")
    assert set(result.summary.values()) == {-1.0}
    assert list(result.summary) == NAMES + RECALLS


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_nothing_at_all_scores_nothing(score: Score, iou_type: Any) -> None:
    result = score({"images": [], "annotations": [], "categories": []}, [], iou_type)
    assert result.precision.shape == (10, 101, 0, 4)
    assert set(result.summary.values()) == {-1.0}


def test_small_medium_and_large_go_by_the_mask_although_boxes_are_given(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
) -> None:
    truth = one_class(draw, [FIRST])
    truth["annotations"][0]["id"] = 1
    found = [draw.detection(5, 1, 0.9, THIRD), draw.detection(5, 1, 0.8, FIRST)]
    found[0]["bbox"] = [0.0, 0.0, 1.0, 1.0]  # small as a box; as a mask it is medium
    found[0]["segmentation"] = draw.rle_of(THIRD)
    result = score(truth, found, "segm")
    assert result.summary["APs"] == ONE
    assert_same(result, reference(truth, found, "segm"))


@pytest.mark.parametrize(
    ("side", "ranges"), [(31.0, "s"), (32.0, "sm"), (33.0, "m"), (96.0, "ml"), (97.0, "l")]
)
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_a_miss_at_the_edge_of_two_ranges_of_area_is_wrong_in_both(
    draw: types.SimpleNamespace,
    score: Score,
    reference: Callable[..., Any],
    assert_same: Callable[..., None],
    side: float,
    ranges: str,
    iou_type: Any,
) -> None:
    truth = one_class(draw, [FIRST, [20.0, 0.0, 40.0, 40.0], [0.0, 40.0, 100.0, 100.0]])
    for number, each in enumerate(truth["annotations"], start=1):
        each["id"] = number
    found = [draw.detection(5, 1, 0.5, each["bbox"]) for each in truth["annotations"]]
    found.append(draw.detection(5, 1, 0.9, [110.0, 0.0, side, side]))
    result = score(truth, found, iou_type)
    assert_same(result, reference(truth, found, iou_type))
    hurt = [letter for letter in "sml" if result.summary[f"AP{letter}"] < 0.6]
    assert hurt == list(ranges)


def test_a_class_without_frequency_leaves_the_three_groups_but_not_ap(
    draw: types.SimpleNamespace, score: Score
) -> None:
    truth = one_class(draw, [FIRST])
    del truth["categories"][0]["frequency"]
    found = [draw.detection(5, 1, 0.5, FIRST)]
    summary = score(truth, found, "segm").summary
    assert [summary[name] for name in ("AP", "APr", "APc", "APf")] == [ONE, -1, -1, -1]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_ground_truth_stays_as_it_was(
    draw: types.SimpleNamespace,
    build: Callable[..., GroundTruth],
    save: Callable[..., ResultsFile],
    iou_type: Any,
) -> None:
    content, found = draw.federated_set(5, images=4)
    truth = build(content)
    known = copy.deepcopy(vars(truth))
    average_precision(match_detections(truth, gather_detections(truth, save(found), iou_type)))
    for name, value in vars(truth).items():
        assert np.array_equal(value, known[name]), name


def test_progress_counts_the_classes(draw: types.SimpleNamespace, score: Score) -> None:
    seen: list[tuple[int, int | None]] = []
    score(
        one_class(draw, [FIRST]), [], "bbox",
        progress=lambda what, done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("cap", [Cap(per_image=0), Cap(per_image=-1), Cap(None, 0)])
def test_a_cap_that_leaves_nothing_is_refused(
    draw: types.SimpleNamespace, score: Score, cap: Cap
) -> None:
    with pytest.raises(LstError, match=r"the cap per_(image|class) on detections is") as error:
        score(one_class(draw, [FIRST]), [], "bbox", cap=cap)
    assert error.value.hint


GUARD = """
import json, logging, pathlib, sys, tempfile
import numpy
def state():
    root = logging.getLogger()
    return [root.level, [str(h) for h in root.handlers], hasattr(numpy, "float")]
before = state()
import lst_cli.ap.bootstrap, lst_cli.ap.scoring
from lst_cli.annotations.read import read_dataset
from lst_cli.ap.ground_truth import build_ground_truth
from lst_cli.ap.detections import gather_detections
from lst_cli.ap.lvis_ap import average_precision
from lst_cli.ap.matching import match_detections
from lst_cli.ap.reference import reference_ap
from lst_cli.ap.results_file import ResultsFile
image = dict(id=1, height=9, width=9, neg_category_ids=[], not_exhaustive_category_ids=[])
thing = dict(id=1, image_id=1, category_id=1, area=4, bbox=[0, 0, 2, 2])
kind = dict(id=1, name="thing", frequency="r")
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "truth.json"
    path.write_text(json.dumps(dict(images=[image], annotations=[thing], categories=[kind])))
    truth = build_ground_truth(read_dataset(path), masks=False)
    path.write_text(json.dumps([dict(image_id=1, category_id=1, score=1.0, bbox=[0, 0, 2, 2])]))
    ours = average_precision(
        match_detections(truth, gather_detections(truth, ResultsFile(path), "bbox"))
    )
    for result in (ours, reference_ap(truth, ResultsFile(path), iou_type="bbox")):
        assert result.summary["AP"] > 0.999
{culprit}
heavy = [n for n in sys.modules if n.split(".")[0] in ("torch", "cv2", "matplotlib", "lvis")]
assert not heavy, heavy
assert state() == before, "the process was changed"
"""


def guard(culprit: str) -> subprocess.CompletedProcess[str]:
    script = GUARD.replace("{culprit}", culprit)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def test_scoring_changes_nothing_in_the_process_and_imports_nothing_heavy() -> None:
    done = guard("")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("culprit", "complaint"),
    [
        ("logging.basicConfig()", "the process was changed"),
        ("numpy.float = float", "the process was changed"),
        ("sys.modules['lvis.eval'] = sys", "['lvis.eval']"),
        ("sys.modules['cv2'] = sys", "['cv2']"),
    ],
)
def test_that_guard_bites(culprit: str, complaint: str) -> None:
    done = guard(culprit)
    assert done.returncode == 1
    assert f"AssertionError: {complaint}" in done.stderr
