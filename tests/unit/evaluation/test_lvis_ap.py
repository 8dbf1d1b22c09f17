from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from lst_cli.errors import LstError
from lst_cli.evaluation import lvis_package
from lst_cli.evaluation.lvis_ap import ApResult, lvis_ap

SHARED = Path(
    os.environ.get("LST_SHARED_DATA", Path(__file__).parents[3] / ".." / "shared" / "data")
)
ONE = pytest.approx(1.0)  # lvis-api divides by one and a hair
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]
RECALLS = ["AR", "ARs", "ARm", "ARl"]


def assert_same(result: ApResult, evaluation: Any, max_detections: int = 300) -> None:
    np.testing.assert_array_equal(result.precision, evaluation.eval["precision"])
    np.testing.assert_array_equal(result.recall, evaluation.eval["recall"])
    expected = {name: evaluation.results[name] for name in NAMES}
    expected |= {name: evaluation.results[f"{name}@{max_detections}"] for name in RECALLS}
    assert result.summary == expected


def one_class(draw: types.SimpleNamespace, boxes: list[list[float]]) -> dict[str, Any]:
    return {
        "images": [draw.image(5, [], [])],
        "annotations": [draw.annotation(n, 5, 1, box) for n, box in enumerate(boxes)],
        "categories": [{"id": 1, "frequency": "r"}, {"id": 2, "frequency": "f"}],
    }


FIRST, SECOND, THIRD = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0], [90.0, 0.0, 40.0, 40.0]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_a_wrong_detection_between_two_right_ones_costs_a_sixth(
    draw: types.SimpleNamespace, iou_type: Any
) -> None:
    truth = one_class(draw, [FIRST, SECOND])  # ids 0 and 1: lvis-api itself stumbles over id 0
    found = [
        draw.detection(5, 1, 0.7, SECOND),
        draw.detection(5, 1, 0.9, FIRST),
        draw.detection(5, 1, 0.8, THIRD),
    ]
    result = lvis_ap(truth, found, iou_type=iou_type, category_ids=[1])
    # precision 1 up to recall 0.5 (51 of 101 points), then 2 right of 3
    assert result.summary["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.summary["AP50"] == pytest.approx(0.8349834983)
    assert result.summary["APr"] == result.summary["AP"]
    assert result.summary["APf"] == -1
    assert result.summary["AR"] == 1.0
    assert result.precision.shape == (10, 101, 1, 4)
    assert result.recall.shape == (10, 1, 4)


def test_iou_decides_which_thresholds_a_detection_passes(draw: types.SimpleNamespace) -> None:
    truth = one_class(draw, [[0.0, 0.0, 20.0, 20.0]])
    found = [draw.detection(5, 1, 0.9, [0.0, 0.0, 20.0, 15.0])]  # IoU exactly 0.75
    result = lvis_ap(truth, found, iou_type="segm", category_ids=[1])
    assert result.summary["AP50"] == ONE
    assert result.summary["AP75"] == ONE
    assert result.summary["AP"] == pytest.approx(0.6)  # 0.50 to 0.75, of 0.50 to 0.95


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_arrays_and_means_equal_lvis_apis_own(
    draw: types.SimpleNamespace, reference: Callable[..., Any], seed: int, iou_type: Any
) -> None:
    truth, found = draw.federated_set(seed)
    result = lvis_ap(truth, found, iou_type=iou_type, category_ids=range(1, 10))
    assert_same(result, reference(truth, found, iou_type))
    assert 0.05 < result.summary["AP"] < 0.95
    assert result.category_ids == tuple(range(1, 10))
    assert (result.precision[:, :, 8] == -1).all()  # named as a negative only


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_cap_takes_the_best_of_all_classes_of_an_image(
    draw: types.SimpleNamespace, reference: Callable[..., Any], iou_type: Any
) -> None:
    truth, found = draw.federated_set(3, images=2, per_image=700)
    capped = lvis_ap(truth, found, iou_type=iou_type, category_ids=range(1, 10))
    assert_same(capped, reference(truth, found, iou_type))
    ten = lvis_ap(truth, found, iou_type=iou_type, category_ids=range(1, 10), max_detections=10)
    assert_same(ten, reference(truth, found, iou_type, max_detections=10), 10)
    assert ten.summary["AR"] < capped.summary["AR"]


def test_more_than_255_masks_of_one_class_are_measured(
    draw: types.SimpleNamespace, reference: Callable[..., Any]
) -> None:
    truth = one_class(draw, [FIRST, SECOND])
    for number, each in enumerate(truth["annotations"], start=1):
        each["id"] = number
    found = [draw.detection(5, 1, n / 300, FIRST if n % 3 else SECOND) for n in range(300)]
    result = lvis_ap(truth, found, iou_type="segm", category_ids=[1, 2])
    assert_same(result, reference(truth, found, "segm"))


def test_a_subset_of_the_classes_in_any_order_gives_their_columns(
    draw: types.SimpleNamespace, reference: Callable[..., Any]
) -> None:
    truth, found = draw.federated_set(4)
    whole = lvis_ap(truth, found, iou_type="segm", category_ids=range(1, 10))
    part = lvis_ap(truth, found, iou_type="segm", category_ids=[6, 2, 3])
    np.testing.assert_array_equal(part.precision, whole.precision[:, :, [5, 1, 2]])
    assert_same(part, reference(truth, found, "segm", category_ids=[6, 2, 3]))


def test_a_detection_counts_only_where_its_class_was_looked_for(
    draw: types.SimpleNamespace,
) -> None:
    truth = one_class(draw, [FIRST])
    right = draw.detection(5, 1, 0.5, FIRST)
    truth["images"] += [draw.image(6, [1], []), draw.image(7, [], []), draw.image(8, [], [1])]

    def ap(*found: dict[str, Any]) -> float:
        return lvis_ap(truth, found, iou_type="bbox", category_ids=[1]).summary["AP"]

    assert ap(right, draw.detection(7, 1, 0.9, FIRST)) == ONE  # nobody looked
    assert ap(right, draw.detection(8, 1, 0.9, FIRST)) == ONE  # and nobody says it is absent
    assert ap(right, draw.detection(6, 1, 0.9, FIRST)) == pytest.approx(0.5)  # known to be absent


def test_an_unmatched_detection_is_not_wrong_where_not_every_instance_is_outlined(
    draw: types.SimpleNamespace,
) -> None:
    truth = one_class(draw, [FIRST])
    found = [draw.detection(5, 1, 0.5, FIRST), draw.detection(5, 1, 0.9, THIRD)]
    assert lvis_ap(truth, found, iou_type="bbox", category_ids=[1]).summary["AP"] < 0.51
    truth["images"][0]["not_exhaustive_category_ids"] = [1]
    assert lvis_ap(truth, found, iou_type="bbox", category_ids=[1]).summary["AP"] == ONE


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_without_detections_classes_with_ground_truth_score_zero(
    draw: types.SimpleNamespace, iou_type: Any
) -> None:
    result = lvis_ap(one_class(draw, [FIRST]), [], iou_type=iou_type, category_ids=[1, 2])
    assert (result.precision[:, :, 0, 0] == 0).all()
    assert (result.precision[:, :, 1] == -1).all()
    assert (result.recall[:, 0, 0] == 0).all()
    assert result.summary["AP"] == 0
    assert result.summary["APr"] == 0
    assert result.summary["APf"] == -1


def test_without_ground_truth_every_mean_is_minus_one(draw: types.SimpleNamespace) -> None:
    found = [draw.detection(5, 1, 0.5, FIRST)]
    result = lvis_ap(one_class(draw, []), found, iou_type="segm", category_ids=[1, 2])
    assert set(result.summary.values()) == {-1.0}
    assert list(result.summary) == NAMES + RECALLS


def test_small_medium_and_large_go_by_the_mask_although_boxes_are_given(
    draw: types.SimpleNamespace, reference: Callable[..., Any]
) -> None:
    truth = one_class(draw, [FIRST])
    truth["annotations"][0]["id"] = 1
    found = [draw.detection(5, 1, 0.9, THIRD), draw.detection(5, 1, 0.8, FIRST)]
    found[0]["bbox"] = [0.0, 0.0, 1.0, 1.0]  # small as a box; as a mask it is medium
    found[0]["segmentation"] = draw.rle_of(THIRD)
    result = lvis_ap(truth, found, iou_type="segm", category_ids=[1, 2])
    assert result.summary["APs"] == ONE
    assert_same(result, reference(truth, found, "segm"))


def test_a_class_without_frequency_leaves_the_three_groups_but_not_ap(
    draw: types.SimpleNamespace,
) -> None:
    truth = one_class(draw, [FIRST])
    del truth["categories"][0]["frequency"]
    found = [draw.detection(5, 1, 0.5, FIRST)]
    summary = lvis_ap(truth, found, iou_type="segm", category_ids=[1, 2]).summary
    assert [summary[name] for name in ("AP", "APr", "APc", "APf")] == [ONE, -1, -1, -1]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_input_stays_as_it_was(draw: types.SimpleNamespace, iou_type: Any) -> None:
    truth, found = draw.federated_set(5, images=4)
    before = copy.deepcopy((truth, found))
    lvis_ap(truth, found, iou_type=iou_type, category_ids=range(1, 10))
    assert (truth, found) == before


def test_progress_counts_the_classes(draw: types.SimpleNamespace) -> None:
    seen: list[tuple[int, int | None]] = []
    lvis_ap(
        one_class(draw, [FIRST]),
        [],
        iou_type="bbox",
        category_ids=[1, 2],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("change", "iou_type", "message"),
    [
        ({"image_id": 99}, "segm", "detection 1 names the unknown image 99"),
        ({"category_id": 99}, "segm", "detection 1 names the unknown class 99"),
        ({"score": float("nan")}, "segm", "detection 1 has the score nan"),
        ({"score": None}, "bbox", "detection 1 has the score None"),
        ({"bbox": [0, 0, float("inf"), 1]}, "bbox", "detection 1 has the box .*inf"),
        ({"bbox": [0, 0, 1, -1]}, "bbox", "detection 1 has the box .*-1"),
        ({"bbox": [0, 0, 1]}, "bbox", "not x, y, width, height"),
        ({"segmentation": [[0, 0, 9, 0, 9, 9]]}, "segm", "not a compressed RLE"),
        ({"segmentation": {"size": [9, 9], "counts": b"n2"}}, "segm", r"size \[9, 9\] in an image"),
    ],
)
def test_a_bad_detection_is_named(
    draw: types.SimpleNamespace, change: dict[str, Any], iou_type: Any, message: str
) -> None:
    found = [draw.detection(5, 1, 0.5, FIRST), draw.detection(5, 1, 0.5, FIRST) | change]
    with pytest.raises(LstError, match=message) as error:
        lvis_ap(one_class(draw, [FIRST]), found, iou_type=iou_type, category_ids=[1])
    assert error.value.hint
    assert "\n" not in error.value.message


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "segmentation"])
def test_a_detection_without_a_field_is_named(draw: types.SimpleNamespace, key: str) -> None:
    found = [draw.detection(5, 1, 0.5, FIRST)]
    del found[0][key]
    with pytest.raises(LstError, match=f"detection 0 has no {key}"):
        lvis_ap(one_class(draw, [FIRST]), found, iou_type="segm", category_ids=[1])


def test_bad_ground_truth_is_named(draw: types.SimpleNamespace) -> None:
    def fail(change: Callable[[dict[str, Any]], Any], message: str, **keywords: Any) -> None:
        truth = one_class(draw, [FIRST])
        change(truth)
        with pytest.raises(LstError, match=message):
            lvis_ap(truth, [], **({"iou_type": "segm", "category_ids": [1]} | keywords))

    fail(lambda t: t["images"][0].pop("neg_category_ids"), "image 5 .* has no neg_category_ids")
    fail(lambda t: t["annotations"][0].update(image_id=9), "annotation 0 .* unknown image 9")
    fail(lambda t: t["annotations"][0].update(segmentation="x"), "annotation 0 .* cannot be read")
    fail(lambda t: t["annotations"][0].pop("area"), "annotation 0 .* has no area")
    fail(lambda t: t.pop("annotations"), "has no annotations")
    fail(lambda t: None, "class 3 is not in", category_ids=[3])
    fail(lambda t: None, "twice", category_ids=[1, 1])
    fail(lambda t: None, "no classes", category_ids=[])
    fail(lambda t: None, "max_detections is 0", max_detections=0)


GUARD = """
import json, logging, sys
import numpy
def state():
    root = logging.getLogger()
    return [root.level, [str(h) for h in root.handlers], hasattr(numpy, "float")]
before = state()
import lst_cli.evaluation.metrics, lst_cli.evaluation.ground_truth
from lst_cli.evaluation.lvis_ap import lvis_ap
image = dict(id=1, height=9, width=9, neg_category_ids=[], not_exhaustive_category_ids=[])
thing = dict(id=1, image_id=1, category_id=1, area=4, bbox=[0, 0, 2, 2])
truth = dict(images=[image], annotations=[thing], categories=[dict(id=1, frequency="r")])
found = [dict(image_id=1, category_id=1, score=1.0, bbox=[0, 0, 2, 2])]
assert lvis_ap(truth, found, iou_type="bbox", category_ids=[1]).summary["AP"] > 0.999
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


def test_the_users_own_lvis_module_is_neither_used_nor_replaced(
    draw: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = types.ModuleType("lvis")
    own.__spec__ = None
    monkeypatch.setitem(sys.modules, "lvis", own)
    lvis_package.load_lvis.cache_clear()
    before = set(sys.modules)
    found = [draw.detection(5, 1, 0.5, FIRST)]
    result = lvis_ap(one_class(draw, [FIRST]), found, iou_type="segm", category_ids=[1])
    assert result.summary["AP"] == ONE
    assert sys.modules["lvis"] is own
    assert not [name for name in set(sys.modules) - before if name.startswith("lvis")]


def test_a_missing_lvis_package_is_told_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lvis").mkdir()  # a folder of annotations, say, is no package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "lvis", raising=False)
    lvis_package.load_lvis.cache_clear()
    with pytest.raises(LstError, match="not installed") as error:
        lvis_package.load_lvis()
    assert error.value.hint == "install it: pip install 'lvis>=0.5.3'"


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_on_real_lvis_images_the_result_equals_lvis_apis_own(
    reference: Callable[..., Any], iou_type: Any
) -> None:
    path = SHARED / "lvis_v0.5_val_100.json"
    if not path.is_file():
        pytest.skip("no LVIS sample; point LST_SHARED_DATA to it")
    truth = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    images = {image["id"]: image for image in truth["images"]}
    found = []
    for annotation in truth["annotations"] * 3:
        image = images[annotation["image_id"]]
        shift = np.tile(rng.normal(0, 4, 2), 2)
        polygons = [
            (np.array(polygon).reshape(-1, 2) + shift[:2]).ravel().tolist()
            for polygon in annotation["segmentation"]
        ]
        rles = mask_utils.frPyObjects(polygons, image["height"], image["width"])
        negative = image["neg_category_ids"]
        swapped = rng.random() < 0.3 and negative
        found.append(
            {
                "image_id": image["id"],
                "category_id": int(rng.choice(negative)) if swapped else annotation["category_id"],
                "score": float(rng.random()),
                "segmentation": mask_utils.merge(rles),
                "bbox": (np.array(annotation["bbox"]) + shift * [1, 1, 0.1, 0.1]).clip(0).tolist(),
            }
        )
    classes = sorted(category["id"] for category in truth["categories"])
    result = lvis_ap(truth, found, iou_type=iou_type, category_ids=classes)
    assert_same(result, reference(truth, found, iou_type))
    assert 0.1 < result.summary["AP"] < 0.9
