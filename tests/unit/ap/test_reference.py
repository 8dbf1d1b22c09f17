from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lst_cli.ap import lvis_package
from lst_cli.ap.detections import FIXED_AP, Cap
from lst_cli.ap.ground_truth import GroundTruth
from lst_cli.ap.lvis_ap import ApResult, lvis_ap
from lst_cli.ap.reference import largest_difference, reference_ap
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError

Build = Callable[..., GroundTruth]
Save = Callable[[list[dict[str, Any]]], ResultsFile]
Reference = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated")
BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0]


def two_images(draw: types.SimpleNamespace) -> dict[str, Any]:
    return {
        "images": [draw.image(5, [], []), draw.image(2, [1], [])],
        "annotations": [draw.annotation(0, 5, 1, BOX), draw.annotation(1, 5, 1, FAR)],
        "categories": [{"id": 1, "frequency": "r"}, {"id": 2, "frequency": "f"}],
    }


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [6, 7])
def test_it_is_lvis_api_as_it_is_installed(
    draw: types.SimpleNamespace,
    build: Build,
    save: Save,
    reference: Reference,
    assert_same: Callable[..., None],
    seed: int,
    iou_type: Any,
) -> None:
    content, found = draw.federated_set(seed)
    result = reference_ap(build(content), save(found), iou_type=iou_type)
    assert_same(result, reference(content, found, iou_type))
    assert result.category_ids == tuple(range(1, 10))


@pytest.mark.parametrize("cap", [Cap(per_image=4), Cap(per_image=None)])
def test_its_cap_is_the_one_asked_for(
    draw: types.SimpleNamespace,
    build: Build,
    save: Save,
    reference: Reference,
    assert_same: Callable[..., None],
    cap: Cap,
) -> None:
    content, found = draw.federated_set(8, images=3, per_image=400)
    most = -1 if cap.per_image is None else cap.per_image
    result = reference_ap(build(content), save(found), iou_type="bbox", cap=cap)
    assert_same(result, reference(content, found, "bbox", max_detections=most))


@pytest.mark.parametrize("cap", [Cap(None, 20), Cap(30, 5), FIXED_AP])
def test_a_cap_per_class_is_applied_before_it(
    draw: types.SimpleNamespace, build: Build, save: Save, cap: Cap
) -> None:
    content, found = draw.federated_set(9)
    truth, source = build(content), save(found)
    theirs = reference_ap(truth, source, iou_type="segm", cap=cap)
    assert largest_difference(lvis_ap(truth, source, iou_type="segm", cap=cap), theirs) == 0


def test_classes_without_a_frequency_and_the_id_0_do_not_stop_it(
    draw: types.SimpleNamespace, build: Build, save: Save
) -> None:
    content = two_images(draw)
    del content["categories"][1]["frequency"]
    found = save([draw.detection(5, 1, 0.9, BOX), draw.detection(2, 1, 0.95, BOX)])
    for iou_type in ("segm", "bbox"):
        truth = build(content)
        ours = lvis_ap(truth, found, iou_type=iou_type)
        theirs = reference_ap(truth, found, iou_type=iou_type)
        assert ours.summary == theirs.summary
        assert theirs.summary["AP"] == pytest.approx(51 / 101 / 2)


def test_a_coco_file_is_made_federated_for_it(
    draw: types.SimpleNamespace, build: Build, save: Save
) -> None:
    content = two_images(draw)
    for image in content["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    crowd = draw.annotation(9, 2, 1, FAR) | {"iscrowd": 1}
    content["annotations"].append(crowd)
    truth = build(content)
    found = save([draw.detection(5, 1, 0.9, BOX), draw.detection(2, 1, 0.95, BOX)])
    ours = lvis_ap(truth, found, iou_type="segm")
    assert largest_difference(ours, reference_ap(truth, found, iou_type="segm")) == 0


def test_an_empty_list_is_refused_since_it_cannot_score_it(
    draw: types.SimpleNamespace, build: Build, save: Save
) -> None:
    with pytest.raises(LstError, match="cannot score an empty list"):
        reference_ap(build(two_images(draw)), save([]), iou_type="bbox")


@pytest.mark.parametrize(
    "shape", [[[1, 2, 3, 4, 5, 6]], {"size": [-1, -1], "counts": "0"}, {"size": [160, 220]}]
)
def test_an_unreadable_mask_is_named(
    draw: types.SimpleNamespace, build: Build, save: Save, shape: Any
) -> None:
    # Nobody looked for class 2 there: only lvis-api sees the mask.
    found = [draw.detection(5, 2, 0.5, BOX) | {"segmentation": shape}]
    with pytest.raises(
        LstError, match="detection 0 has a segmentation that is not a compressed RLE"
    ):
        reference_ap(build(two_images(draw)), save(found), iou_type="segm")


def test_the_largest_difference_is_that_of_any_number(
    draw: types.SimpleNamespace, build: Build, save: Save
) -> None:
    content, found = draw.federated_set(10, images=4)
    ours = lvis_ap(build(content), save(found), iou_type="bbox")
    assert largest_difference(ours, ours) == 0

    def changed(**fields: Any) -> ApResult:
        return dataclasses.replace(ours, **fields)

    precision = ours.precision.copy()
    precision[9, 100, 3, 2] += 0.25
    recall = ours.recall.copy()
    recall[4, 2, 1] -= 0.125
    summary = {**ours.summary, "ARl": ours.summary["ARl"] + 0.0625}
    assert largest_difference(ours, changed(precision=precision)) == 0.25
    assert largest_difference(changed(recall=recall), ours) == 0.125
    assert largest_difference(ours, changed(summary=summary)) == 0.0625
    everything = changed(precision=precision, recall=recall, summary=summary)
    assert largest_difference(ours, everything) == 0.25


def test_nothing_differs_from_nothing() -> None:
    nothing = ApResult(np.zeros((10, 101, 0, 4)), np.zeros((10, 0, 4)), (), {"AP": -1.0})
    assert largest_difference(nothing, nothing) == 0


def test_the_users_own_lvis_module_is_neither_used_nor_replaced(
    draw: types.SimpleNamespace, build: Build, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = types.ModuleType("lvis")
    own.__spec__ = None
    monkeypatch.setitem(sys.modules, "lvis", own)
    lvis_package.load_lvis.cache_clear()
    before = set(sys.modules)
    found = save([draw.detection(5, 1, 0.5, BOX), draw.detection(5, 1, 0.5, FAR)])
    result = reference_ap(build(two_images(draw)), found, iou_type="segm")
    assert result.summary["AP"] == pytest.approx(1)
    assert sys.modules["lvis"] is own
    assert not [name for name in set(sys.modules) - before if name.startswith("lvis")]


def test_a_missing_lvis_package_is_told_with_what_installs_it(
    draw: types.SimpleNamespace,
    build: Build,
    save: Save,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    truth = build(two_images(draw))
    (tmp_path / "lvis").mkdir()  # a folder of annotations, say, is no package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "lvis", raising=False)
    lvis_package.load_lvis.cache_clear()
    with pytest.raises(LstError, match="not installed") as error:
        reference_ap(truth, save([draw.detection(5, 1, 0.5, BOX)]), iou_type="bbox")
    assert error.value.hint == "install it: pip install 'lvis>=0.5.3'"
