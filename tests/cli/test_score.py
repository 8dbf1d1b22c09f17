"""`lst score`: anybody's results file, in a directory with nothing in it."""

from __future__ import annotations

import json
import logging

import numpy
import pytest

from lst_cli.ap.reference import load_lvis
from tests.fixtures.outcome import in_a_fresh_process
from tests.fixtures.reports import found_at

MEANS = {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR"}


def detections_of(document):
    """Of each annotation the thing itself, and with a better score one a little off."""
    return [
        found_at(one, score + place / 1000, [one["bbox"][0] + shift, *one["bbox"][1:]], shorter=1)
        for place, one in enumerate(document["annotations"])
        for shift, score in ((0, 0.3), (place % 4, 0.5))
    ]


class Case:
    """The files, and `lst score` of them from an empty directory."""

    def __init__(self, lst, small_lvis, results, empty):
        self.lst, self.small_lvis, self.results, self.empty = lst, small_lvis, results, empty
        self.found = detections_of(small_lvis.val)
        self.save()

    def save(self):
        self.results.write_text(json.dumps(self.found))

    def words(self, *more):
        files = (self.results, "--annotations", self.small_lvis.val_json)
        return [str(word) for word in ("score", *files, *more)]

    def run(self, *more):
        outcome = self.lst(*self.words(*more))
        assert list(self.empty.iterdir()) == []  # nothing is ever written
        return outcome

    def json(self, *more):
        outcome = self.run(*more, "--json").ok()
        assert outcome.err == ""
        return outcome.json


@pytest.fixture
def case(lst, small_lvis, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return Case(lst, small_lvis, tmp_path / "results.json", empty)


def test_the_json_has_what_a_script_needs(case):
    metrics = case.json("--train-counts", case.small_lvis.train_json)
    assert metrics["format"] == 1
    assert (metrics["images"], metrics["detections"]) == (8, 40)
    assert (metrics["federated"], metrics["fixed_ap"]) == (True, False)
    for kind in ("segm", "bbox"):
        numbers = metrics[kind]
        assert numbers.keys() == MEANS | {"interval", "bins", "per_class"}
        assert [one["bin"] for one in numbers["bins"]] == [
            "=1", "<5", "<10", "10-99", "100-999", ">=1000",
        ]  # fmt: skip
        assert numbers["bins"][0].keys() == {
            "bin", "low", "high", "classes", "with_ground_truth", "AP", "AP50", "AP75", "interval",
        }  # fmt: skip
        assert set(numbers["per_class"]) == {"1", "2", "3", "4", "5", "6", "7", "9", "11", "12"}
        assert numbers["AP"] == pytest.approx(sum(numbers["per_class"].values()) / 10, abs=1e-12)
        assert any(ap != round(ap, 12) for ap in numbers["per_class"].values())  # unrounded
        assert 0.3 < numbers["AP"] < numbers["AP50"] < 1
        assert numbers["APl"] is None
        low, high = numbers["interval"]
        assert low < numbers["AP"] < high
    assert metrics["segm"]["AP"] != metrics["bbox"]["AP"]


def test_the_table_shows_masks_and_boxes_and_how_sure_they_are(case):
    outcome = case.run("--train-counts", case.small_lvis.train_json).ok()
    assert "mask AP" in outcome.out
    assert "box AP" in outcome.out
    assert "Mask AP by training instances, with intervals" in outcome.out
    metrics = case.json()
    assert f"{metrics['segm']['AP'] * 100:.1f}" in outcome.out
    assert f"{metrics['bbox']['AP'] * 100:.1f}" in outcome.out
    plain = case.run()
    assert "no bins: --train-counts says" in plain.out + plain.err
    assert "Mask AP, with intervals" in plain.out


@pytest.mark.parametrize(
    ("kind", "other", "unread"), [("segm", "bbox", "bbox"), ("bbox", "segm", "segmentation")]
)
def test_masks_or_boxes_alone(case, kind, other, unread):
    both = case.json()
    for row in case.found:
        del row[unread]
    case.save()
    metrics = case.json("--iou-type", kind, "--iou-type", kind)
    assert metrics[other] is None
    assert metrics[kind] == both[kind]
    assert ("Mask AP" in case.run("--iou-type", kind).out) == (kind == "segm")
    assert f"missing required field {unread}" in case.run().error


def test_bins_are_as_asked_for(case):
    words = ("--train-counts", case.small_lvis.train_json, "--bins", "=1,>=10")
    assert [one["classes"] for one in case.json(*words)["segm"]["bins"]] == [2, 3]
    assert case.json("--bins", "=1")["segm"]["bins"] == []  # nothing says how many there are
    assert "cannot read the bin 'few'" in case.run("--bins", "few").error


def test_fixed_ap_says_so(case):
    case.found = case.found * 100
    case.save()
    plain, fixed = case.json("--iou-type", "bbox"), case.json("--iou-type", "bbox", "--fixed-ap")
    assert (plain["fixed_ap"], fixed["fixed_ap"]) == (False, True)
    assert fixed["bbox"]["AP"] > plain["bbox"]["AP"]  # the best 300 are all a little off


def test_lvis_api_can_be_asked_too(case):
    metrics = case.json("--reference")
    assert metrics["largest_difference"] == {"segm": 0.0, "bbox": 0.0}
    assert case.json("--reference", "--fixed-ap")["largest_difference"] == {"segm": 0, "bbox": 0}
    outcome = case.run("--reference", "--iou-type", "bbox").ok()
    assert "box AP: lvis-api's numbers differ by 0.0e+00 at most" in outcome.out + outcome.err
    case.results.write_text("[]")
    outcome = case.run("--reference").ok()
    assert "lvis-api cannot score an empty list" in outcome.out + outcome.err
    assert case.json("--reference")["largest_difference"] == {"segm": None, "bbox": None}


def test_a_coco_file_is_scored_and_the_user_told(case):
    for image in case.small_lvis.val["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    case.small_lvis.save()
    metrics = case.json("--reference")
    assert metrics["federated"] is False
    assert metrics["largest_difference"] == {"segm": 0, "bbox": 0}
    assert "every image counts as labelled for every class" in case.run().err


# --- what is wrong -------------------------------------------------------------------------------


def test_files_that_are_not_given_or_not_there_are_named(case):
    outcome = case.lst("score", case.results)
    assert "Missing option '--annotations'" in outcome.error
    assert outcome.hint == "lst score --help"
    outcome = case.lst("score", "gone.json", "--annotations", case.small_lvis.val_json)
    assert "gone.json" in outcome.error
    outcome = case.lst("score", case.results, "--annotations", "gone.json")
    assert "gone.json" in outcome.error
    assert "is a directory" in case.run("--train-counts", case.empty).error


@pytest.mark.parametrize("json_words", [[], ["--json"]])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "field score: NaN is not a number (line 1, byte "),
        ({"segmentation": {"size": [80, 60], "counts": "n2"}}, "a mask of size [80, 60]"),
    ],
)
def test_bad_results_are_one_line_and_no_numbers(case, change, message, json_words):
    case.found[3] |= change
    case.save()
    outcome = case.run(*json_words)
    assert message in outcome.error
    assert "results.json" in outcome.error
    assert outcome.out == ""


def test_boxes_without_masks_are_scored_as_boxes_or_left_out(case):
    for annotation in case.small_lvis.val["annotations"][::2]:
        del annotation["segmentation"], annotation["area"]
    case.small_lvis.save()
    outcome = case.run()
    assert "annotation 5001 has no segmentation" in outcome.error
    assert "--skip-unusable" in outcome.hint
    assert case.run("--iou-type", "bbox").code == 0
    outcome = case.run("--skip-unusable").ok()
    told = " ".join(outcome.err.split())
    assert "10 annotations left out: 10 with no segmentation" in told


# --- what is loaded ------------------------------------------------------------------------------


def test_no_network_and_no_plots_are_loaded_and_nothing_is_changed_even_by_lvis_api(case):
    def state() -> object:
        root = logging.getLogger()
        return root.level, list(root.handlers), hasattr(numpy, "float")

    before = state()
    load_lvis.cache_clear()
    words = ("--train-counts", case.small_lvis.train_json, "--reference", "--json")
    outcome, loaded = in_a_fresh_process(case.words(*words), cwd=case.empty)
    assert outcome.ok().err == ""
    assert not {one.split(".")[0] for one in loaded} & {"torch", "cv2", "matplotlib", "lvis"}
    assert {**outcome.json, "seconds": 0} == {**case.json(*words), "seconds": 0}
    assert state() == before
