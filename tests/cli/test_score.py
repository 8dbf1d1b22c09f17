"""`lst score`: anybody's results file, in a directory with nothing in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask

Lst = Callable[..., Any]
MEANS = {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR"}


def rle_of(box: list[float]) -> dict[str, Any]:
    x, y, w, h = box
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (rle,) = mask.frPyObjects(outline, 60, 80)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def detections_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each annotation the thing itself, and with a better score one a little off."""
    found = []
    for place, one in enumerate(document["annotations"]):
        x, y, w, h = one["bbox"]
        for shift, score in ((0, 0.3), (place % 4, 0.5)):
            box = [x + shift, y, w, h]
            found.append(
                {
                    "image_id": one["image_id"],
                    "category_id": one["category_id"],
                    "score": score + place / 1000,
                    "bbox": box,
                    "segmentation": rle_of([*box[:3], h - 1]),
                }
            )
    return found


class Case:
    """The files, and `lst eval` of them from an empty directory."""

    def __init__(self, lst: Lst, small_lvis: Any, results: Path, empty: Path) -> None:
        self.lst, self.small_lvis, self.results, self.empty = lst, small_lvis, results, empty
        self.found = detections_of(small_lvis.val)
        self.save()

    def save(self) -> None:
        self.results.write_text(json.dumps(self.found))

    def words(self, *more: object) -> list[str]:
        files = (self.results, "--annotations", self.small_lvis.val_json)
        return [str(word) for word in ("score", *files, *more)]

    def run(self, *more: object) -> Any:
        outcome = self.lst(*self.words(*more))
        assert list(self.empty.iterdir()) == []  # nothing is ever written
        return outcome

    def json(self, *more: object) -> Any:
        outcome = self.run(*more, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.err == ""
        return outcome.json


@pytest.fixture
def case(lst: Lst, small_lvis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return Case(lst, small_lvis, tmp_path / "results.json", empty)


def test_the_json_has_what_a_script_needs(case: Case) -> None:
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


def test_the_table_shows_masks_and_boxes_and_how_sure_they_are(case: Case) -> None:
    outcome = case.run("--train-counts", case.small_lvis.train_json)
    assert outcome.code == 0, outcome.err
    assert "mask AP" in outcome.out
    assert "box AP" in outcome.out
    assert "Mask AP by training instances, with intervals" in outcome.out
    metrics = case.json()
    assert f"{metrics['segm']['AP'] * 100:.1f}" in outcome.out
    assert f"{metrics['bbox']['AP'] * 100:.1f}" in outcome.out
    plain = case.run()
    assert "no bins: --train-counts says" in plain.out + plain.err
    assert "Mask AP, with intervals" in plain.out


@pytest.mark.parametrize(("kind", "other"), [("segm", "bbox"), ("bbox", "segm")])
def test_masks_or_boxes_alone(case: Case, kind: str, other: str) -> None:
    both = case.json()
    unused = {"segm": "segmentation", "bbox": "bbox"}[other]
    for one in case.found:
        del one[unused]
    case.save()
    metrics = case.json("--iou-type", kind)
    assert metrics[other] is None
    assert metrics[kind] == both[kind]
    assert case.json("--iou-type", kind, "--iou-type", kind)[kind] == both[kind]
    text = case.run("--iou-type", kind).out
    assert ("Mask AP" in text) == (kind == "segm")
    assert f"missing required field {unused}" in case.run().error


def test_bins_are_as_asked_for(case: Case) -> None:
    words = ("--train-counts", case.small_lvis.train_json, "--bins", "=1,>=10")
    assert [one["classes"] for one in case.json(*words)["segm"]["bins"]] == [2, 3]
    assert case.json("--bins", "=1")["segm"]["bins"] == []  # nothing says how many there are
    assert "cannot read the bin 'few'" in case.run("--bins", "few").error


def test_training_instances_may_stand_in_a_table(case: Case, tmp_path: Path) -> None:
    table = tmp_path / "counts.csv"
    table.write_text("category_id,train_instance_count\n1,2\n7,30\n")
    bins = case.json("--train-counts", table)["segm"]["bins"]
    assert [one["classes"] for one in bins] == [0, 1, 1, 1, 0, 0]
    table.write_text("category_id,train_instance_count\n1,many\n")
    assert "counts.csv, line 2" in case.run("--train-counts", table).error


def test_fixed_ap_says_so(case: Case) -> None:
    case.found = case.found * 100
    case.save()
    plain, fixed = case.json("--iou-type", "bbox"), case.json("--iou-type", "bbox", "--fixed-ap")
    assert (plain["fixed_ap"], fixed["fixed_ap"]) == (False, True)
    assert fixed["bbox"]["AP"] > plain["bbox"]["AP"]  # the best 300 are all a little off


def test_lvis_api_can_be_asked_too(case: Case) -> None:
    metrics = case.json("--reference")
    assert metrics["largest_difference"] == {"segm": 0.0, "bbox": 0.0}
    assert case.json("--reference", "--fixed-ap")["largest_difference"] == {"segm": 0, "bbox": 0}
    outcome = case.run("--reference", "--iou-type", "bbox")
    assert outcome.code == 0
    assert "box AP: lvis-api's numbers differ by 0.0e+00 at most" in outcome.out + outcome.err
    case.results.write_text("[]")
    outcome = case.run("--reference")
    assert outcome.code == 0
    assert "lvis-api cannot score an empty list" in outcome.out + outcome.err
    assert case.json("--reference")["largest_difference"] == {"segm": None, "bbox": None}


def test_an_empty_list_scores_nothing(case: Case) -> None:
    case.results.write_text("[]")
    metrics = case.json("--train-counts", case.small_lvis.train_json)
    assert metrics["detections"] == 0
    assert metrics["segm"]["AP"] == metrics["bbox"]["AP"] == 0
    assert set(metrics["segm"]["per_class"].values()) == {0}


def test_a_coco_file_is_scored_and_the_user_told(case: Case) -> None:
    for image in case.small_lvis.val["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    case.small_lvis.save()
    assert case.json()["federated"] is False
    outcome = case.run()
    assert "every image counts as labelled for every class" in outcome.out + outcome.err


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--annotations"], ["--train-counts"], ["--iou-type", "segm"]])
def test_eval_takes_no_options_of_files(case: Case, words: list[str]) -> None:
    outcome = case.lst("eval", *words, *([str(case.results)] if len(words) == 1 else []))
    assert outcome.code == 2
    assert f"No such option '{words[0]}'" in outcome.error


@pytest.mark.parametrize(
    "words",
    [["--phase", "0"], ["--all-phases"], ["--instant"], ["--device", "cpu"], ["--set", "x"]],
)
def test_score_takes_no_options_of_phases(case: Case, words: list[str]) -> None:
    outcome = case.run(*words)
    assert outcome.code == 2
    assert f"No such option '{words[0]}'" in outcome.error
    assert outcome.hint == "lst score --help"


def test_annotations_are_required(case: Case) -> None:
    outcome = case.lst("score", case.results)
    assert "Missing option '--annotations'" in outcome.error
    assert outcome.hint == "lst score --help"


def test_a_file_that_is_not_there(case: Case) -> None:
    outcome = case.lst("score", "gone.json", "--annotations", case.small_lvis.val_json)
    assert "gone.json" in outcome.error
    outcome = case.lst("score", case.results, "--annotations", "gone.json")
    assert "gone.json" in outcome.error
    assert "is a directory" in case.run("--train-counts", case.empty).error


BAD_RESULTS: dict[str, tuple[Any, str]] = {
    "empty": ("", "is empty"),
    "object": ({"annotations": []}, "the top level is an object, not a list"),
    "annotations": ("truth", "the top level is an object, not a list"),
    "cut": ('[{"image_id": 1001, "categ', "ends after 26 bytes"),
    "text": ("hello", "is not valid JSON"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\xff", "is not valid JSON"),
    "pickle": (b"\x80\x04\x95\x00", "is not valid JSON"),
    "compressed": (b"\x1f\x8b\x08", "is compressed"),
    "numbers": ([1, 2], "detection in row 0"),
    "image": ({"image_id": 99}, "names the unknown image 99"),
    "huge image": ({"image_id": 10**30}, "field image_id"),
    "class": ({"category_id": 1230}, "names the unknown class 1230"),
    "NaN": ({"score": float("nan")}, "field score: NaN is not a number (line 1, byte "),
    "Infinity": ({"bbox": [0, 0, float("inf"), 1]}, "field bbox: Infinity is not a number"),
    "no score": ({"score": None}, "field score"),
    "negative box": ({"bbox": [1, 1, -5, 5]}, "has the box [1.0, 1.0, -5.0, 5.0]"),
    "box of corners": ({"bbox": [[1, 1], [5, 5]]}, "field bbox"),
    "RLE size": ({"segmentation": {"size": [80, 60], "counts": "n2"}}, "a mask of size [80, 60]"),
    "broken RLE": (
        {"segmentation": {"size": [60, 80], "counts": "n2"}},
        "run lengths that do not fill its image",
    ),
    "uncompressed RLE": (
        {"segmentation": {"size": [60, 80], "counts": [0, 4800]}},
        "a segmentation that is not a compressed RLE",
    ),
    "polygons": (
        {"segmentation": [[1, 1, 5, 1, 5, 5]]},
        "a segmentation that is not a compressed RLE",
    ),
}


@pytest.mark.parametrize("name", BAD_RESULTS)
@pytest.mark.parametrize("json_words", [[], ["--json"]])
def test_bad_results_are_one_line_and_no_numbers(
    case: Case, name: str, json_words: list[str]
) -> None:
    content, message = BAD_RESULTS[name]
    if content == "truth":
        content = case.small_lvis.val_json.read_bytes()
    if isinstance(content, dict) and "annotations" not in content:
        content = [*case.found[:3], case.found[3] | content]
    if isinstance(content, bytes):
        case.results.write_bytes(content)
    else:
        case.results.write_text(content if isinstance(content, str) else json.dumps(content))
    outcome = case.run(*json_words)
    assert outcome.code == 1
    assert message in outcome.error
    assert "results.json" in outcome.error
    assert outcome.out == ""


def test_results_of_another_release_are_told(case: Case) -> None:
    case.found[0]["category_id"] = 1203
    case.save()
    outcome = case.run()
    assert "names the unknown class 1203" in outcome.error
    assert "val.json is LVIS v1" in outcome.hint
    for image in case.small_lvis.val["images"]:
        image["file_name"] = f"COCO_val2014_{image['id']:012d}.jpg"
    case.small_lvis.save()
    assert "val.json is LVIS v0.5" in case.run().hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][0].update(segmentation=[]), "has an empty list of polygons"),
        (lambda d: d["annotations"][0].pop("segmentation"), "has no segmentation"),
        (lambda d: d["annotations"][0].update(ignore="0"), "field ignore"),
        (lambda d: d["annotations"][0].update(bbox=[0, 1]), "field bbox"),
        (lambda d: d["categories"][0].update(frequency=1), "field frequency"),
        (lambda d: d.pop("categories"), 'has no list "categories"'),
        (
            lambda d: d["annotations"][0].update(segmentation={"size": [60, 80], "counts": [5]}),
            "has an RLE whose runs do not fill the image",
        ),
    ],
)
def test_bad_annotations_are_one_line(
    case: Case, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change(case.small_lvis.val)
    case.small_lvis.save()
    outcome = case.run("--json")
    assert message in outcome.error
    assert "val.json" in outcome.error
    assert outcome.out == ""


@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
@pytest.mark.parametrize("words", [(), ("--reference",)])
def test_images_without_federated_lists_are_scored_as_with_empty_ones(
    case: Case, key: str, words: tuple[str, ...]
) -> None:
    for image in case.small_lvis.val["images"][:2]:
        image[key] = []
    case.small_lvis.save()
    by_hand = case.run("--json", *words).json
    for image in case.small_lvis.val["images"][:2]:
        del image[key]
    case.small_lvis.save()
    without = case.run("--json", *words).json
    assert {**without, "seconds": 0} == {**by_hand, "seconds": 0}
    if words:
        assert without["largest_difference"] == {"segm": 0.0, "bbox": 0.0}
    assert "2 images have no neg_category_ids or" in " ".join(case.run().err.split())


def test_boxes_without_masks_are_scored_as_boxes_or_left_out(case: Case) -> None:
    for annotation in case.small_lvis.val["annotations"][::2]:
        del annotation["segmentation"], annotation["area"]
    case.small_lvis.save()
    outcome = case.run()
    assert "annotation 5001 has no segmentation" in outcome.error
    assert "--skip-unusable" in outcome.hint
    assert case.run("--iou-type", "bbox").code == 0
    outcome = case.run("--skip-unusable")
    assert outcome.code == 0, outcome.err
    told = " ".join(outcome.err.split())
    assert "10 annotations left out: 10 with no segmentation" in told


# --- what is loaded ------------------------------------------------------------------------------


WITHOUT_TORCH = """
import sys
from lst_cli.cli.main import main

try:
    main()
finally:
    heavy = {"torch", "cv2", "matplotlib", "lvis"} & sys.modules.keys()
    if heavy:
        print("imported:", *sorted(heavy), file=sys.stderr)
        sys.exit(77)
"""


def test_no_network_and_no_plots_are_loaded_even_for_lvis_api(case: Case) -> None:
    words = case.words("--train-counts", case.small_lvis.train_json, "--reference", "--json")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        check=False, capture_output=True, text=True, cwd=case.empty,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    ours = case.json("--train-counts", case.small_lvis.train_json)
    theirs = json.loads(done.stdout)
    assert (theirs["segm"], theirs["bbox"]) == (ours["segm"], ours["bbox"])
