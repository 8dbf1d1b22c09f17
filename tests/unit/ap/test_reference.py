from __future__ import annotations

import dataclasses
import sys
import types

import numpy as np
import pytest

from lst_cli.ap.detections import FIXED_AP, Cap
from lst_cli.ap.lvis_ap import ApResult
from lst_cli.ap.reference import largest_difference, load_lvis, reference_ap
from lst_cli.errors import LstError

pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated")
BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0]


@pytest.fixture
def run(build, save):
    """lvis-api on a dict and detections."""

    def run(content, found, iou_type="bbox", **words):
        return reference_ap(build(content), save(found), iou_type=iou_type, **words)

    return run


@pytest.fixture
def content(draw):
    return {
        "images": [draw.image(5, [], []), draw.image(2, [1], [])],
        "annotations": [draw.annotation(0, 5, 1, BOX), draw.annotation(1, 5, 1, FAR)],
        "categories": [{"id": 1, "frequency": "r"}, {"id": 2, "frequency": "f"}],
    }


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [6, 7])
def test_it_is_lvis_api_as_it_is_installed_and_says_nothing(
    draw, run, reference, seed, iou_type, caplog
):
    known, found = draw.federated_set(seed)
    result = run(known, found, iou_type)
    assert caplog.records == []
    draw.assert_same(result, reference(known, found, iou_type))
    assert result.category_ids == tuple(range(1, 10))


@pytest.mark.parametrize("most", [4, None])
def test_its_cap_is_the_one_asked_for(draw, run, reference, most):
    known, found = draw.federated_set(8, images=3, per_image=400)
    result = run(known, found, cap=Cap(per_image=most))
    draw.assert_same(result, reference(known, found, "bbox", max_detections=most or -1))


@pytest.mark.parametrize("cap", [Cap(None, 20), Cap(30, 5), FIXED_AP])
def test_a_cap_per_class_is_applied_before_it(draw, run, score, cap):
    known, found = draw.federated_set(9)
    ours = score(known, found, "segm", cap=cap)
    assert largest_difference(ours, run(known, found, "segm", cap=cap)) == 0


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_classes_without_a_frequency_and_the_id_0_do_not_stop_it(
    draw, content, run, score, iou_type
):
    del content["categories"][1]["frequency"]
    found = [draw.detection(5, 1, 0.9, BOX), draw.detection(2, 1, 0.95, BOX)]
    theirs = run(content, found, iou_type)
    assert score(content, found, iou_type).summary == theirs.summary
    assert theirs.summary["AP"] == pytest.approx(51 / 101 / 2)


def test_a_coco_file_is_made_federated_for_it(draw, content, run, score):
    for image in content["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    content["annotations"].append(draw.annotation(9, 2, 1, FAR) | {"iscrowd": 1})
    found = [draw.detection(5, 1, 0.9, BOX), draw.detection(2, 1, 0.95, BOX)]
    ours = score(content, found, "segm")
    assert largest_difference(ours, run(content, found, "segm")) == 0


def test_an_empty_list_is_refused_since_it_cannot_score_it(content, run):
    with pytest.raises(LstError, match="cannot score an empty list"):
        run(content, [])


def test_an_unreadable_mask_is_named(draw, content, run):
    # Nobody looked for class 2 there: only lvis-api sees the mask.
    found = [draw.detection(5, 2, 0.5, BOX) | {"segmentation": [[1, 2, 3, 4, 5, 6]]}]
    with pytest.raises(LstError, match="detection 0 has a segmentation that is not a compressed"):
        run(content, found, "segm")


def test_the_largest_difference_is_that_of_any_number(draw, score):
    ours = score(*draw.federated_set(10, images=4), "bbox")
    assert largest_difference(ours, ours) == 0
    precision, recall = ours.precision.copy(), ours.recall.copy()
    precision[9, 100, 3, 2] += 0.25
    recall[4, 2, 1] -= 0.125
    summary = {**ours.summary, "ARl": ours.summary["ARl"] + 0.0625}
    other = dataclasses.replace(ours, summary=summary)
    assert largest_difference(ours, other) == 0.0625
    other = dataclasses.replace(other, recall=recall)
    assert largest_difference(other, ours) == 0.125
    assert largest_difference(ours, dataclasses.replace(other, precision=precision)) == 0.25
    nothing = ApResult(
        np.zeros((10, 101, 0, 4)), np.zeros((10, 0, 4)), (), {"AP": -1.0}, np.zeros((0, 0))
    )
    assert largest_difference(nothing, nothing) == 0


def test_the_users_own_lvis_module_is_neither_used_nor_replaced(draw, content, run, monkeypatch):
    own = types.ModuleType("lvis")
    own.__spec__ = None
    monkeypatch.setitem(sys.modules, "lvis", own)
    load_lvis.cache_clear()
    before = set(sys.modules)
    result = run(content, [draw.detection(5, 1, 0.5, BOX), draw.detection(5, 1, 0.5, FAR)], "segm")
    assert result.summary["AP"] == pytest.approx(1)
    assert sys.modules["lvis"] is own
    assert not [name for name in set(sys.modules) - before if name.startswith("lvis")]


def test_a_missing_lvis_package_is_told_with_what_installs_it(
    draw, content, run, monkeypatch, tmp_path
):
    (tmp_path / "lvis").mkdir()  # a folder of annotations, say, is no package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "lvis", raising=False)
    load_lvis.cache_clear()
    with pytest.raises(LstError, match="not installed") as error:
        run(content, [draw.detection(5, 1, 0.5, BOX)])
    assert error.value.hint == "install it: pip install 'lvis>=0.5.3'"
