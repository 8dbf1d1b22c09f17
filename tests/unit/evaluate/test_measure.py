from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask

from lst_cli.ap.detections import FIXED_AP, Cap
from lst_cli.ap.results_file import ResultsFile
from lst_cli.errors import LstError
from lst_cli.evaluate.measure import (
    ScoreOptions,
    compare_with_lvis_api,
    read_train_counts,
    score_file,
)
from lst_cli.phases.bins import Bin

pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated")
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")


def perturbed(truth, seed, pixels, rounds=3):
    """Annotations moved about, some under another class, scored at random: detections."""
    rng = np.random.default_rng(seed)
    images = {image["id"]: image for image in truth["images"]}
    found = []
    for annotation in truth["annotations"] * rounds:
        image = images[annotation["image_id"]]
        shift = rng.normal(0, pixels, 2)
        polygons = [
            (np.array(polygon).reshape(-1, 2) + shift).ravel().tolist()
            for polygon in annotation["segmentation"]
        ]
        rles = mask.frPyObjects(polygons, image["height"], image["width"])
        rle = mask.merge(rles)
        negative = image["neg_category_ids"]
        swapped = rng.random() < 0.3 and negative
        moved = np.array(annotation["bbox"]) + np.tile(shift, 2) * [1, 1, 0.1, 0.1]
        category_id = int(rng.choice(negative)) if swapped else annotation["category_id"]
        place = {
            "image_id": image["id"],
            "category_id": category_id,
            "bbox": moved.clip(0).tolist(),
        }
        shape = {"size": rle["size"], "counts": rle["counts"].decode()}
        # With ties.
        found.append(place | {"score": round(rng.random(), 2), "segmentation": shape})
    return found


@pytest.fixture
def results(small_lvis, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(perturbed(small_lvis.val, 0, 1.5)))
    return path


def score(results, annotations, **options):
    return score_file(results, annotations, ScoreOptions(**options))


def test_the_numbers_of_masks_and_boxes_are_lvis_apis(small_lvis, results, reference):
    scored = score(results, small_lvis.val_json)
    metrics = scored.metrics
    assert (metrics.images, metrics.detections) == (8, 60)
    assert (metrics.federated, metrics.fixed_ap) == (True, False)
    assert scored.notes == ()
    found = json.loads(results.read_text())
    for iou_type, numbers in (("segm", metrics.segm), ("bbox", metrics.bbox)):
        theirs = reference(small_lvis.val, found, iou_type).results
        for name in NAMES:
            stated = getattr(numbers, name)
            assert (-1 if stated is None else stated) == theirs[name]
        assert theirs["AR@300"] == numbers.AR
        assert numbers.bins == ()
        assert numbers.interval[0] < numbers.AP < numbers.interval[1]
        assert numbers.per_class.keys() == {1, 2, 3, 4, 5, 6, 7, 9, 11, 12}


@pytest.mark.parametrize("empty", ["detections", "annotations too"])
def test_nothing_has_no_numbers(empty, small_lvis, tmp_path):
    annotations, results = small_lvis.val_json, tmp_path / "results.json"
    results.write_text("[]")
    if empty == "annotations too":
        annotations.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    scored = score(results, annotations, reference=True)
    numbers = scored.metrics.segm
    assert scored.metrics.detections == 0
    assert numbers.interval is None
    if empty == "detections":
        assert (numbers.AP, numbers.AR) == (0, 0)
    else:
        assert (numbers.AP, numbers.per_class) == (None, {})
    assert scored.differences["segm"] is None


def test_progress_tells_what_is_done(small_lvis, results):
    told = {}
    score_file(
        results,
        small_lvis.val_json,
        ScoreOptions(train_counts=small_lvis.train_json),
        lambda what, done, total: told.update({what: (done, total)}),
    )
    expected = {
        "reading train.json", "reading val.json", "masks of val.json", "reading detections",
        "mask AP", "mask AP, intervals", "box AP", "box AP, intervals",
    }  # fmt: skip
    assert expected <= told.keys()
    assert all(done == total for done, total in told.values())


# --- training instances --------------------------------------------------------------------------


def test_bins_count_usable_training_instances(small_lvis, results):
    crowd = {**small_lvis.train["annotations"][0], "id": 999, "iscrowd": 1}
    small_lvis.train["annotations"].append(crowd)
    small_lvis.save()
    scored = score(results, small_lvis.val_json, train_counts=small_lvis.train_json)
    counts = dict(enumerate((2, 9, 1, 14, 5, 3, 30, 1, 22, 2, 4, 0), 1))
    assert dict(read_train_counts(small_lvis.train_json).instances) == counts
    bins = {one.bin: one for one in scored.metrics.segm.bins}
    assert [one.classes for one in bins.values()] == [2, 6, 8, 3, 0, 0]
    assert [one.with_ground_truth for one in bins.values()] == [1, 4, 6, 3, 0, 0]
    of_class = scored.metrics.segm.per_class
    mean = np.mean([of_class[key] for key in (4, 7, 9)])
    assert pytest.approx(mean, abs=1e-12) == bins["10-99"].AP
    assert pytest.approx(of_class[3], abs=1e-12) == bins["=1"].AP
    assert bins["10-99"].interval is not None
    assert (bins[">=1000"].AP, bins[">=1000"].interval) == (None, None)


def test_training_images_make_classes_rare_where_the_file_does_not_say(small_lvis, results):
    for category in small_lvis.val["categories"]:
        del category["frequency"]
    small_lvis.save()
    plain = score(results, small_lvis.val_json).metrics.segm
    counted = score(results, small_lvis.val_json, train_counts=small_lvis.train_json)
    numbers = counted.metrics.segm
    assert (plain.APr, plain.APc, plain.APf) == (None, None, None)
    # 24 training images: no class is in more than 100, three are in more than 10.
    common = np.mean([numbers.per_class[key] for key in (4, 7, 9)])
    assert numbers.APc == pytest.approx(common, abs=1e-12)
    assert (numbers.APf, numbers.AP) == (None, plain.AP)


def table(folder, text, name="counts.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("category_id,train_instance_count\n1,2\n7,30\n", None),
        ("name,instance_count,category_id,more\nx,2,1,?\ny,30,7,?\n", None),
        ("\ufeffcategory_id,train_instance_count,train_image_count\r\n1,2,2\r\n7,30,9\r\n", 9),
        ("category_id,instance_count,image_count,train_instance_count\n1,9,2,2\n7,9,9,30\n", 9),
        ('category_id,name,train_instance_count\n1,"a, b",2\n7,"c\nd",30\n', None),
    ],
)
def test_counts_are_read_from_a_table(tmp_path, text, images):
    counts = read_train_counts(table(tmp_path, text, "COUNTS.CSV"))
    assert counts.instances == {1: 2, 7: 30}
    assert counts.images == ({} if images is None else {1: 2, 7: images})


def test_classes_that_a_table_leaves_out_were_not_trained_on(small_lvis, results, tmp_path):
    path = table(tmp_path, "category_id,train_instance_count\n4,1\n555,3\n")
    scored = score(results, small_lvis.val_json, train_counts=path)
    assert scored.notes == (f"11 of 12 classes are not in {path}; they are in no bin.",)
    assert [one.classes for one in scored.metrics.segm.bins] == [1, 1, 1, 0, 0, 0]


HEAD = "category_id,train_instance_count"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        (HEAD, "has no rows"),
        ("category_id,count\n1,2\n", "has no column train_instance_count"),
        ("1,2\n3,4\n", "has no column train_instance_count"),
        ("id,train_instance_count\n1,2\n", "line 2: no category_id and train_instance_count"),
        (f"{HEAD}\n1,2\n2,many\n", "line 3: no category_id and train_instance_count"),
        (f"{HEAD}\n1,2\n2\n", "line 3: no category_id and train_instance_count"),
        (f"{HEAD}\n1,2.5\n", "line 2: no category_id"),
        (f"{HEAD}\n1,\n", "line 2: no category_id"),
        (f"{HEAD}\n1,-2\n", "line 2: train_instance_count is -2"),
        (f"{HEAD}\n1,2\n1,3\n", "line 3: category_id 1 again"),
        (f"{HEAD},train_image_count\n1,2,?\n", "line 2: no category_id and train_image_count"),
        (HEAD.encode() + b"\n\xff\xfe,2\n", "cannot read .*not UTF-8 text"),
        ('"' + "x" * 200_000, "cannot read .*field larger than field limit"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, message):
    with pytest.raises(LstError, match=message) as error:
        read_train_counts(table(tmp_path, text))
    assert "counts.csv" in error.value.message
    assert "\n" not in error.value.message
    assert error.value.hint


def test_training_annotations_that_are_none_are_refused(tmp_path):
    for name, message in (("gone.csv", "cannot read"), ("gone.json", "no such file")):
        with pytest.raises(LstError, match=message):
            read_train_counts(tmp_path / name)
    with pytest.raises(LstError, match="the top level is a list"):
        read_train_counts(table(tmp_path, "[]", "train.json"))


# --- other caps, other evaluators ----------------------------------------------------------------


def test_other_caps_let_more_or_fewer_detections_take_part(small_lvis, tmp_path):
    path = tmp_path / "many.json"
    path.write_text(json.dumps(perturbed(small_lvis.val, 1, 5, rounds=150)))
    capped = score(path, small_lvis.val_json, reference=True)
    fixed = score(path, small_lvis.val_json, cap=FIXED_AP, reference=True)
    few = score(path, small_lvis.val_json, cap=Cap(per_image=2), reference=True)
    assert fixed.metrics.fixed_ap
    for scored in (capped, fixed, few):
        assert scored.differences == {"segm": 0, "bbox": 0}
    other_cap = replace(capped.measured["bbox"], cap=FIXED_AP)
    assert compare_with_lvis_api({"bbox": other_cap}, ResultsFile(path))["bbox"]  # not 0


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_on_real_lvis_images_every_number_is_lvis_apis(
    lst, lvis_counts, shared_data, tmp_path, iou_type
):
    path = shared_data / "lvis_v0.5_val_100.json"
    truth = json.loads(path.read_text())
    found = perturbed(truth, 0, 4)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found))
    words = ("--train-counts", lvis_counts, "--iou-type", iou_type, "--reference", "--json")
    outcome = lst("score", results, "--annotations", path, *words)
    assert outcome.code == 0, outcome.err
    assert outcome.json["largest_difference"] == {iou_type: 0}
    ours = outcome.json[iou_type]
    assert 0.1 < ours["AP"] < 0.9
    assert len(ours["per_class"]) == 190
    count_of = {str(key): n for key, n in read_train_counts(lvis_counts).instances.items()}
    for each in ours["bins"]:
        inside = Bin(each["low"], each["high"])
        known = [ap for key, ap in ours["per_class"].items() if inside.contains(count_of[key])]
        assert each["with_ground_truth"] == len(known)
        assert each["AP"] == (pytest.approx(np.mean(known), abs=1e-12) if known else None)
    assert [bool(each["AP"]) for each in ours["bins"]].count(True) == 5


def test_training_annotations_without_classes_count_nothing(small_lvis, tmp_path):
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({**small_lvis.train, "annotations": [], "categories": []}))
    assert read_train_counts(path) == ({}, {})
